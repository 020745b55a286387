"""The images for demonstrations are valid, varied, and the same every time."""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from rfbulk.emulator.images import write_images

if TYPE_CHECKING:
    from pathlib import Path


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*.png"))}


def test_the_same_seed_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_images(tmp_path / name, 30, seed=7)
    write_images(tmp_path / "three", 30, seed=8)
    assert read_all(tmp_path / "one") == read_all(tmp_path / "two")
    assert set(read_all(tmp_path / "one").values()).isdisjoint(read_all(tmp_path / "three").values())


def test_images_are_many_distinct_varied_and_nested(tmp_path: Path) -> None:
    write_images(tmp_path, 60, seed=1)
    images = read_all(tmp_path)
    sizes = [len(content) for content in images.values()]
    assert (len(images), len(set(images.values()))) == (60, 60)
    assert 1_000 < min(sizes) < 4_000
    assert 100_000 < max(sizes) < 320_000
    assert len({str((tmp_path / name).parent) for name in images}) == 6
    assert any(" " in name for name in images)
    assert any(not name.isascii() for name in images)


def test_every_image_is_a_png_down_to_its_pixels(tmp_path: Path) -> None:
    write_images(tmp_path, 8, seed=3)
    for content in read_all(tmp_path).values():
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        chunks = dict(read_chunks(content[8:]))
        assert list(chunks) == [b"IHDR", b"tEXt", b"IDAT", b"IEND"]
        width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
        assert len(zlib.decompress(chunks[b"IDAT"])) == height * (1 + 3 * width)


def read_chunks(rest: bytes) -> list[tuple[bytes, bytes]]:
    chunks = []
    while rest:
        (length,) = struct.unpack(">I", rest[:4])
        kind, body = rest[4:8], rest[8 : 8 + length]
        assert rest[8 + length : 12 + length] == struct.pack(">I", zlib.crc32(kind + body))
        chunks.append((kind, body))
        rest = rest[12 + length :]
    return chunks
