"""Make a set of ten million files that takes no room: a hundred thousand tiny ones, each under a hundred names.

To whoever looks through folders, opens files and sends them, a hard link is a file like any other. What it spares is a
block on the disk and in the page cache, and the kernel's memory for an inode; both are the same for everyone.
A set that was left half made is gone on with.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmarks.datasets import (
    BLOCK_BYTES,
    TINY,
    VERSION,
    DataSet,
    files_of,
    make_room,
    prepare_files,
    read_stamp,
    remove,
    settle,
    write_stamp,
)

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.bench import Bench

LINKS = 100
SHAPE = replace(TINY, name="linked", files=100_000, smoke_scale=0.002)
UNFINISHED = "unfinished"
TELLING = 10  # times, while it is made


def prepare_links(bench: Bench) -> tuple[DataSet, DataSet]:
    """Return the set of real files, and the one in which each of them has a hundred names.

    Raises:
        NoRoom: the disk has none, even for the real ones.
    """
    files = files_of(SHAPE, bench)
    make_room(bench.data / SHAPE.name, files * BLOCK_BYTES, bench)
    real = prepare_files(SHAPE, files, replace(bench, keeps=True))
    bench.made.discard(real.folder)  # whoever breaks off here finds it again
    folder = bench.data / f"{real.folder.name}-times-{LINKS}"
    stands_on = (real.folder / "camera-00000" / "image-00000000.jpg").stat().st_ino
    wanted: dict[str, object] = {"version": VERSION, "links": LINKS, "stands_on": stands_on}
    known = read_stamp(folder)
    if {key: known.get(key) for key in wanted} != wanted:
        remove(folder)
        folder.mkdir()
        write_stamp(folder, wanted)
        known = wanted
    if not known.get("whole"):
        _link(real, folder)
        settle(bench)
        write_stamp(folder, {**wanted, "whole": True})
    bench.made.update((real.folder, folder))
    return real, DataSet(folder, real.files * LINKS, real.total_bytes * LINKS, real.image_sum * LINKS)


def _link(real: DataSet, folder: Path) -> None:
    """Make what is missing. A folder that has its name is whole."""
    sources = sorted(real.folder.iterdir())
    targets = [folder / f"camera-{number:05d}" for number in range(len(sources) * LINKS)]
    there = {each.name for each in folder.iterdir()}
    missing = [number for number, target in enumerate(targets) if target.name not in there]
    print(f"  linking {real.files * LINKS:,} names in {folder}", end="", flush=True)
    started = time.monotonic()
    for done, number in enumerate(missing, start=1):
        _link_folder(sources[number % len(sources)], folder / UNFINISHED)
        (folder / UNFINISHED).rename(targets[number])
        if done * TELLING // len(missing) > (done - 1) * TELLING // len(missing):
            print(f" {done * 100 // len(missing)} %", end="", flush=True)
    print(f", {time.monotonic() - started:.0f} s", flush=True)


def _link_folder(source: Path, target: Path) -> None:
    remove(target)
    target.mkdir()
    here, there = os.open(source, os.O_RDONLY), os.open(target, os.O_RDONLY)
    try:
        for each in source.iterdir():
            os.link(each.name, each.name, src_dir_fd=here, dst_dir_fd=there)
    finally:
        os.close(here)
        os.close(there)
