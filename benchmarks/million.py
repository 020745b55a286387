"""Ask whether a million tiny files begin at once, stay small in memory, and resume in little more than a look at each.

A tenth of the files is uploaded first, then all of them, from nested folders. Each time it is measured how soon after
the start of the command the first byte of a shard arrives, how many files a second arrive, how much memory is used at
most, and how long the same command takes once everything is there, beside a bare scan that asks for each file's status.
"""

from __future__ import annotations

import statistics
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench import HOME, Goal, Outcome, Scenario, Table
from benchmarks.contenders import Contender, rfbulk
from benchmarks.datasets import TINY, DataSet, prepare_files
from benchmarks.process import Command, run_command
from benchmarks.rounds import Run
from benchmarks.sink import Sink, Stats
from benchmarks.uploading import attempt, fresh_job

if TYPE_CHECKING:
    from benchmarks.bench import Bench

COLUMNS = (
    "files",
    "first byte s",
    "wall s",
    "files/s",
    "MB at most",
    "CPU s",
    "again s",
    "bare scan s",
    "again ÷ scan",
)
MOST_ROUNDS = 3
FIRST_BYTE_SECONDS = 1.0
GROWTH_BYTES = 32 << 20
TIMES_THE_SCAN = 2.0


@dataclass(frozen=True, slots=True)
class Size:
    """All that was found for one number of files. Memory was watched in the checked run only."""

    data: DataSet
    checked: Run[Stats]
    timed: tuple[Run[Stats], ...]
    again: tuple[Run[Stats], ...]
    scan_seconds: float
    problems: tuple[str, ...]

    @property
    def first_byte_seconds(self) -> float:
        """From the start of the command; the median."""
        return statistics.median(run.stats.first_put - run.cost.started for run in self.timed)

    @property
    def files_per_second(self) -> float:
        """From the first byte to the last shard's end; the median."""
        return statistics.median(self.data.files / (run.stats.last_put - run.stats.first_put) for run in self.timed)

    @property
    def wall_seconds(self) -> float:
        """Of the whole command; the median."""
        return statistics.median(run.cost.wall_seconds for run in self.timed)

    @property
    def again_seconds(self) -> float:
        """Of the whole command when everything is there; the median."""
        return statistics.median(run.cost.wall_seconds for run in self.again)

    @property
    def peak_bytes(self) -> int:
        """At any moment of the checked run."""
        return self.checked.cost.peak_bytes or 0


def run(bench: Bench) -> Outcome:
    """Upload both sizes, and each a second time."""
    product = rfbulk(bench)
    if isinstance(product, str):
        return Outcome(skipped=(product,))
    scale = bench.scale or (TINY.smoke_scale if bench.smoke else TINY.scale)
    sizes = [_measure(product, round(TINY.files * part * scale), bench) for part in (0.1, 1.0)]
    return Outcome(
        tables=(Table(f"a million files, times {scale:g}", COLUMNS, tuple(map(_row, sizes))),),
        results=tuple(map(_record, sizes)),
        goals=tuple(_goals(*sizes)),
        problems=tuple(problem for size in sizes for problem in size.problems),
    )


def _measure(product: Contender, files: int, bench: Bench) -> Size:
    data = prepare_files(TINY, files, bench.data)
    timed, again, problems = [], [], []
    with Sink(bench.build) as sink:
        with fresh_job(data, sink, sums=True) as job:
            checked = attempt(product, job, data, sink, checks=True)
        for _ in range(min(max(1, bench.rounds), MOST_ROUNDS)):
            with fresh_job(data, sink) as job:
                timed.append(attempt(product, job, data, sink))
                again.append(attempt(product, job, data, sink))
            if again[-1].stats.puts != timed[-1].stats.puts:
                problems.append("rfbulk: what was stored already was sent again")
    problems += [problem for each in (checked, *timed, *again) for problem in each.problems]
    return Size(data, checked, tuple(timed), tuple(again), _scan_seconds(data), tuple(problems))


def _scan_seconds(data: DataSet) -> float:
    command = Command((sys.executable, str(HOME / "scan.py"), str(data.folder)))
    return statistics.median(run_command(command).wall_seconds for _ in range(3))


def _row(size: Size) -> tuple[str, ...]:
    return (
        f"{size.data.files:,}",
        f"{size.first_byte_seconds:.2f}",
        f"{size.wall_seconds:.2f}",
        f"{size.files_per_second:,.0f}",
        f"{size.peak_bytes / 1e6:.0f}",
        f"{statistics.median(run.cost.cpu_seconds for run in size.timed):.2f}",
        f"{size.again_seconds:.2f}",
        f"{size.scan_seconds:.2f}",
        f"{size.again_seconds / size.scan_seconds:.2f}",
    )


def _goals(fewer: Size, more: Size) -> list[Goal]:
    return [
        Goal("seconds until the first byte of a shard", more.first_byte_seconds, FIRST_BYTE_SECONDS),
        Goal("MB more for ten times the files", (more.peak_bytes - fewer.peak_bytes) / 1e6, GROWTH_BYTES / 1e6),
        Goal("times the bare scan, once everything is there", more.again_seconds / more.scan_seconds, TIMES_THE_SCAN),
    ]


def _record(size: Size) -> dict[str, object]:
    return {
        "contender": "rfbulk",
        "files": size.data.files,
        "first_byte_seconds": [run.stats.first_put - run.cost.started for run in size.timed],
        "wall_seconds": [run.cost.wall_seconds for run in size.timed],
        "cpu_seconds": [run.cost.cpu_seconds for run in size.timed],
        "files_per_second": size.files_per_second,
        "peak_bytes": size.peak_bytes,
        "again_seconds": [run.cost.wall_seconds for run in size.again],
        "scan_seconds": size.scan_seconds,
        "problems": size.problems,
    }


SCENARIOS = (Scenario("million", "a million files of 1 KB: first byte, memory, resume", run),)
