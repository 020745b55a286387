from __future__ import annotations

import contextlib
import io
import tarfile
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.tarstream import MAX_HEADER_BYTES, ArchiveFault, ArchiveUnsafe, MemberKind, TarMember, TarStream
from tests.support.archives import DAMAGED, END, header, long_name, member, padded, pax, tar_of


def chunked(data: bytes, size: int) -> Iterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def read(data: bytes, size: int = 1 << 20) -> dict[str, bytes]:
    """All files of an archive, by name."""
    stream = TarStream(chunked(data, size), most_headers=99)
    found: dict[str, bytes] = {}
    while (entry := stream.next_member()) is not None:
        if entry.kind is MemberKind.FILE:
            found[entry.name] = b"".join(map(bytes, stream.content()))
    return found


def members(data: bytes) -> list[TarMember]:
    stream = TarStream([data], most_headers=99)
    found: list[TarMember] = []
    while (entry := stream.next_member()) is not None:
        found.append(entry)
    return found


NAMES = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=300)
FILES = st.dictionaries(NAMES.filter(lambda name: not name.endswith("/")), st.binary(max_size=1500), max_size=6)


@given(FILES, st.sampled_from([tarfile.PAX_FORMAT, tarfile.GNU_FORMAT]), st.integers(1, 3000))
def test_what_tarfile_writes_is_read_as_it_reads_it_in_chunks_of_any_length(
    files: dict[str, bytes], form: int, size: int
) -> None:
    data = tar_of(files, form)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = {info.name: archive.extractfile(info).read() for info in archive}  # type: ignore[union-attr]
    assert expected == {name.rstrip("/"): content for name, content in read(data, size).items()}


def test_a_name_of_ustar_has_its_prefix_in_front() -> None:
    files = {"d" * 120 + "/" + "f" * 90: b"x"}
    assert files == read(tar_of(files, tarfile.USTAR_FORMAT))


def test_what_gnu_writes_into_the_place_of_the_prefix_is_no_name() -> None:
    gnu = header("a", 1, magic=b"ustar  \x00", prefix=b"14000000000") + padded(b"x")
    assert read(gnu + END) == {"a": b"x"}


def test_a_long_name_and_a_pax_path_stand_for_the_next_member_alone() -> None:
    data = long_name("l" * 200) + member("a", b"1") + pax(path="p" * 200) + member("b", b"2") + member("c", b"3") + END
    assert read(data) == {"l" * 200: b"1", "p" * 200: b"2", "c": b"3"}


def test_a_global_header_stands_for_all_that_follow_until_a_local_one() -> None:
    data = pax(b"g", path="all", comment="x") + member("a", b"1") + pax(path="one") + member("b", b"2") + END
    assert members(data) == [("all", 1, MemberKind.FILE), ("one", 1, MemberKind.FILE)]


def test_a_pax_size_is_believed_instead_of_the_headers() -> None:
    data = pax(size="3") + header("a", 0) + padded(b"abc") + END
    assert read(data) == {"a": b"abc"}


def test_a_size_that_octal_cannot_spell_is_read() -> None:
    stream = TarStream([header("a", b"\x80" + (1 << 40).to_bytes(11, "big"))], most_headers=99)
    assert stream.next_member() == ("a", 1 << 40, MemberKind.FILE)


def test_an_old_header_without_a_magic_is_read() -> None:
    old = header("a", b"         1 \x00", b"\x00", magic=bytes(8)) + padded(b"x")
    assert read(old + END) == {"a": b"x"}


def test_bytes_of_a_name_that_are_no_text_are_kept() -> None:
    assert members(member(b"\xff\xe9") + END) == [("\udcff\udce9", 0, MemberKind.FILE)]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (b"0", MemberKind.FILE),
        (b"\x00", MemberKind.FILE),
        (b"7", MemberKind.FILE),
        (b"5", MemberKind.FOLDER),
        (b"1", MemberKind.LINK),
        (b"2", MemberKind.LINK),
        (b"3", MemberKind.DEVICE),
        (b"4", MemberKind.DEVICE),
        (b"6", MemberKind.DEVICE),
        (b"S", MemberKind.SPARSE),
        (b"V", MemberKind.OTHER),
        (b"D", MemberKind.OTHER),
        (b"\xff", MemberKind.OTHER),
    ],
)
def test_a_member_is_told_by_its_kind(kind: bytes, expected: MemberKind) -> None:
    assert members(member("a", kind=kind) + member("b") + END) == [("a", 0, expected), ("b", 0, MemberKind.FILE)]


def test_a_link_that_announces_a_size_has_no_content() -> None:
    """Old tars write the size of what a hard link leads to; reading over it would swallow the next member."""
    assert read(header("a", 5000, b"1") + member("b", b"y") + END) == {"b": b"y"}


def test_an_empty_archive_is_one() -> None:
    assert read(END) == {}
    assert read(END + bytes(20 * 512)) == {}


def test_content_that_nobody_asks_for_is_passed_over() -> None:
    stream = TarStream([member("a", b"x" * 3000) + member("b", b"y") + END], most_headers=99)
    stream.next_member()
    assert bytes(next(iter(stream.content()))) == b"x" * 3000
    assert stream.next_member() == ("b", 1, MemberKind.FILE)


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_what_does_not_add_up_ends_the_archive(data: bytes) -> None:
    with pytest.raises(ArchiveFault):
        read(data)


def test_an_archive_that_is_cut_short_anywhere_is_never_whole() -> None:
    data = pax(path="p" * 600) + member("a", b"x" * 700) + long_name("l" * 600) + member("b", b"y") + END
    for cut in range(0, len(data), 64):
        with pytest.raises(ArchiveFault):
            read(data[:cut])
    assert len(read(data)) == 2


def test_headers_are_counted_also_where_no_member_follows() -> None:
    data = pax(path="a") * 5 + member("a")
    stream = TarStream([data], most_headers=5)
    with pytest.raises(ArchiveUnsafe, match="more than 5 members"):
        stream.next_member()


def test_a_header_is_held_up_to_its_limit_alone() -> None:
    assert read(long_name("l" * (MAX_HEADER_BYTES - 1)) + member("a") + END) == {"l" * (MAX_HEADER_BYTES - 1): b""}
    with pytest.raises(ArchiveUnsafe, match="64 KiB"):
        read(long_name("l" * MAX_HEADER_BYTES) + member("a") + END)


BASE = pax(path="p" * 200) + member("a", b"x" * 700) + long_name("l" * 200) + member("b", b"y") + END


@given(st.lists(st.tuples(st.integers(0, len(BASE) - 1), st.integers(0, 255)), max_size=8), st.integers(1, 2000))
def test_whatever_the_bytes_the_end_is_sound_or_a_fault(changes: list[tuple[int, int]], size: int) -> None:
    data = bytearray(BASE)
    for place, value in changes:
        data[place] = value
    with contextlib.suppress(ArchiveFault, ArchiveUnsafe):
        read(bytes(data), size)
