"""Files that are videos by their first bytes, and images that are whole."""

from __future__ import annotations

import random
from pathlib import Path

MARKS = {
    "mp4": b"\0\0\0\x18ftypmp42",
    "mov": b"\0\0\0\x14ftypqt  ",
    "mkv": b"\x1a\x45\xdf\xa3",
    "avi": b"RIFF\x24\0\0\0AVI LIST",
    "wmv": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    "flv": b"FLV\x01",
    "mpg": b"\0\0\x01\xba",
    "ogg": b"OggS",
}


def write_clips(folder: Path, count: int, *, size: int = 20_000, seed: int = 1) -> Path:
    """Write files that are videos by their beginnings, a third of them in a subfolder, each of another content."""
    chance = random.Random(seed)
    suffixes = sorted(MARKS)
    for number in range(count):
        suffix = suffixes[number % len(suffixes)]
        path = folder / ["", "", "night"][number % 3] / f"clip-{number:04}.{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MARKS[suffix] + chance.randbytes(chance.randrange(size // 2, size)))
    return folder
