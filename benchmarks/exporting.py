"""Export a shelf by one contender into a fresh folder, and see that every file of it arrived as it is."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from crc32c import crc32c

from benchmarks.export_contenders import Exporter, Task
from benchmarks.process import Cost, idle_share, run_command
from benchmarks.rounds import Run, Series, play
from benchmarks.source import Source, Stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.shelves import Shelf, Sum

MEMORY = Path("/dev/shm")  # noqa: S108 - what is fetched is to land in memory, so that no disk is measured
TIMES_THE_ROOM = 3  # archives, what they hold, and something to spare
BESIDE = (".manifest.jsonl", ".export_log.jsonl")  # what contenders write beside the batch's files


def play_exports(entrants: list[Exporter], shelf: Shelf, bench: Bench) -> list[Series[Stats]]:
    """Let all export the same shelf in turns."""
    root = room_for(shelf, bench)
    with Source(shelf, bench.build) as source:

        def export(entrant: Exporter, checks: bool) -> Run[Stats]:
            with _fresh_task(entrant, source, root) as task:
                return _attempt(entrant, task, shelf, source, checks=checks)

        return play(entrants, export, rounds=bench.rounds)


def room_for(shelf: Shelf, bench: Bench) -> Path:
    """Return a folder in memory that has room for all that is fetched, or the build folder if there is none."""
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > TIMES_THE_ROOM * shelf.total_bytes:
        return MEMORY
    print(f"  {MEMORY} has no room: files land on the disk of {bench.build}", flush=True)
    return bench.build


@contextmanager
def _fresh_task(entrant: Exporter, source: Source, root: Path) -> Iterator[Task]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=root) as folder,
        tempfile.TemporaryDirectory(prefix="bench-") as state,
    ):
        batch = Path(state).name.lower()
        listed = () if entrant.lists else tuple(source.listed(batch))
        target, temporary = Path(folder) / "target", Path(folder) / "temporary"
        target.mkdir()
        temporary.mkdir()
        yield Task(source.port, batch, target, temporary, Path(state), listed)


def _attempt(entrant: Exporter, task: Task, shelf: Shelf, source: Source, *, checks: bool) -> Run[Stats]:
    """Run one export, and see what the target then holds."""
    print(f"  {entrant.name}{' (checked)' if checks else ''} …", end="", flush=True)
    command = entrant.command(task)
    source.reset()
    idle = idle_share()
    before = source.stats().cpu_seconds
    cost = run_command(command, watch_memory=checks)
    stats = source.stats()
    found = _problems(cost, stats, shelf)
    if checks:
        found += check(task.target, shelf.files if entrant.unpacks else shelf.elements)
    problems = tuple(f"{entrant.name}: {problem}" for problem in found)
    print(f" {cost.wall_seconds:.2f} s" + "".join(f"\n    {problem}" for problem in problems), flush=True)
    return Run(replace(cost, output=""), stats, stats.cpu_seconds - before, idle, problems)


def _problems(cost: Cost, stats: Stats, shelf: Shelf) -> list[str]:
    found = []
    if cost.exit_code != 0:
        found.append(f"exit code {cost.exit_code}, after: {cost.output.strip()[-600:]}")
    if stats.body_bytes < shelf.total_bytes:
        found.append(f"{stats.body_bytes:,} bytes were fetched, not {shelf.total_bytes:,}")
    return found


def check(target: Path, wanted: dict[str, Sum]) -> list[str]:
    """Compare each file below a folder with what it should be, by its name: of each one, and nothing else."""
    missing = dict(wanted)
    wrong: list[str] = []
    for folder, _, names in os.walk(target):
        for name in names:
            if name.endswith(BESIDE):
                continue
            content = (Path(folder) / name).read_bytes()
            if missing.pop(name, None) != (len(content), crc32c(content)):
                wrong.append(name)
    found = []
    if wrong:
        found.append(f"{len(wrong):,} files are not what they should be, {wrong[0]} first")
    if missing:
        found.append(f"{len(missing):,} files are missing, {next(iter(missing))} first")
    return found
