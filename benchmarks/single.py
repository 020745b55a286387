"""Ask how long it takes until every image of a folder is stored, where each goes in a request of its own.

Small images and normal ones; rfbulk's `--one-by-one` beside Roboflow's own client made to do the same, beside s5cmd and
rclone, which put each file into a bucket, and beside the least that any client must do (`limit.c` with connections that
are kept). One sink plays the service and the bucket: it answers without a look at signatures, and keeps nothing.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.bench import Goal, Outcome, Scenario, Table
from benchmarks.contenders import LIMIT, RFBULK, RIVAL
from benchmarks.datasets import NORMAL, SMALL, Shape, prepare
from benchmarks.figures import named, rows, times, wall
from benchmarks.single_contenders import RCLONE, S5CMD, single_contenders
from benchmarks.upload import COLUMNS, ceiling, record, row
from benchmarks.uploading import play_uploads

if TYPE_CHECKING:
    from benchmarks.bench import Bench
    from benchmarks.rounds import Series
    from benchmarks.sink import Stats

FILES = 20_000
SHAPES = tuple(replace(shape, files=FILES, scale=1.0, smoke_scale=0.005) for shape in (SMALL, NORMAL))


def run(shape: Shape, bench: Bench) -> Outcome:
    """Upload one set by all who can, in turns."""
    data = prepare(shape, bench)
    entrants, missing = single_contenders(bench)
    series = play_uploads(entrants, data, rounds=bench.rounds, build=bench.build)
    size = f"{data.files:,} files, {data.total_bytes / 1e9:.2f} GB"
    title = f"upload {shape.name}, one by one: {size}, {bench.rounds} rounds; {ceiling(series, data)}"
    return Outcome(
        subject=size,
        rows=rows(series, data.total_bytes, rival=RIVAL, limit=LIMIT),
        tables=(Table(title, COLUMNS, tuple(row(each, series, data) for each in series)),),
        results=tuple(record(each, data) for each in series),
        goals=goals(series),
        skipped=tuple(missing),
        problems=tuple(problem for each in series for problem in each.problems),
    )


def goals(series: list[Series[Stats]]) -> tuple[Goal, ...]:
    """Return what is asked of rfbulk there: to be ahead of each of the others."""
    mine = named(RFBULK, series)
    found = {name: times(wall, mine, named(name, series)) for name in (RIVAL, S5CMD, RCLONE)}
    return tuple(Goal(f"wall of `{name}`'s", part, 1.0) for name, part in found.items() if part is not None)


SCENARIOS = tuple(
    Scenario(
        f"upload-single-{shape.name}",
        f"{question}, a request each, beside the rivals and the limit",
        partial(run, shape),
    )
    for shape, question in zip(SHAPES, ("small images of 6 to 10 KB", "normal images of 60 to 140 KB"), strict=True)
)
