"""Make the files that are moved: named and headed like JPEGs, filled with noise that nothing can compress.

A set stays where it was made and is used again while its stamp fits, so a folder of sets may grow to tens of GB:
delete it when the disk is wanted back.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from crc32c import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Bench

VERSION = 1  # of the way sets are made: another number makes them anew
HEAD = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00\xff\xfe\x00\x0a"
TAIL = b"\xff\xd9"
POOL_BYTES = 64 << 20
BLOCK_BYTES = 4096  # what a small file takes on the disk
SPARE_BYTES = 4 << 30  # left free for the temporary files of contenders


@dataclass(frozen=True, slots=True)
class Shape:
    """A kind of set: how many files at scale 1, how large, how many to a folder (None: one flat folder)."""

    name: str
    files: int
    smallest: int
    largest: int
    per_folder: int | None = None
    scale: float = 1.0  # without `--scale`: rfbulk runs for some 5 s, as far as the page cache allows
    smoke_scale: float = 0.02


@dataclass(frozen=True, slots=True)
class DataSet:
    """A set on the disk. `image_sum` is the sum of its files' crc32c, which no order or sharding changes."""

    folder: Path
    files: int
    total_bytes: int
    image_sum: int


NORMAL = Shape("a", 20_000, 60_000, 140_000, scale=6)
SMALL = Shape("b", 100_000, 6_000, 10_000, scale=4)
LARGE = Shape("c", 1_000, 2_000_000, 4_000_000, scale=4, smoke_scale=0.06)
CROPS = Shape("crops", 20_000, 18_000, 22_000, per_folder=10_000)  # each folder is served as a part
TINY = Shape("million", 1_000_000, 1_024, 1_024, per_folder=1_000)


def prepare(shape: Shape, bench: Bench) -> DataSet:
    """Return the set of that shape at the scale that was asked for, making it if need be."""
    scale = bench.scale or (shape.smoke_scale if bench.smoke else shape.scale)
    return prepare_files(shape, max(40, round(shape.files * scale)), bench.data)  # the rival sends 32 one by one


def prepare_files(shape: Shape, files: int, root: Path) -> DataSet:
    """Return the set of that shape and so many files, making it if need be."""
    folder = root / f"{shape.name}-{files}"
    stamp = folder.with_suffix(".json")
    wanted: dict[str, object] = {"version": VERSION, "shape": asdict(replace(shape, scale=0, smoke_scale=0))}
    known = json.loads(stamp.read_text()) if stamp.exists() and folder.is_dir() else {}
    if {key: known.get(key) for key in wanted} == wanted:
        return DataSet(folder, files, known["total_bytes"], known["image_sum"])
    print(f"making {files:,} files of {shape.smallest:,} to {shape.largest:,} bytes in {folder}", flush=True)
    made = _make(shape, folder, files)
    stamp.write_text(json.dumps({**wanted, "total_bytes": made.total_bytes, "image_sum": made.image_sum}))
    return made


def _make(shape: Shape, folder: Path, files: int) -> DataSet:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    refuse_a_full_disk(folder, files * max(BLOCK_BYTES, (shape.smallest + shape.largest) // 2))
    noise, pool = noise_of(f"{shape.name} {files}")
    total_bytes = image_sum = 0
    for number, path in enumerate(_paths(shape, folder, files)):
        content = image(number, noise.randint(shape.smallest, shape.largest), noise, pool)
        path.write_bytes(content)
        total_bytes += len(content)
        image_sum += crc32c(content)
    os.sync()  # writing back later would disturb what is measured
    return DataSet(folder, files, total_bytes, image_sum)


def noise_of(name: str) -> tuple[random.Random, memoryview]:
    """Return what images are made of."""
    return random.Random(name), memoryview(os.urandom(POOL_BYTES))  # noqa: S311 -- the same sizes each time, no secret


def image(number: int, size: int, noise: random.Random, pool: memoryview) -> bytes:
    """Return the content of an image of that size. No two numbers have the same."""
    size -= len(HEAD) + 8 + len(TAIL)
    start = noise.randrange(POOL_BYTES - size)
    return b"".join((HEAD, number.to_bytes(8, "big"), pool[start : start + size], TAIL))


def _paths(shape: Shape, folder: Path, files: int) -> Iterator[Path]:
    inner = folder
    for number in range(files):
        if shape.per_folder and number % shape.per_folder == 0:
            inner = folder / f"camera-{number // shape.per_folder:05d}"
            inner.mkdir()
        yield inner / f"image-{number:08d}.jpg"


def refuse_a_full_disk(folder: Path, needed: int) -> None:
    """Leave with a message if the disk has less room than that, and what contenders need besides."""
    needed += SPARE_BYTES
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(f"{folder} needs {needed / 1e9:.0f} GB and has {free / 1e9:.0f}: try --data or --scale")
