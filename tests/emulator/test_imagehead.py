"""The size of an image is read from its first bytes, and nothing that is no image is taken for one."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.emulator.imagehead import ImageHead, read_image_head
from rfbulk.emulator.images import sample_image

PNG = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", 640, 480)
JPEG = b"\xff\xd8" + b"\xff\xe0" + struct.pack(">H", 16) + bytes(14)
JPEG += b"\xff\xff\xc2" + struct.pack(">HBHH", 17, 8, 480, 640)
BMP = b"BM" + bytes(12) + struct.pack("<Iii", 40, 640, -480)
OLD_BMP = b"BM" + bytes(12) + struct.pack("<IHH", 12, 640, 480)
VP8 = b"RIFF" + bytes(4) + b"WEBPVP8 " + bytes(7) + b"\x9d\x01\x2a" + struct.pack("<HH", 640 | 1 << 14, 480)
VP8L = b"RIFF" + bytes(4) + b"WEBPVP8L" + bytes(4) + b"\x2f" + struct.pack("<I", 639 | 479 << 14)
VP8X = b"RIFF" + bytes(4) + b"WEBPVP8X" + bytes(8) + (639).to_bytes(3, "little") + (479).to_bytes(3, "little")
JP2 = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20) + b"ihdr" + struct.pack(">II", 480, 640)


@pytest.mark.parametrize(
    ("head", "form"),
    [
        (PNG, "png"),
        (JPEG, "jpeg"),
        (BMP, "bmp"),
        (OLD_BMP, "bmp"),
        (VP8, "webp"),
        (VP8L, "webp"),
        (VP8X, "webp"),
        (JP2, "jp2"),
    ],
)
def test_the_size_is_read_from_the_head(head: bytes, form: str) -> None:
    assert read_image_head(head + bytes(100)) == ImageHead(form, 640, 480)


def test_our_own_images_are_images() -> None:
    assert read_image_head(sample_image(3)) == ImageHead("png", 23, 23)


@pytest.mark.parametrize("head", [PNG, JPEG, BMP, OLD_BMP, VP8, VP8L, VP8X, JP2])
def test_a_head_that_is_cut_short_is_none(head: bytes) -> None:
    assert [read_image_head(head[:size]) for size in range(len(head) - 1)] == [None] * (len(head) - 1)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"text",
        PNG[:12] + b"IDAT" + bytes(20),
        b"RIFF" + bytes(4) + b"WAVE" + bytes(40),
        JPEG[:2] + b"no marker",
        PNG[:16] + bytes(8),
        b"\0\0\0\x0cjP  " + bytes(30),
    ],
)
def test_what_is_no_image_is_none(head: bytes) -> None:
    assert read_image_head(head) is None


@given(
    st.sampled_from([PNG[:8], b"\xff\xd8\xff", b"BM", VP8[:16], VP8L[:16], VP8X[:16], JP2[:8]]), st.binary(max_size=80)
)
def test_nothing_makes_it_raise(begins: bytes, rest: bytes) -> None:
    read_image_head(begins + rest)
