"""Ask how late an application's own events become while rfbulk uploads in its event loop.

A host ticks every 10 ms in its loop: alone; beside an upload in another process, which takes processors but not the
loop; and with the upload in the loop itself, on asyncio and on uvloop. The sink is a process of its own throughout.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench import HOME, Goal, Outcome, Row, Scenario, Table
from benchmarks.contenders import Contender, Job, rfbulk, rfbulk_environment
from benchmarks.datasets import NORMAL, DataSet, prepare
from benchmarks.process import Command, run_command
from benchmarks.sink import Sink
from benchmarks.uploading import fresh_job

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench

COLUMNS = ("", "p50 ms", "p99 ms", "max ms", "ticks", "wall s")
P99_SECONDS = (0.010, 0.005)  # at first, and then
LAST = "in the host's loop"


@dataclass(frozen=True, slots=True)
class Lag:
    """How late the ticks were in one run; without figures where the host failed."""

    name: str
    figures: dict[str, float]
    problem: str | None = None


def run(bench: Bench) -> Outcome:
    """Tick in every way, once a round; the round whose p99 is the median counts."""
    product = rfbulk(bench)
    data = prepare(NORMAL, bench)
    ways = _ways(bench, product if isinstance(product, Contender) else None)
    with Sink(bench.build) as sink:
        lags = [
            _tick(name, arguments, data, sink, bench)
            for _ in range(max(1, bench.rounds))
            for name, arguments in ways.items()
        ]
    middle = [_middle([lag for lag in lags if lag.name == name and lag.figures]) for name in ways]
    return Outcome(
        subject=f"{data.files:,} files, {data.total_bytes / 1e9:.2f} GB",
        rows=tuple(_told(lag) for lag in middle if lag),
        tables=(Table("lag of a 10 ms ticker", COLUMNS, tuple(_row(lag) for lag in middle if lag)),),
        results=tuple({"way": lag.name, **lag.figures} for lag in lags),
        goals=tuple(
            Goal(f"p99 seconds {lag.name}", lag.figures["p99_seconds"], *P99_SECONDS)
            for lag in middle
            if lag and LAST in lag.name
        ),
        skipped=(product,) if isinstance(product, str) else (),
        problems=tuple(f"{lag.name}: {lag.problem}" for lag in lags if lag.problem),
    )


def _ways(bench: Bench, product: Contender | None) -> dict[str, Callable[[Job], tuple[str, ...]]]:
    seconds = "1" if bench.smoke else "5"
    ways: dict[str, Callable[[Job], tuple[str, ...]]] = {"alone": lambda _: ("alone", seconds)}
    if product is not None:
        upload = product.command
        ways["beside another process"] = lambda job: ("beside", *upload(job).arguments)
        for loop in ("asyncio", "uvloop"):
            ways[f"{LAST}, {loop}"] = _within(loop)
    return ways


def _within(loop: str) -> Callable[[Job], tuple[str, ...]]:
    return lambda job: ("within", loop, str(job.folder), job.url, job.batch)


def _tick(name: str, arguments: Callable[[Job], tuple[str, ...]], data: DataSet, sink: Sink, bench: Bench) -> Lag:
    print(f"  {name} …", end="", flush=True)
    with fresh_job(data, sink) as job:
        command = (str(bench.python), str(HOME / "embedding_host.py"), *arguments(job))
        cost = run_command(Command(command, rfbulk_environment(job)))
    print(f" {cost.wall_seconds:.2f} s", flush=True)
    if cost.exit_code != 0:
        return Lag(name, {}, f"exit code {cost.exit_code}, after: {cost.output.strip()[-600:]}")
    if name != "alone" and sink.stats().images != data.files:
        return Lag(name, {}, f"{sink.stats().images:,} images arrived, not {data.files:,}")
    return Lag(name, json.loads(cost.output.splitlines()[-1]))


def _middle(lags: list[Lag]) -> Lag | None:
    ordered = sorted(lags, key=lambda lag: lag.figures["p99_seconds"])
    return ordered[len(ordered) // 2] if ordered else None


def _told(lag: Lag) -> Row:
    return Row(f"{lag.name}: late by {lag.figures['p99_seconds'] * 1000:.1f} ms (p99)", lag.figures["wall_seconds"])


def _row(lag: Lag) -> tuple[str, ...]:
    late = (f"{lag.figures[name] * 1000:.2f}" for name in ("p50_seconds", "p99_seconds", "max_seconds"))
    return (lag.name, *late, f"{lag.figures['ticks']:.0f}", f"{lag.figures['wall_seconds']:.2f}")


SCENARIOS = (Scenario("embedding", "an application's event loop while rfbulk uploads in it", run),)
