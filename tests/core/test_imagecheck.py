"""A whole image passes however it comes, and one that is cut short, or none at all, is told by why."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.imagecheck import ImageCheck
from rfbulk.emulator.images import sample_image

THUMBNAIL = b"\xff\xd8\xff\xdb\0\2\xff\xda\0\2tiny\xff\xd9"
JPEG = (
    b"\xff\xd8\xff\xe1"
    + struct.pack(">H", 2 + len(THUMBNAIL))
    + THUMBNAIL
    + b"\xff\xff\xc0\0\4ab\xff\xda\0\2"
    + b"\x12\xff\0\x34" * 3000
    + b"\xff\xd9"
)
BMP = b"BM" + struct.pack("<I", 70) + b"\0" * 64
WEBP = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8 " + b"\0" * 22
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + b"\0" * 50 + b"\xff\x4f" + b"x" * 5000 + b"\xff\xd9"
DIB = struct.pack("<I", 40) + b"\0" * 60
WHOLE = {"jpeg": JPEG, "png": sample_image(3), "bmp": BMP, "webp": WEBP, "jp2": JP2}


def fault_of(content: bytes, piece: int = 1 << 20) -> str:
    check = ImageCheck(len(content))
    for start in range(0, len(content), piece):
        check.take(memoryview(content)[start : start + piece])
    return check.fault()


@pytest.mark.parametrize("piece", [1 << 20, 7000, 1000])
@pytest.mark.parametrize("content", [*WHOLE.values(), DIB], ids=[*WHOLE, "dib"])
def test_a_whole_image_passes_in_any_pieces(content: bytes, piece: int) -> None:
    assert fault_of(content, piece) == ""


@pytest.mark.parametrize("more", [b"\0" * 10, b"Samsung trailer" * 2000])
@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
def test_what_stands_behind_the_end_does_no_harm(content: bytes, more: bytes) -> None:
    assert fault_of(content + more) == ""
    assert fault_of(content + more, 9000) == ""


@pytest.mark.parametrize("cut", [1, 2, 20])
@pytest.mark.parametrize(("kind", "content"), WHOLE.items())
def test_an_image_that_is_cut_short_is_told(kind: str, content: bytes, cut: int) -> None:
    """The end of the preview within a JPEG is not taken for its own."""
    assert "cut short" in fault_of(content[:-cut])


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<html></html>", "a text"),
        (b"GIF89a", "a GIF"),
        (b"II*\0abc", "a TIFF"),
        (b"\0" * 100, "zeros"),
        (b"hello world", "nothing that is known"),
        (b"RIFF\0\0\0\0WAVE", "nothing that is known"),
    ],
)
def test_what_is_no_image_is_told_by_what_it_is(content: bytes, told: str) -> None:
    assert told in fault_of(content)


@given(st.sampled_from(sorted(WHOLE)), st.integers(min_value=64, max_value=6000))
def test_an_end_is_found_wherever_pieces_meet(kind: str, piece: int) -> None:
    assert fault_of(WHOLE[kind], piece) == ""


@given(st.binary(min_size=1, max_size=300), st.integers(min_value=1, max_value=64))
def test_any_bytes_are_looked_at_without_fault(content: bytes, piece: int) -> None:
    fault_of(b"\xff\xd8\xff" + content, piece)
    fault_of(content, piece)
