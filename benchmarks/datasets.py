"""Make the files that are moved: named and headed like JPEGs, filled with noise that nothing can compress.

What has just been written lies in the page cache in large pieces; what was read back from the disk does not, and costs
everyone a third more to read. So a run makes each set anew, uses it for as many scenarios as want the same, and removes
it before it makes another. With `bench.keeps` sets stay, and are used as they are found.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import time
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from crc32c import crc32c

from benchmarks.bench import NoRoom

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
FEWEST_FILES = 40  # the rival sends 32 one by one


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


NORMAL = Shape("a", 20_000, 60_000, 140_000, scale=5)
SMALL = Shape("b", 100_000, 6_000, 10_000, scale=3)
LARGE = Shape("c", 1_000, 2_000_000, 4_000_000, scale=3, smoke_scale=0.06)
CROPS = Shape("crops", 20_000, 18_000, 22_000, per_folder=10_000, scale=2)  # each folder is served as a part
TINY = Shape("million", 1_000_000, 1_024, 1_024, per_folder=1_000, smoke_scale=0.01)


def prepare(shape: Shape, bench: Bench) -> DataSet:
    """Return the set of that shape at the scale that was asked for, making it if need be."""
    return prepare_files(shape, files_of(shape, bench), bench)


def files_of(shape: Shape, bench: Bench) -> int:
    """Return how many files a set of that shape is to have."""
    return max(FEWEST_FILES, round(shape.files * scale_of(shape, bench)))


def scale_of(shape: Shape, bench: Bench) -> float:
    """Return the scale that was asked for, or the shape's own."""
    return bench.scale or (shape.smoke_scale if bench.smoke else shape.scale)


def prepare_files(shape: Shape, files: int, bench: Bench) -> DataSet:
    """Return the set of that shape and so many files, making it if need be."""
    folder = bench.data / f"{shape.name}-{files}"
    wanted: dict[str, object] = {"version": VERSION, "shape": asdict(replace(shape, scale=0, smoke_scale=0))}
    known = read_stamp(folder) if may_be_used(folder, bench) else {}
    if {key: known.get(key) for key in wanted} == wanted and "total_bytes" in known:
        return DataSet(folder, files, known["total_bytes"], known["image_sum"])
    needed = files * max(BLOCK_BYTES, (shape.smallest + shape.largest) // 2)
    what = f"{files:,} files of {shape.smallest:,} to {shape.largest:,} bytes"
    with new_set(folder, needed, bench, what):
        made = _make(shape, folder, files)
    write_stamp(folder, {**wanted, "total_bytes": made.total_bytes, "image_sum": made.image_sum})
    return made


def may_be_used(folder: Path, bench: Bench) -> bool:
    """Tell whether a set is to be used if it is there: one that this run has written, or any that is kept."""
    return bench.keeps or folder in bench.made


def read_stamp(folder: Path) -> dict[str, Any]:
    """Return what was written about a set when it was made, or when it was begun; nothing if it is not there."""
    stamp = folder.with_suffix(".json")
    if not (stamp.exists() and folder.is_dir()):
        return {}
    found: dict[str, Any] = json.loads(stamp.read_text())
    return found


def write_stamp(folder: Path, told: dict[str, object]) -> None:
    """Write about a set, beside it."""
    folder.with_suffix(".json").write_text(json.dumps(told))


@contextmanager
def new_set(folder: Path, needed: int, bench: Bench, what: str) -> Iterator[None]:
    """Give an empty folder for a set, with as much room as it needs; say how long it takes to fill it.

    Raises:
        NoRoom: not even without all other sets.
    """
    remove(folder)
    make_room(folder, needed, bench)
    folder.mkdir(parents=True)
    write_stamp(folder, {"version": VERSION, "begun": True})
    bench.made.add(folder)
    print(f"  making {what} in {folder} …", end="", flush=True)
    started = time.monotonic()
    yield
    settle(bench)
    print(f" {time.monotonic() - started:.0f} s", flush=True)


def settle(bench: Bench) -> None:
    """Have all written back now: later it would disturb what is measured, if anything is."""
    if not bench.smoke:
        os.sync()


def make_room(folder: Path, needed: int, bench: Bench) -> None:
    """Remove what this run has made and, if that is not enough, whatever sets earlier runs have left.

    Raises:
        NoRoom: the disk has less than that, and what contenders need besides.
    """
    remove_made(bench)
    folder.parent.mkdir(parents=True, exist_ok=True)
    needed += SPARE_BYTES
    if not bench.keeps and shutil.disk_usage(folder.parent).free < needed:
        _remove_left(folder.parent)
    free = shutil.disk_usage(folder.parent).free
    if free < needed:
        kept = ", without --keep" if bench.keeps else ""
        raise NoRoom(f"{folder} needs {needed / 1e9:.0f} GB and has {free / 1e9:.0f}: try --data or --scale{kept}")


def remove_made(bench: Bench) -> None:
    """Remove the sets that this run has made, unless they are to be kept."""
    for folder in () if bench.keeps else sorted(bench.made):
        print(f"  removing {folder}", flush=True)
        remove(folder)
        bench.made.discard(folder)


def remove(folder: Path) -> None:
    """Remove a set, and all that is told of it beside it."""
    if folder.exists():
        shutil.rmtree(folder)
    for beside in folder.parent.glob(f"{folder.name}.*"):
        beside.unlink()


def _remove_left(root: Path) -> None:
    for stamp in sorted(root.glob("*.json")):
        folder = stamp.with_suffix("")
        if "version" in read_stamp(folder):
            print(f"  removing {folder}, for the room it takes", flush=True)
            remove(folder)


def _make(shape: Shape, folder: Path, files: int) -> DataSet:
    noise, pool = noise_of(f"{shape.name} {files}")
    total_bytes = image_sum = 0
    for number, path in enumerate(_paths(shape, folder, files)):
        content = image(number, noise.randint(shape.smallest, shape.largest), noise, pool)
        with open(path, "xb", buffering=0) as file:  # noqa: PTH123 - a million times, Path takes its time
            file.write(content)
        total_bytes += len(content)
        image_sum += crc32c(content)
    return DataSet(folder, files, total_bytes, image_sum)


def noise_of(name: str) -> tuple[random.Random, memoryview]:
    """Return what images are made of."""
    return random.Random(name), memoryview(os.urandom(POOL_BYTES))  # noqa: S311 -- the same sizes each time, no secret


def image(number: int, size: int, noise: random.Random, pool: memoryview) -> bytes:
    """Return the content of an image of that size. No two numbers have the same."""
    size -= len(HEAD) + 8 + len(TAIL)
    start = noise.randrange(POOL_BYTES - size)
    return b"".join((HEAD, number.to_bytes(8, "big"), pool[start : start + size], TAIL))


def _paths(shape: Shape, folder: Path, files: int) -> Iterator[str]:
    inner = str(folder)
    for number in range(files):
        if shape.per_folder and number % shape.per_folder == 0:
            inner = f"{folder}/camera-{number // shape.per_folder:05d}"
            os.mkdir(inner)  # noqa: PTH102 - the same
        yield f"{inner}/image-{number:08d}.jpg"
