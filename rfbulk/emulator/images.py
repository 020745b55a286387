"""Write folders of valid images, for demonstrations and tests, with the standard library alone."""

from __future__ import annotations

import random
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_FOLDERS = ("", "camera-1", "camera-1/day-2", "camera-2", "camera-2/night", "örtlich/mit leer")
_ODD_NAMES = ("grüße aus köln.png", "two words.png", "__underscores__.png", "日本.png")
_LEAST_SIDE, _MOST_SIDE = 20, 320
# One stretch of noise serves every image: drawing fresh noise would take most of the time.
_NOISE_BYTES = 1 << 20


def write_images(folder: Path, count: int, seed: int) -> None:
    """Write `count` PNGs of 2 to 300 KB into `folder` and some subfolders.

    The same arguments write the same bytes. No two images are alike. Some names hold spaces or letters beyond ASCII.
    """
    generator = random.Random(seed)  # noqa: S311 - pictures, not secrets
    noise = generator.randbytes(_NOISE_BYTES)
    for name in _FOLDERS:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(count):
        # Many small images and few large ones, as in real sets.
        side = _LEAST_SIDE + int((_MOST_SIDE - _LEAST_SIDE) * generator.random() ** 3)
        path = folder / _FOLDERS[number % len(_FOLDERS)] / _name(number)
        path.write_bytes(_png(side, noise, generator.randrange(_NOISE_BYTES), number))


def sample_image(number: int) -> bytes:
    """Return a small PNG; no two numbers give the same."""
    generator = random.Random(number)  # noqa: S311 - pictures, not secrets
    side = _LEAST_SIDE + number % _LEAST_SIDE
    return _png(side, generator.randbytes(side * side * 3 + side), 0, number)


def _name(number: int) -> str:
    return _ODD_NAMES[number] if number < len(_ODD_NAMES) else f"image-{number:06}.png"


def _png(side: int, noise: bytes, start: int, number: int) -> bytes:
    rows = bytearray()
    length = side * 3
    for row in range(side):
        at = (start + row * length) % (len(noise) - length)
        rows += b"\0" + noise[at : at + length]
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    text = f"Comment\0rfbulk {number}".encode("latin-1")
    # Noise does not compress; storing it is quick.
    chunks = ((b"IHDR", header), (b"tEXt", text), (b"IDAT", zlib.compress(rows, 0)), (b"IEND", b""))
    return _SIGNATURE + b"".join(_chunk(kind, body) for kind, body in chunks)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
