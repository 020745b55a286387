"""Let contenders upload the same set in turns, and check that each delivered everything.

One checked round comes first, untimed: it warms the page cache, watches memory, and has the sink take each image's
checksum. Then come the timed rounds, each beginning with another contender, so that slow drifts of the machine meet
all alike; nothing is watched in them but the clock. With no timed rounds the checked one stands in for them.
"""

from __future__ import annotations

import statistics
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import Contender, Job
from benchmarks.process import Cost, idle_share, run_command
from benchmarks.sink import Sink, Stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.datasets import DataSet

START_RUNS = 3


@dataclass(frozen=True, slots=True)
class Run:
    """One upload: what it cost, what arrived, and how quiet the machine was before."""

    cost: Cost
    stats: Stats
    sink_cpu_seconds: float
    idle: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series:
    """All runs of one contender over one set."""

    name: str
    checked: Run
    timed: tuple[Run, ...]  # at least one
    start_seconds: float

    @property
    def wall_seconds(self) -> float:
        """The median over the timed runs."""
        return statistics.median(run.cost.wall_seconds for run in self.timed)

    @property
    def cpu_seconds(self) -> float:
        """The median over the timed runs."""
        return statistics.median(run.cost.cpu_seconds for run in self.timed)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong in any run."""
        return tuple(problem for run in (self.checked, *self.timed) for problem in run.problems)


def play(entrants: list[Contender], data: DataSet, *, rounds: int, build: Path) -> list[Series]:
    """Run the checked round and the timed rounds. Contenders come back in their order."""
    with Sink(build) as sink:
        checked = {each.name: _upload(each, data, sink, checks=True) for each in entrants}
        timed: dict[str, list[Run]] = {each.name: [] for each in entrants}
        for number in range(rounds):
            first = number % len(entrants)
            for each in entrants[first:] + entrants[:first]:
                timed[each.name].append(_upload(each, data, sink, checks=False))
    return [
        Series(
            each.name,
            checked[each.name],
            tuple(timed[each.name]) or (checked[each.name],),
            _start_seconds(each, min(rounds, START_RUNS) or 1),
        )
        for each in entrants
    ]


@contextmanager
def fresh_job(data: DataSet, sink: Sink, *, sums: bool = False) -> Iterator[Job]:
    """Give an upload that nobody has begun: the sink empty, a batch never named before, no state."""
    with tempfile.TemporaryDirectory(prefix="bench-") as state:
        sink.reset(sums=sums)
        yield Job(data.folder, sink.port, Path(state).name.lower(), Path(state))


def attempt(contender: Contender, job: Job, data: DataSet, sink: Sink, *, checks: bool = False) -> Run:
    """Run one upload, or the same once more, and see what the sink then holds."""
    print(f"  {contender.name}{' (checked)' if checks else ''} …", end="", flush=True)
    idle = idle_share()
    before = sink.stats().cpu_seconds
    contender.clean(job)
    cost = run_command(contender.command(job), watch_memory=checks)
    contender.clean(job)
    stats = sink.stats()
    problems = tuple(f"{contender.name}: {problem}" for problem in _problems(cost, stats, data, checks=checks))
    print(f" {cost.wall_seconds:.2f} s" + "".join(f"\n    {problem}" for problem in problems), flush=True)
    return Run(replace(cost, output=""), stats, stats.cpu_seconds - before, idle, problems)


def _upload(contender: Contender, data: DataSet, sink: Sink, *, checks: bool) -> Run:
    with fresh_job(data, sink, sums=checks) as job:
        return attempt(contender, job, data, sink, checks=checks)


def _problems(cost: Cost, stats: Stats, data: DataSet, *, checks: bool) -> list[str]:
    found = []
    if cost.exit_code != 0:
        found.append(f"exit code {cost.exit_code}, after: {cost.output.strip()[-600:]}")
    if (stats.images, stats.image_bytes) != (data.files, data.total_bytes):
        arrived = f"{stats.images:,} images of {stats.image_bytes:,} bytes arrived"
        found.append(f"{arrived}, not {data.files:,} of {data.total_bytes:,}")
    if stats.malformed:
        found.append(f"{stats.malformed} malformed tars arrived")
    if checks and stats.image_sum != data.image_sum:
        found.append("the images that arrived are not those of the folder: their checksums differ")
    return found


def _start_seconds(contender: Contender, runs: int) -> float:
    if contender.start_command is None:
        return 0.0
    return statistics.median(run_command(contender.start_command).wall_seconds for _ in range(runs))
