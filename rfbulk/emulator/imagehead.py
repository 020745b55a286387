"""What an image is and how large, from its first bytes alone. Pure, and it never raises on what it reads."""

from __future__ import annotations

import struct
from dataclasses import dataclass

# A JPEG's size may stand behind previews and colour profiles; the others' stand at the front.
HEAD_BYTES = 256 * 1024

_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset({0x01, *range(0xD0, 0xD9)})
_OLD_BITMAP_HEADER = 12


@dataclass(frozen=True, slots=True)
class ImageHead:
    """An image's format and its size in pixels."""

    format: str
    width: int
    height: int


def read_image_head(head: bytes) -> ImageHead | None:
    """Return what an image says of itself, or None if these bytes begin no image that is known here."""
    try:
        for name, begins, read in _FORMATS:
            if head.startswith(begins):
                size = read(head)
                return ImageHead(name, *size) if size is not None and min(size) > 0 else None
    except (struct.error, IndexError):
        pass
    return None


def _png(head: bytes) -> tuple[int, int] | None:
    return struct.unpack_from(">II", head, 16) if head[12:16] == b"IHDR" else None


def _bitmap(head: bytes) -> tuple[int, int]:
    if struct.unpack_from("<I", head, 14)[0] == _OLD_BITMAP_HEADER:
        return struct.unpack_from("<HH", head, 18)
    width, height = struct.unpack_from("<ii", head, 18)
    return width, abs(height)  # a negative height means that the rows go downwards


def _jpeg(head: bytes) -> tuple[int, int] | None:
    at = 2
    while head[at] == 0xFF:
        marker = head[at + 1]
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", head, at + 5)
            return width, height
        if marker == 0xFF:  # filling
            at += 1
        elif marker in _JPEG_BARE:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", head, at + 2)[0]
    return None


def _webp(head: bytes) -> tuple[int, int] | None:
    match head[8:16]:
        case b"WEBPVP8X":
            low_width, high_width, low_height, high_height = struct.unpack_from("<HBHB", head, 24)
            return 1 + (low_width | high_width << 16), 1 + (low_height | high_height << 16)
        case b"WEBPVP8L":
            bits = struct.unpack_from("<I", head, 21)[0]
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        case b"WEBPVP8 " if head[23:26] == b"\x9d\x01\x2a":
            width, height = struct.unpack_from("<HH", head, 26)
            return width & 0x3FFF, height & 0x3FFF
        case _:
            return None


def _jpeg_2000(head: bytes) -> tuple[int, int] | None:
    at = head.find(b"ihdr")
    if at < 0:
        return None
    height, width = struct.unpack_from(">II", head, at + 4)
    return width, height


_FORMATS = (
    ("png", b"\x89PNG\r\n\x1a\n", _png),
    ("jpeg", b"\xff\xd8", _jpeg),
    ("bmp", b"BM", _bitmap),
    ("webp", b"RIFF", _webp),
    ("jp2", b"\0\0\0\x0cjP  ", _jpeg_2000),
)
