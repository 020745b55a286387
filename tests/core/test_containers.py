"""Videos are told by their first bytes, in every container that the service takes, and nothing else is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.containers import HEAD_BYTES, container_of
from rfbulk.emulator.images import sample_image


def packets(size: int, start: int = 0) -> bytes:
    return (b"\0" * start + b"G" + b"\0" * (size - 1 - start)) * 8


KNOWN = [
    (b"\0\0\0\x18ftypisom\0\0\2\0", "mp4"),
    (b"\0\0\0\x14ftypqt  ", "mp4"),
    (b"\0\0\0\x14ftyp3gp4", "mp4"),
    (b"\0\0\0\x08wide\0\0\0\0mdat", "mp4"),
    (b"\0\0\0\x01mdat\0\0\0\0", "mp4"),
    (b"\x1a\x45\xdf\xa3\x9fB\x86", "matroska"),
    (b"RIFF\x10\0\0\0AVI LIST", "avi"),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"x", "asf"),
    (b"FLV\x01\x05", "flv"),
    (b"OggS\0\2", "ogg"),
    (b"\0\0\1\xba\x44", "mpeg"),
    (b"\0\0\1\xb3\x14", "mpeg"),
    (packets(188), "mpeg-ts"),
    (packets(192, 4), "mpeg-ts"),
    (packets(204), "mpeg-ts"),
]
OTHERS = [
    b"",
    b"G",
    b"text",
    b"<html>",
    b"\0" * 64,
    b"G" * 3,
    b"RIFF\x10\0\0\0WAVEfmt ",
    b"RIFF\x10\0\0\0WEBPVP8 ",
    b"ID3\3",
    b"\xff\xd8\xff\xe0",
    b"\0\0\0\x05ftyp",
    b"\0\0\1\x67",
    b"PK\3\4",
    sample_image(1),
]


@pytest.mark.parametrize(("head", "kind"), KNOWN)
def test_a_video_is_known(head: bytes, kind: str) -> None:
    assert container_of(head) == kind


@pytest.mark.parametrize("head", OTHERS)
def test_what_is_no_video_is_none(head: bytes) -> None:
    assert container_of(head) is None


@given(st.binary(max_size=HEAD_BYTES))
def test_any_bytes_are_looked_at_without_fault(head: bytes) -> None:
    assert container_of(head) in {None, *(kind for _, kind in KNOWN)}
