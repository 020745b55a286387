"""Measure uploads of more and more tiny files: how soon they begin, how fast they go, and what they hold in memory.

For each number of files: how soon after the start of the command the first byte of a shard arrives, how many files a
second are planned (by the same command with `--dry-run`, its start taken off) and arrive, how much memory is used at
most, and how long the same command takes once everything is there, beside a bare scan that asks for each file's status.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench import HOME, Goal, Row
from benchmarks.process import Command, run_command
from benchmarks.sink import Sink, Stats
from benchmarks.uploading import attempt, fresh_job

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.bench import Bench
    from benchmarks.contenders import Contender
    from benchmarks.datasets import DataSet
    from benchmarks.rounds import Run

COLUMNS = (
    "files",
    "wall s",
    "files/s",
    "planned/s",
    "first byte s",
    "peak MB",
    "CPU s",
    "again s",
    "bare scan s",
    "again / scan",
)
FIRST_BYTE_SECONDS = 1.0
GROWTH_BYTES = 32 << 20
TIMES_THE_SCAN = (2.0, 1.3)  # at first, and then


@dataclass(frozen=True, slots=True)
class Size:
    """All that was found for one number of files. Memory was watched in the checked run only."""

    data: DataSet
    checked: Run[Stats]
    timed: tuple[Run[Stats], ...]  # at least one
    again: tuple[Run[Stats], ...]  # one for each
    plan_seconds: float
    scan_seconds: float
    problems: tuple[str, ...]

    @property
    def first_byte_seconds(self) -> float:
        """From the start of the command; the median."""
        return statistics.median(run.stats.first_put - run.cost.started for run in self.timed)

    @property
    def files_per_second(self) -> float:
        """From the first byte to the last shard's end; the median."""
        return statistics.median(
            self.data.files / max(1e-9, run.stats.last_put - run.stats.first_put) for run in self.timed
        )

    @property
    def wall_seconds(self) -> float:
        """Of the whole command; the median."""
        return statistics.median(run.cost.wall_seconds for run in self.timed)

    @property
    def cpu_seconds(self) -> float:
        """Of the whole command; the median."""
        return statistics.median(run.cost.cpu_seconds for run in self.timed)

    @property
    def again_seconds(self) -> float:
        """Of the whole command when everything is there; the median."""
        return statistics.median(run.cost.wall_seconds for run in self.again)

    @property
    def peak_bytes(self) -> int:
        """At any moment of the checked run."""
        return self.checked.cost.peak_bytes or 0


def measure(product: Contender, data: DataSet, bench: Bench, *, rounds: int) -> Size:
    """Upload a set once for its memory and its sums, then so many times for time, and each time once more.

    With no rounds the checked run stands in for them.
    """
    timed: list[Run[Stats]] = []
    again: list[Run[Stats]] = []
    with Sink(bench.build) as sink:
        with fresh_job(data, sink, sums=True) as job:
            checked = attempt(product, job, data, sink, checks=True)
            if not rounds:
                again.append(attempt(product, job, data, sink))
            plan = product.command(job)
            plan_seconds = run_command(Command((*plan.arguments, "--dry-run"), plan.environment)).wall_seconds
        for _ in range(rounds):
            with fresh_job(data, sink) as job:
                timed.append(attempt(product, job, data, sink))
                again.append(attempt(product, job, data, sink))
    timed = timed or [checked]
    start = run_command(product.start_command).wall_seconds if product.start_command else 0.0
    return Size(
        data,
        checked,
        tuple(timed),
        tuple(again),
        max(1e-3, plan_seconds - start),
        _scan_seconds(data, 3 if rounds else 1),
        (*found_wrong(timed, again), *(problem for each in (checked, *timed, *again) for problem in each.problems)),
    )


def found_wrong(timed: Sequence[Run[Stats]], again: Sequence[Run[Stats]]) -> list[str]:
    """Return what is wrong with runs that had nothing to do any more."""
    sent = sum(second.stats.puts != first.stats.puts for first, second in zip(timed, again, strict=True))
    return ["rfbulk: what was stored already was sent again"] if sent else []


def _scan_seconds(data: DataSet, times: int) -> float:
    command = Command((sys.executable, str(HOME / "scan.py"), str(data.folder)))
    return statistics.median(run_command(command).wall_seconds for _ in range(times))


def cells(size: Size) -> tuple[str, ...]:
    """Return what is told of one size, by `COLUMNS`."""
    return (
        f"{size.data.files:,}",
        f"{size.wall_seconds:.2f}",
        f"{size.files_per_second:,.0f}",
        f"{size.data.files / size.plan_seconds:,.0f}",
        f"{size.first_byte_seconds:.2f}",
        f"{size.peak_bytes / 1e6:.0f}",
        f"{size.cpu_seconds:.2f}",
        f"{size.again_seconds:.2f}",
        f"{size.scan_seconds:.2f}",
        f"{size.again_seconds / size.scan_seconds:.2f}",
    )


def told(sizes: Sequence[Size]) -> Iterator[Row]:
    """Return what goes into the table of the whole run."""
    for size in sizes:
        name = f"rfbulk, {size.data.files:,} files"
        per_gb = size.cpu_seconds / size.data.total_bytes * 1e9
        yield Row(name, size.wall_seconds, per_gb, size.peak_bytes)
        yield Row(f"{name}, again", size.again_seconds, of_limit=size.again_seconds / size.scan_seconds)


def growth_goals(sizes: Sequence[Size], base: Size, *, is_first: bool) -> Iterator[Goal]:
    """Return what is asked of each size beside that of 100,000 files, at first or only then."""
    for size in sizes:
        files = f"{size.data.files:,} files"
        more = (size.peak_bytes - base.peak_bytes) / 1e6
        yield _goal(
            f"seconds until the first byte of a shard, {files}",
            size.first_byte_seconds,
            FIRST_BYTE_SECONDS,
            is_first=is_first,
        )
        if size is not base:
            name = f"MB more than for {base.data.files:,} files, {files}"
            yield _goal(name, more, GROWTH_BYTES / 1e6, is_first=is_first)


def _goal(name: str, measured: float, bound: float, *, is_first: bool) -> Goal:
    return Goal(name, measured, bound if is_first else None, bound)


def resume_goal(size: Size) -> Goal:
    """Return what is asked of an upload that was done before."""
    times = size.again_seconds / size.scan_seconds
    return Goal("times the bare scan, once everything is there", times, *TIMES_THE_SCAN)


def record(size: Size) -> dict[str, object]:
    """Return what is kept of a size."""
    return {
        "contender": "rfbulk",
        "files": size.data.files,
        "bytes": size.data.total_bytes,
        "first_byte_seconds": [run.stats.first_put - run.cost.started for run in size.timed],
        "wall_seconds": [run.cost.wall_seconds for run in size.timed],
        "cpu_seconds": [run.cost.cpu_seconds for run in size.timed],
        "files_per_second": size.files_per_second,
        "plan_seconds": size.plan_seconds,
        "peak_bytes": size.peak_bytes,
        "again_seconds": [run.cost.wall_seconds for run in size.again],
        "scan_seconds": size.scan_seconds,
        "problems": size.problems,
        "runs": [{"idle_before": run.idle} for run in (*size.timed, *size.again)],
    }
