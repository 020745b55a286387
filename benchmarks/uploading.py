"""Upload a set by one contender, and see that all of it arrived."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.contenders import Contender, Job
from benchmarks.process import Cost, idle_share, run_command
from benchmarks.rounds import Run, Series, play
from benchmarks.sink import Certificate, Sink, Stats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.datasets import DataSet


def play_uploads(
    entrants: list[Contender], data: DataSet, *, rounds: int, build: Path, certificate: Certificate | None = None
) -> list[Series[Stats]]:
    """Let all upload the same set in turns, over TLS to a store that has a certificate."""
    with Sink(build, certificate) as sink:

        def upload(entrant: Contender, checks: bool) -> Run[Stats]:
            with fresh_job(data, sink, sums=checks) as job:
                return attempt(entrant, job, data, sink, checks=checks)

        return play(entrants, upload, rounds=rounds)


@contextmanager
def fresh_job(data: DataSet, sink: Sink, *, sums: bool = False) -> Iterator[Job]:
    """Give an upload that nobody has begun: the sink empty, a batch never named before, no state."""
    with tempfile.TemporaryDirectory(prefix="bench-") as state:
        sink.reset(sums=sums)
        yield Job(data.folder, sink.port, Path(state).name.lower(), Path(state))


def attempt(contender: Contender, job: Job, data: DataSet, sink: Sink, *, checks: bool = False) -> Run[Stats]:
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
