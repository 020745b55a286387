"""The figures that tables of contenders are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from benchmarks.bench import Row
from benchmarks.rounds import Series

if TYPE_CHECKING:
    from collections.abc import Callable

S = TypeVar("S")


def named(name: str, series: list[Series[S]]) -> Series[S] | None:
    """Return the series of that contender, if it took part."""
    return next((each for each in series if each.name == name), None)


def ratio(figure: Callable[[Series[S]], float], above: Series[S] | None, below: Series[S] | None) -> str:
    """Return how many times one contender's figure is another's."""
    found = times(figure, above, below)
    return "-" if found is None else f"{found:.2f}"


def wall(series: Series[S]) -> float:
    """Seconds from the start of the command to its end."""
    return series.wall_seconds


def cpu(series: Series[S]) -> float:
    """Seconds of processors."""
    return series.cpu_seconds


def peak(series: Series[S]) -> int:
    """Bytes of memory at any moment of the checked run."""
    return series.checked.cost.peak_bytes or 0


def without_start(series: Series[S]) -> float:
    """Seconds of the command less those that it takes to start."""
    return max(1e-3, series.wall_seconds - series.start_seconds)


def spread(series: Series[S]) -> str:
    """Return the least and the most that a timed run took."""
    walls = [run.cost.wall_seconds for run in series.timed]
    return f"{min(walls):.2f} to {max(walls):.2f}"


def times(figure: Callable[[Series[S]], float], above: Series[S] | None, below: Series[S] | None) -> float | None:
    """Return how many times one contender's figure is another's, None where one of them is missing."""
    return None if above is None or below is None else figure(above) / max(1e-9, figure(below))


def rows(series: list[Series[S]], total_bytes: int, *, rival: str, limit: str) -> tuple[Row, ...]:
    """Return what each took, beside those two."""
    first, least = named(rival, series), named(limit, series)
    return tuple(
        Row(
            each.name,
            each.wall_seconds,
            each.cpu_seconds / total_bytes * 1e9,
            peak(each),
            times(wall, first, each),
            times(wall, each, least),
        )
        for each in series
    )
