from __future__ import annotations

import io
import subprocess
import tarfile

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rfbulk.core.model import Entry
from rfbulk.core.tarlayout import END, TRAILER_NAME, member_bytes, member_head, padding, tar_bytes

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=130)
MTIMES = st.integers(0, 0o77777777777)
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=1100), MTIMES), max_size=6)


def tar_of(members: list[tuple[str, bytes, int]], trailer: bytes = b"") -> bytes:
    if trailer:
        members = [*members, (TRAILER_NAME, trailer, 0)]
    parts = [member_head(name, len(data), mtime) + data + padding(len(data)) for name, data, mtime in members]
    return b"".join(parts) + END


@given(MEMBERS, st.binary(max_size=600))
def test_tarfile_reads_back_what_was_laid_out(members: list[tuple[str, bytes, int]], trailer: bytes) -> None:
    whole = tar_of(members, trailer)
    expected = [*members, (TRAILER_NAME, trailer, 0)] if trailer else members
    with tarfile.open(fileobj=io.BytesIO(whole), mode="r:") as archive:
        found = []
        for member in archive:
            file = archive.extractfile(member)
            assert file is not None
            assert (member.mode, member.uid, member.gid, member.uname, member.gname) == (0o644, 0, 0, "", "")
            found.append((member.name, file.read(), member.mtime))
    assert found == expected


@given(NAMES, st.integers(0, 0o77777777777), MTIMES)
@example("x" * 100, 0, 0)
@example("x" * 101, 1, 1)
@example("\x7f" * 100, 0o77777777777, 0o77777777777)
def test_a_head_is_the_one_that_tarfile_writes(name: str, size: int, mtime: int) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = size, mtime
    assert member_head(name, size, mtime) == info.tobuf(tarfile.PAX_FORMAT)


@given(MEMBERS, st.binary(max_size=600))
def test_the_length_is_known_before_the_first_byte(members: list[tuple[str, bytes, int]], trailer: bytes) -> None:
    entries = [Entry(0, b"x", name, len(data), mtime, 1) for name, data, mtime in members]
    assert tar_bytes(entries, trailer) == len(tar_of(members, trailer))


@given(NAMES, st.integers(0, 2000))
@example("é" * 41, 0)
@example("x" * 990, 513)
@example("x" * 501, 1)
def test_a_member_takes_the_space_that_was_foretold(name: str, size: int) -> None:
    assert member_bytes(name, size) == len(member_head(name, size, 0)) + size + len(padding(size))


@pytest.mark.parametrize(("mtime", "kept"), [(-5, 0), (0o77777777777 + 1, 0o77777777777)])
def test_a_time_beyond_the_field_becomes_the_nearest_that_fits(mtime: int, kept: int) -> None:
    assert member_head("a.jpg", 1, mtime) == member_head("a.jpg", 1, kept)


@pytest.mark.parametrize("size", [-1, 0o77777777777 + 1])
def test_a_size_beyond_the_field_is_refused(size: int) -> None:
    with pytest.raises(ValueError, match=r"a\.jpg"):
        member_head("a.jpg", size, 0)


def test_gnu_tar_lists_what_was_laid_out() -> None:
    names = ["a.jpg", "y" * 150 + ".png", "日本__é.jpg"]
    whole = tar_of([(name, name.encode(), 1) for name in names], b"{}")
    listing = subprocess.run(["tar", "-t", "--quoting-style=literal"], input=whole, capture_output=True, check=True)
    assert listing.stdout.decode().splitlines() == [*names, TRAILER_NAME]
    assert listing.stderr == b""
