"""Ask how long it takes from the start of the command until a folder of images is stored, and what it costs.

Three sets: normal images (a), small ones (b), large ones (c); each beside Roboflow's own client, beside `tar | curl`,
and beside the least that any client must do (`limit.c`). All send over plain HTTP to the same sink on the same machine,
which takes its share of the processors from everyone alike.
"""

from __future__ import annotations

import statistics
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import Goal, Outcome, Scenario, Table
from benchmarks.contenders import CURL, LIMIT, RFBULK, RIVAL, contenders
from benchmarks.datasets import LARGE, NORMAL, SMALL, DataSet, Shape, prepare
from benchmarks.figures import cpu, named, peak, ratio, rows, spread, wall, without_start
from benchmarks.uploading import play_uploads

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.rounds import Run, Series
    from benchmarks.sink import Stats

COLUMNS = (
    "",
    "wall s",
    "spread",
    "MB/s",
    "CPU s/GB",
    "peak MB",
    "x rival",
    "CPU / rival",
    "memory / rival",
    "/ limit",
    "start s",
    "x rival, no start",
    "/ limit, no start",
)
TIMES_THE_RIVAL = {"a": (4.0, 7.0), "b": (4.0, 8.0), "c": (5.0, 10.0)}  # at first, and then
TIMES_THE_LIMIT = {"a": 1.6, "b": 2.4, "c": 1.5}  # then
CPU_OF_THE_RIVAL = 1 / 4
MEMORY_OF_THE_RIVAL = 1 / 8


def run(shape: Shape, bench: Bench) -> Outcome:
    """Upload one set by all who can, in turns."""
    data = prepare(shape, bench)
    entrants, missing = contenders(bench)
    series = play_uploads(entrants, data, rounds=bench.rounds, build=bench.build)
    size = f"{data.files:,} files, {data.total_bytes / 1e9:.2f} GB"
    title = f"upload {shape.name}: {size}, {bench.rounds} rounds; {ceiling(series, data)}"
    return Outcome(
        subject=size,
        rows=rows(series, data.total_bytes, rival=RIVAL, limit=LIMIT),
        tables=(Table(title, COLUMNS, tuple(row(each, series, data) for each in series)),),
        results=tuple(record(each, data) for each in series),
        goals=tuple(_goals(shape, series)),
        skipped=tuple(missing),
        problems=tuple(problem for each in series for problem in each.problems),
    )


def row(mine: Series[Stats], all_series: list[Series[Stats]], data: DataSet) -> tuple[str, ...]:
    """Return what is told of one contender, by `COLUMNS`."""
    rival, limit = named(RIVAL, all_series), named(LIMIT, all_series)
    return (
        mine.name,
        f"{mine.wall_seconds:.2f}",
        spread(mine),
        f"{data.total_bytes / 1e6 / mine.wall_seconds:.0f}",
        f"{mine.cpu_seconds / data.total_bytes * 1e9:.2f}",
        f"{peak(mine) / 1e6:.0f}",
        ratio(wall, rival, mine),
        ratio(cpu, mine, rival),
        ratio(peak, mine, rival),
        ratio(wall, mine, limit),
        f"{mine.start_seconds:.2f}",
        ratio(without_start, rival, mine),
        ratio(without_start, mine, limit),
    )


def ceiling(series: list[Series[Stats]], data: DataSet) -> str:
    """Say what the sink itself spends: together with the limit's own, all that these processors can take."""
    taken = [run.server_cpu_seconds for each in series for run in each.timed if each.name == LIMIT]
    return f"the sink took {statistics.median(taken) / data.total_bytes * 1e9:.2f} CPU s/GB of the limit's"


def _goals(shape: Shape, series: list[Series[Stats]]) -> list[Goal]:
    mine, rival, curl, least = (named(name, series) for name in (RFBULK, RIVAL, CURL, LIMIT))
    goals = []
    if mine and rival:
        times, cpu = rival.wall_seconds / mine.wall_seconds, mine.cpu_seconds / rival.cpu_seconds
        memory = peak(mine) / max(1, peak(rival))
        goals += [
            Goal("times as fast as the rival", times, *TIMES_THE_RIVAL[shape.name], at_least=True),
            Goal("CPU of the rival's", cpu, CPU_OF_THE_RIVAL),
            Goal("memory of the rival's", memory, MEMORY_OF_THE_RIVAL),
        ]
    if mine and curl:
        goals.append(Goal("wall of `tar | curl`'s", mine.wall_seconds / curl.wall_seconds, 1.0))
    if mine and least:
        goals.append(Goal("wall of the limit's", wall(mine) / wall(least), None, TIMES_THE_LIMIT[shape.name]))
    return goals


def record(series: Series[Stats], data: DataSet) -> dict[str, object]:
    """Return what is kept of a series."""
    return {
        "contender": series.name,
        "files": data.files,
        "bytes": data.total_bytes,
        "wall_seconds": series.wall_seconds,
        "cpu_seconds": series.cpu_seconds,
        "peak_bytes": peak(series),
        "start_seconds": series.start_seconds,
        "problems": series.problems,
        "runs": [_run_record(run) for run in series.timed],
    }


def _run_record(run: Run[Stats]) -> dict[str, object]:
    return {
        "wall_seconds": run.cost.wall_seconds,
        "cpu_seconds": run.cost.cpu_seconds,
        "sink_cpu_seconds": run.server_cpu_seconds,
        "idle_before": run.idle,
        "first_request_seconds": run.stats.first_request - run.cost.started,
        "first_byte_seconds": run.stats.first_put - run.cost.started,
        "puts": run.stats.puts,
        "grants": run.stats.grants,
    }


SCENARIOS = tuple(
    Scenario(f"upload-{shape.name}", question, partial(run, shape))
    for shape, question in (
        (NORMAL, "normal images of 60 to 140 KB, beside the rivals and the limit"),
        (SMALL, "small images of 6 to 10 KB, beside the rivals and the limit"),
        (LARGE, "large images of 2 to 4 MB, beside the rivals and the limit"),
    )
)
