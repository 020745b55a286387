from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.fetching import UnpackLimits
from rfbulk.core.tarstream import ArchiveFault, ArchiveUnsafe, MemberKind, TarMember, TarStream
from rfbulk.core.unpacking import PIECE_BYTES, Admission, MemberRefused, gunzip, is_gzip
from tests.support.archives import END, HOSTILE, packed

LIMITS = UnpackLimits()
FILE, FOLDER = MemberKind.FILE, MemberKind.FOLDER


def chunked(data: bytes, size: int) -> Iterator[memoryview]:
    """Through one buffer, as they come from a connection."""
    buffer = bytearray(size)
    for start in range(0, len(data), size):
        piece = data[start : start + size]
        buffer[: len(piece)] = piece
        yield memoryview(buffer)[: len(piece)]


def inflated(data: bytes, size: int = 1 << 20, limits: UnpackLimits = LIMITS) -> bytes:
    return b"".join(gunzip(chunked(data, size), limits))


@given(st.lists(st.binary(max_size=3000), min_size=1, max_size=4), st.integers(1, 4000), st.integers(0, 600))
def test_one_or_more_members_are_inflated_in_chunks_of_any_length(parts: list[bytes], size: int, zeros: int) -> None:
    data = b"".join(gzip.compress(part, mtime=0) for part in parts) + bytes(zeros)
    assert b"".join(parts) == inflated(data, size)


def test_what_expands_far_comes_in_bounded_pieces() -> None:
    content = bytes(3 * PIECE_BYTES + 5)
    pieces = list(gunzip([packed(content)], LIMITS))
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert b"".join(pieces) == content


def test_a_piece_that_ends_with_its_input_is_not_the_end() -> None:
    content = os.urandom(PIECE_BYTES) + b"x" * PIECE_BYTES
    assert inflated(packed(content), 7001) == content


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_a_gzip_that_is_cut_short_anywhere_is_never_whole(size: int) -> None:
    data = packed(b"abc" * 100)
    for cut in range(len(data)):
        with pytest.raises(ArchiveFault, match="cut short"):
            inflated(data[:cut], size)


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip",
        packed(b"abc")[:-8] + bytes(8),  # CRC and length
        packed(b"abc")[:-4] + b"\x09\x00\x00\x00",  # length
        packed(b"abc") + b"garbage",
        packed(b"abc") + bytes(100) + b"garbage",
        zlib.compress(b"abc"),
    ],
    ids=["none", "crc", "length", "garbage behind", "garbage behind zeros", "zlib"],
)
def test_a_gzip_is_checked_to_its_end(data: bytes) -> None:
    with pytest.raises(ArchiveFault):
        inflated(data, 13)


def test_any_byte_that_was_changed_is_found() -> None:
    content = os.urandom(300)
    data = packed(content)
    for place in range(10, len(data)):
        with pytest.raises(ArchiveFault):
            inflated(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_bomb_ends_at_the_ratio() -> None:
    limits = UnpackLimits(most_ratio=200, ratio_from_bytes=1 << 20)
    pieces: list[bytes] = []
    with pytest.raises(ArchiveUnsafe, match="200 times"):
        pieces.extend(gunzip(chunked(packed(bytes(16 << 20)), 4096), limits))
    assert sum(map(len, pieces)) <= (1 << 20) + 200 * 4096 + PIECE_BYTES


def test_a_small_archive_may_expand_as_it_likes() -> None:
    content = bytes(1 << 20)
    assert inflated(packed(content), limits=UnpackLimits(ratio_from_bytes=1 << 20)) == content


def test_packed_is_told_by_its_beginning() -> None:
    assert [is_gzip(packed(b"")[:2]), is_gzip(b"a."), is_gzip(b"")] == [True, False, False]


# which members


def test_files_are_admitted_under_safe_paths_and_folders_pass() -> None:
    admission = Admission(LIMITS)
    asked = [("./a//b", FILE), (".", FOLDER), ("./", FOLDER), ("a/", FOLDER), (".hidden", FILE)]
    found = [admission.admit(TarMember(name, 0, kind)) for name, kind in asked]
    assert found == ["a/b", None, None, None, "%2Ehidden"]


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
def test_what_is_hostile_is_refused_in_words(data: bytes) -> None:
    stream = TarStream([data + END], most_headers=9)
    member = stream.next_member()
    assert member is not None
    with pytest.raises(MemberRefused, match=r"^(it is|the name) "):
        Admission(LIMITS).admit(member)
    assert stream.next_member() is None


def test_a_folder_that_leads_out_is_refused_too() -> None:
    with pytest.raises(MemberRefused):
        Admission(LIMITS).admit(TarMember("../x/", 0, FOLDER))


@pytest.mark.parametrize(
    ("limits", "match"),
    [
        (UnpackLimits(most_bytes=30), "more than 30 bytes"),
        (UnpackLimits(most_name_bytes=9), "more than 9 characters"),
    ],
)
def test_an_archive_ends_at_its_limits(limits: UnpackLimits, match: str) -> None:
    admission = Admission(limits)
    for _ in range(3):
        admission.admit(TarMember("abc", 10, FILE))
    with pytest.raises(ArchiveUnsafe, match=match):
        admission.admit(TarMember("abc", 10, FILE))
