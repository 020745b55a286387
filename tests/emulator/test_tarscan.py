"""Tars are read strictly, whatever the pieces they come in; the standard library is the other side."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfbulk.emulator.tarscan import MAX_IMAGE_BYTES, TarScanner

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rfbulk.emulator.tarscan import Scan

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
END = bytes(1024)


def write_tar(members: Sequence[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tar_format) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def member(name: str, content: bytes = b"x", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info, content


def scan(tar: bytes, piece: int = 1 << 20, *, hashing: bool = True) -> Scan:
    scanner = TarScanner(hashing=hashing)
    for at in range(0, len(tar), piece):
        scanner.feed(tar[at : at + piece])
    return scanner.finish()


def good_head(name: bytes = b"a.png", size: int = 0, kind: bytes = b"0") -> bytearray:
    block = bytearray(512)
    block[: len(name)] = name
    block[124:136] = b"%011o\0" % size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    return with_checksum(block)


def with_checksum(block: bytearray) -> bytearray:
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return block


names = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/\\"), min_size=1, max_size=120)
files = st.dictionaries(
    names.map(lambda name: name + ".png"), st.binary(min_size=1, max_size=2000), max_size=6, min_size=1
)


@settings(max_examples=40, deadline=None)
@given(files, st.sampled_from(FORMATS[1:]), st.sampled_from([7, 511, 512, 513, 1 << 20]), st.floats(1, 1e9))
def test_what_the_standard_library_packs_is_read(
    contents: Mapping[str, bytes], tar_format: int, piece: int, modified: float
) -> None:
    tar = write_tar([member(name, content, mtime=modified) for name, content in contents.items()], tar_format)
    result = scan(tar, piece)
    assert result.failure is None
    assert {each.name: each.sha256 for each in result.members} == {
        name: hashlib.sha256(content).digest() for name, content in contents.items()
    }
    for each in result.members:
        assert tar[each.offset : each.offset + each.size] == contents[each.name]


@settings(max_examples=40, deadline=None)
@given(files, st.integers(1, 3000))
def test_skipping_contents_finds_the_same_members(contents: Mapping[str, bytes], piece: int) -> None:
    tar = write_tar([member(name, content) for name, content in contents.items()])
    hashed, skipped = scan(tar), scan(tar, piece, hashing=False)
    assert [(m.name, m.size, m.offset) for m in hashed.members] == [(m.name, m.size, m.offset) for m in skipped.members]


@settings(max_examples=40, deadline=None)
@given(files, st.data())
def test_a_tar_that_is_cut_off_is_malformed(contents: Mapping[str, bytes], data: st.DataObject) -> None:
    tar = write_tar([member(name, content) for name, content in contents.items()])
    last = scan(tar).members[-1]
    shortest_whole = last.offset + last.size + -last.size % 512 + 1024
    cut = data.draw(st.integers(0, shortest_whole - 1))
    assert scan(tar[:cut]).failure is not None


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 600))
def test_any_bytes_give_a_scan_and_never_an_error(noise: bytes, piece: int) -> None:
    assert scan(noise, piece).failure is not None


@pytest.mark.parametrize("tar_format", FORMATS)
def test_each_format_is_read(tar_format: int) -> None:
    assert [m.name for m in scan(write_tar([member("a.PNG")], tar_format)).members] == ["a.PNG"]


@pytest.mark.parametrize("place", [0, 124, 148, 156, 200, 257])
def test_a_changed_head_is_malformed(place: int) -> None:
    tar = bytearray(write_tar([member("a.png")]))
    tar[place] ^= 0x01
    assert "malformed" in str(scan(bytes(tar)).failure)


def test_a_head_without_magic_is_malformed() -> None:
    block = good_head(size=1)
    block[257:265] = bytes(8)
    assert "ustar" in str(scan(bytes(with_checksum(block)) + b"x".ljust(512, b"\0") + END).failure)


def test_a_size_that_is_no_octal_number_is_malformed() -> None:
    block = good_head()
    block[124:136] = b"00000000009\0"
    assert "size" in str(scan(bytes(with_checksum(block)) + END).failure)


def test_a_size_in_base_256_is_read() -> None:
    block = good_head()
    block[124:136] = b"\x80" + (1).to_bytes(11, "big")
    assert [m.size for m in scan(bytes(with_checksum(block)) + b"x".ljust(512, b"\0") + END).members] == [1]


def test_a_prefix_makes_a_path_and_paths_fail() -> None:
    block = good_head(size=1)
    block[345:351] = b"folder"
    result = scan(bytes(with_checksum(block)) + b"x".ljust(512, b"\0") + END)
    assert result.failed == (("folder/a.png", "the name is not a plain file name"),)


@pytest.mark.parametrize("ending", [b"", bytes(512), bytes(1023)])
def test_an_end_without_two_blocks_of_zeros_is_malformed(ending: bytes) -> None:
    assert "two blocks" in str(scan(bytes(good_head(size=1)) + b"x".ljust(512, b"\0") + ending).failure)


def test_something_behind_the_end_is_malformed() -> None:
    tar = write_tar([member("a.png")])
    assert "follows its end" in str(scan(tar + bytes(good_head())).failure)


@pytest.mark.parametrize(
    "body",
    [b"9 path=ab\n", b"13 path=abc\n", b"x path=a\n", b"11 path=ab\nrest", b"9 size=x\n", b"10 mtime=x\n", b"7 abcd\n"],
)
def test_a_broken_pax_record_is_malformed(body: bytes) -> None:
    tar = bytes(good_head(b"pax", len(body), b"x")) + body.ljust(512, b"\0") + bytes(good_head()) + END
    assert "pax" in str(scan(tar).failure)


def test_a_sparse_member_is_malformed() -> None:
    tar = write_tar([member("a.png", pax_headers={"GNU.sparse.major": "1"})])
    assert "sparse" in str(scan(tar).failure)


def test_a_kind_of_member_that_is_unknown_is_malformed() -> None:
    assert "kind 'S'" in str(scan(bytes(good_head(kind=b"S")) + END).failure)


def test_an_extension_head_that_is_too_long_is_malformed() -> None:
    assert "too long" in str(scan(bytes(good_head(b"pax", 2 << 20, b"x")) + END).failure)


def test_an_end_behind_an_extension_head_is_malformed() -> None:
    body = b"14 path=a.png\n"
    assert "extension" in str(scan(bytes(good_head(b"pax", 14, b"x")) + body.ljust(512, b"\0") + END).failure)


def test_a_global_pax_head_holds_for_all_that_follow() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", pax_headers={"comment": "made by a test"}) as archive:
        for info, content in (member("a.png"), member("b.png")):
            archive.addfile(info, io.BytesIO(content))
    assert [m.name for m in scan(buffer.getvalue()).members] == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (tarfile.SYMTYPE, "it is a symbolic link, not a file"),
        (tarfile.LNKTYPE, "it is a hard link, not a file"),
        (tarfile.CHRTYPE, "it is a device, not a file"),
        (tarfile.BLKTYPE, "it is a device, not a file"),
        (tarfile.FIFOTYPE, "it is a FIFO, not a file"),
        (tarfile.DIRTYPE, "it is a folder, not a file"),
    ],
)
def test_what_is_no_regular_file_fails_as_a_file(kind: bytes, reason: str) -> None:
    result = scan(write_tar([member("link.png", b"", type=kind, linkname="a.png"), member("a.png")]))
    assert [reason] == [why for _, why in result.failed]
    assert [m.name for m in result.members] == ["a.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("folder/a.png", "the name is not a plain file name"),
        ("../a.png", "the name is not a plain file name"),
        ("..", "the name is not a plain file name"),
        ("back\\slash.png", "the name is not a plain file name"),
        ("a.txt", "unsupported format"),
        ("png", "unsupported format"),
        ("a.gif", "unsupported format"),
    ],
)
def test_a_name_that_the_service_would_not_take_fails_as_a_file(name: str, reason: str) -> None:
    result = scan(write_tar([member(name, b"x" * 700), member("good.png")]))
    assert result.failed == ((name, reason),)
    assert [m.name for m in result.members] == ["good.png"]


def test_a_name_beyond_utf8_fails_as_a_file() -> None:
    result = scan(bytes(good_head(b"\xff.png", 1)) + b"x".ljust(512, b"\0") + END)
    assert result.failed == (("\\xff.png", "the name is not UTF-8"),)


def test_an_empty_file_fails_as_a_file() -> None:
    assert scan(write_tar([member("a.png", b"")])).failed == (("a.png", "the file is empty"),)


@pytest.mark.parametrize(("size", "taken"), [(MAX_IMAGE_BYTES, True), (MAX_IMAGE_BYTES + 1, False)])
def test_an_image_may_have_twenty_mebibytes(size: int, taken: bool) -> None:
    tar = bytes(good_head(size=size)) + bytes(size + -size % 512) + END
    result = scan(tar, hashing=False)
    assert taken == bool(result.members)
    assert taken != bool(result.failed)


@pytest.mark.parametrize(("count", "failure"), [(500, None), (501, "more than 500 images in one shard")])
def test_a_shard_may_have_five_hundred_images(count: int, failure: str | None) -> None:
    members = [member(f"{number}.png") for number in range(count)]
    assert scan(write_tar(members), hashing=False).failure == failure


def test_a_configuration_at_the_end_does_not_count() -> None:
    members = [member(f"{number}.png") for number in range(500)] + [member("notification_config.json", b"{}")]
    result = scan(write_tar(members))
    assert (result.failure, len(result.members), result.failed) == (None, 500, ())


@pytest.mark.parametrize("hashing", [True, False])
@pytest.mark.parametrize("content", [b"{}", b"x" * 511, b"x" * 512, b"x" * 5000])
def test_a_configuration_at_the_end_is_read(content: bytes, hashing: bool) -> None:
    archive = write_tar([member("a.png"), member("notification_config.json", content)])
    assert scan(archive, hashing=hashing).config == content


@pytest.mark.parametrize(
    "members",
    [
        [member("a.png")],
        [member("a.png"), member("notification_config.json", b"")],
        [member("notification_config.json", b"{}"), member("a.png")],
    ],
)
def test_where_none_is_at_the_end_there_is_no_configuration(members: list[Any]) -> None:
    assert scan(write_tar(members)).config is None


def test_a_configuration_before_the_end_is_a_failed_file() -> None:
    result = scan(write_tar([member("notification_config.json", b"{}"), member("a.png")]))
    assert result.failed == (("notification_config.json", "unsupported format"),)
    assert [m.name for m in result.members] == ["a.png"]


def test_a_tar_without_images_fails() -> None:
    assert scan(write_tar([member("notification_config.json", b"{}")])).failure == "the archive holds no images"


def test_equal_names_in_one_tar_are_both_there() -> None:
    assert [m.name for m in scan(write_tar([member("a.png"), member("a.png")])).members] == ["a.png", "a.png"]
