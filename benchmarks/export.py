"""Ask how long it takes from the start of the command until a batch's files are here, and what it costs.

Two batches: many small files, and archives of images that are unpacked; each beside Roboflow's own client, beside
`curl --parallel` and aria2c (followed by `tar xzf`), and beside the least that any client must do (`fetch_limit.c`,
which unpacks nothing). All fetch over plain HTTP from the same source on the same machine, into memory.

At its own scale rfbulk is done with a set in some 5 s, for which Roboflow's client takes a minute.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks import shelves
from benchmarks.bench import Goal, Outcome, Scenario, Table
from benchmarks.contenders import RFBULK, RIVAL
from benchmarks.export_contenders import ARIA2, CURL, LIMIT, exporters
from benchmarks.exporting import play_exports
from benchmarks.figures import named, peak, ratio, rows, spread, wall, without_start

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.bench import Bench
    from benchmarks.rounds import Run, Series
    from benchmarks.shelves import Shelf
    from benchmarks.source import Stats

COLUMNS = (
    "",
    "wall s",
    "spread",
    "MB/s",
    "files/s",
    "CPU s/GB",
    "peak MB",
    "x rival",
    "/ limit",
    "start s",
    "x rival, no start",
    "/ limit, no start",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of batch, and how many times as fast as the rival its export is to be."""

    name: str
    shelf: Callable[[Bench], Shelf]
    has_archives: bool
    times_the_rival: tuple[float, float]  # at first, and then


SMALL = Kind("small", shelves.small, has_archives=False, times_the_rival=(10.0, 25.0))
ARCHIVES = Kind("archives", shelves.archives, has_archives=True, times_the_rival=(5.0, 9.0))


def run(kind: Kind, bench: Bench) -> Outcome:
    """Export one batch by all who can, in turns."""
    shelf = kind.shelf(bench)
    entrants, missing = exporters(bench, with_archives=kind.has_archives)
    series = play_exports(entrants, shelf, bench)
    return Outcome(
        subject=_size(shelf),
        rows=rows(series, shelf.total_bytes, rival=RIVAL, limit=LIMIT),
        tables=(Table(_title(series, shelf, bench), COLUMNS, tuple(_row(each, series, shelf) for each in series)),),
        results=tuple(_record(each, shelf) for each in series),
        goals=tuple(_goals(kind, series)),
        skipped=tuple(missing),
        problems=tuple(problem for each in series for problem in each.problems),
    )


def _title(series: list[Series[Stats]], shelf: Shelf, bench: Bench) -> str:
    """Say too what the source itself spends, which everyone's wall has in it."""
    taken = [run.server_cpu_seconds for each in series for run in each.timed if each.name == LIMIT]
    return (
        f"export {shelf.name}: {_size(shelf)}, {bench.rounds} rounds; "
        f"the source took {statistics.median(taken) / shelf.total_bytes * 1e9:.2f} CPU s/GB of the limit's"
    )


def _size(shelf: Shelf) -> str:
    unpacked = "" if shelf.files == shelf.elements else f" of {len(shelf.files):,} images"
    return f"{len(shelf.elements):,} files{unpacked}, {shelf.total_bytes / 1e9:.2f} GB"


def _row(mine: Series[Stats], series: list[Series[Stats]], shelf: Shelf) -> tuple[str, ...]:
    rival, limit = named(RIVAL, series), named(LIMIT, series)
    return (
        mine.name,
        f"{mine.wall_seconds:.2f}",
        spread(mine),
        f"{shelf.total_bytes / 1e6 / mine.wall_seconds:.0f}",
        f"{len(shelf.files) / mine.wall_seconds:,.0f}",
        f"{mine.cpu_seconds / shelf.total_bytes * 1e9:.2f}",
        f"{peak(mine) / 1e6:.0f}",
        ratio(wall, rival, mine),
        ratio(wall, mine, limit),
        f"{mine.start_seconds:.2f}",
        ratio(without_start, rival, mine),
        ratio(without_start, mine, limit),
    )


def _goals(kind: Kind, series: list[Series[Stats]]) -> list[Goal]:
    mine, rival = named(RFBULK, series), named(RIVAL, series)
    others = [each for each in series if each.name.startswith((CURL, ARIA2))]
    goals = []
    if mine and rival:
        times = rival.wall_seconds / mine.wall_seconds
        goals.append(Goal("times as fast as the rival", times, *kind.times_the_rival, at_least=True))
    if mine:
        goals += [Goal(f"wall of `{each.name}`'s", mine.wall_seconds / each.wall_seconds, None, 1.0) for each in others]
    return goals


def _record(series: Series[Stats], shelf: Shelf) -> dict[str, object]:
    return {
        "contender": series.name,
        "elements": len(shelf.elements),
        "files": len(shelf.files),
        "bytes": shelf.total_bytes,
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
        "server_cpu_seconds": run.server_cpu_seconds,
        "idle_before": run.idle,
        "first_request_seconds": run.stats.first_request - run.cost.started,
        "first_get_seconds": run.stats.first_get - run.cost.started,
        "last_get_seconds": run.stats.last_get - run.cost.started,
        "gets": run.stats.gets,
        "listings": run.stats.listings,
    }


SCENARIOS = tuple(
    Scenario(f"export-{kind.name}", question, partial(run, kind))
    for kind, question in (
        (SMALL, "files of 20 KB come home, beside the rivals and the limit"),
        (ARCHIVES, "archives of 50 MB come home unpacked, beside the rivals and the limit"),
    )
)
