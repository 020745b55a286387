"""Ask whether a long line of a limited rate is kept full: 100 MB/s, at round trips of 50 and of 200 ms.

All that a contender says to service and store goes through one relay (`line.c`), which lets no more than the rate pass
for all connections together, each way, delays everything by half a round trip, and holds no more of a connection than
TCP's usual buffers would. Filled is the line when an upload takes as long as its bytes alone do at that rate.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.bench import Goal, Outcome, Row, Scenario, Table
from benchmarks.contenders import RFBULK, RIVAL, Contender, Job, rfbulk, rival
from benchmarks.datasets import NORMAL, prepare
from benchmarks.figures import peak, rows, spread
from benchmarks.rounds import Run, Series, play
from benchmarks.servers import Server
from benchmarks.sink import Sink, Stats
from benchmarks.upload import record
from benchmarks.uploading import attempt, fresh_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.bench import Bench
    from benchmarks.datasets import DataSet
    from benchmarks.process import Command

RATE = 100_000_000
ROUND_TRIPS_MS = (50, 200)
WINDOW_BYTES = 4 << 20  # Linux lets a connection's buffers grow so far unless told otherwise (tcp_wmem)
SCALE = 2.0  # 4 GB, 40 s
FILLED = (0.9, 0.97)  # at first, and then
COLUMNS = ("round trip ms", "", "wall s", "spread", "filled", "CPU s/GB", "peak MB")


@dataclass(frozen=True, slots=True)
class Far:
    """A sink at the end of a line, and where the line begins."""

    sink: Sink
    port: int


def run(bench: Bench) -> Outcome:
    """Upload normal images over each line, by rfbulk and by Roboflow's own client."""
    data = prepare(NORMAL, replace(bench, scale=bench.scale or (None if bench.smoke else SCALE)))
    sought = [seek(bench) for seek in (rfbulk, rival)]
    entrants = [each for each in sought if isinstance(each, Contender)]
    trips = ROUND_TRIPS_MS[:1] if bench.smoke else ROUND_TRIPS_MS
    found = [(trip, _play(trip, entrants, data, bench)) for trip in trips]
    size = f"{data.files:,} files, {data.total_bytes / 1e9:.2f} GB"
    title = f"upload a over a line of {RATE / 1e6:.0f} MB/s: {size}"
    return Outcome(
        subject=f"{size}; the limit is the line itself",
        rows=tuple(
            replace(each, name=f"{each.name}, {trip} ms") for trip, all_of in found for each in _rows(all_of, data)
        ),
        tables=(Table(title, COLUMNS, tuple(_row(trip, each, data) for trip, all_of in found for each in all_of)),),
        results=tuple({"round_trip_ms": trip, **record(each, data)} for trip, all_of in found for each in all_of),
        goals=tuple(
            Goal(f"of the line filled at {trip} ms", _filled(each, data), *FILLED, at_least=True)
            for trip, all_of in found
            for each in all_of
            if each.name == RFBULK
        ),
        skipped=tuple(each for each in sought if isinstance(each, str)),
        problems=tuple(problem for _, all_of in found for each in all_of for problem in each.problems),
    )


def _play(trip: int, entrants: list[Contender], data: DataSet, bench: Bench) -> list[Series[Stats]]:
    with _far(trip, bench) as far:

        def upload(entrant: Contender, checks: bool) -> Run[Stats]:
            with fresh_job(data, far.sink, sums=checks) as job:
                far.sink.reset(sums=checks, port=far.port)
                return attempt(_over(far, entrant), job, data, far.sink, checks=checks)

        return play(entrants, upload, rounds=bench.rounds)


@contextmanager
def _far(trip: int, bench: Bench) -> Iterator[Far]:
    with Sink(bench.build) as sink:
        arguments = (str(sink.port), str(trip / 2), str(RATE), str(WINDOW_BYTES // 2))
        with Server("line", bench.build, *arguments) as line:
            yield Far(sink, line.port)


def _over(far: Far, entrant: Contender) -> Contender:
    def command(job: Job) -> Command:
        return entrant.command(replace(job, port=far.port))

    return replace(entrant, command=command)


def _filled(mine: Series[Stats], data: DataSet) -> float:
    return data.total_bytes / RATE / mine.wall_seconds


def _rows(series: list[Series[Stats]], data: DataSet) -> tuple[Row, ...]:
    alone = data.total_bytes / RATE
    found = rows(series, data.total_bytes, rival=RIVAL, limit="")
    return tuple(replace(each, of_limit=each.wall_seconds / alone) for each in found)


def _row(trip: int, mine: Series[Stats], data: DataSet) -> tuple[str, ...]:
    return (
        f"{trip}",
        mine.name,
        f"{mine.wall_seconds:.2f}",
        spread(mine),
        f"{_filled(mine, data):.0%}",
        f"{mine.cpu_seconds / data.total_bytes * 1e9:.2f}",
        f"{peak(mine) / 1e6:.0f}",
    )


SCENARIOS = (Scenario("upload-far", "normal images over a line of 100 MB/s, 50 and 200 ms away", run),)
