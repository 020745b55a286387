"""Batches of results for the emulator, and what an export of them must leave on the disk."""

from __future__ import annotations

import io
import random
import tarfile
from pathlib import Path

from rfbulk.emulator import NewFile


def tar_of(members: dict[str, bytes], *, gz: bool = False) -> bytes:
    """Pack members into an archive, the same bytes on every run."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz" if gz else "w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def small_files(count: int, *, prefix: str = "img", seed: int = 1, size: int = 2000) -> list[NewFile]:
    """Make small files, each of another content, in shards of sixteen."""
    chance = random.Random(seed)
    return [
        NewFile(f"{prefix}-{number:05}.jpg", chance.randbytes(chance.randrange(1, size)), f"shard-{number // 16}")
        for number in range(count)
    ]


def results_batch() -> tuple[dict[str, list[NewFile]], dict[str, bytes]]:
    """Parts of every kind, and the tree that a straight export leaves."""
    images = small_files(40)
    crops = {f"crop-{number:03}.png": b"\x89PNG%d" % number * 50 for number in range(12)}
    masks = {f"day-1/mask-{number:03}.png": b"mask %d" % number * 40 for number in range(8)}
    rows = [
        NewFile(f"results-{n}.jsonl", b'{"image":"img-%05d.jpg","n":%d}\n' % (n, n), f"shard-{n}") for n in range(3)
    ]
    parts = {
        "images": images,
        "archives": [
            NewFile("crops.tar.gz", tar_of(crops, gz=True), "shard-0"),
            NewFile("masks.tar", tar_of(masks), "shard-1"),
        ],
        "results": rows,
    }
    tree = {f"images/{file.name}": content_of(file) for file in images}
    tree |= {f"archives/{name}": content for name, content in (crops | masks).items()}
    tree |= {f"results/{file.name}": content_of(file) for file in rows}
    return parts, tree


def content_of(file: NewFile) -> bytes:
    """Return the bytes of a file that was made of bytes."""
    if not isinstance(file.content, bytes):
        raise TypeError
    return file.content


def tree_of(folder: Path) -> dict[str, bytes]:
    """Read all that an export left, the manifest aside. What is hidden is there too."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".manifest.jsonl")
    }
