"""Plots of a chronicle as SVG that needs no script: how fast, how much at once, what went wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.wording import duration, size
from rfbulk.dashboard.cells import Place
from rfbulk.dashboard.markup import Markup, element

if TYPE_CHECKING:
    from rfbulk.dashboard.chronicle import Chronicle
    from rfbulk.dashboard.series import Series

WIDTH: Final = 960
LEFT: Final = 84
RIGHT: Final = 12
BOTTOM: Final = 20
TOP: Final = 18
_NICE: Final = (1, 2, 2.5, 5, 10)
_TIMES: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800)
_PITCH: Final = 12
_HOLDS_SECONDS: Final = 2.0


class Lane(msgspec.Struct, frozen=True):
    """One plot: its name, its values (None: nothing was told then), how its axis is written, and how high it is."""

    name: str
    values: Sequence[float | None]
    label: Callable[[float], str]
    height: int = 150
    is_bars: bool = False
    base: int = 1000
    tone: str = "again"


def plots(chronicle: Chronicle, unit: str) -> list[Markup]:
    """Return the plots that have something to show."""
    series = chronicle.series
    step = series.step_seconds
    buckets = [(bucket, series.seconds_of(place)) for place, bucket in enumerate(series.filled)]
    rates = [bucket.bytes / seconds for bucket, seconds in buckets]
    lanes = [
        Lane("bytes per second", rates, lambda value: size(value).replace(".0 ", " "), base=1024),
        Lane(f"{unit} per second", [bucket.items / seconds for bucket, seconds in buckets], _number),
        Lane("at once, on average", _means(series), _number, 90),
        Lane("tried again", [bucket.retries for bucket, _ in buckets], _number, 70, is_bars=True),
        Lane("failures", [bucket.failures for bucket, _ in buckets], _number, 70, is_bars=True, tone="failed"),
    ]
    marks = [(span.name, span.began) for span in chronicle.phases]
    return [plot(lane, step, marks if index == 0 else []) for index, lane in enumerate(lanes) if any(lane.values)]


def _means(series: Series) -> list[float | None]:
    """Samples come twice a second, and not to the dot: where one is missing, the last one holds."""
    means: list[float | None] = []
    longest = round(_HOLDS_SECONDS / series.step_seconds)
    gap = 0
    for bucket in series.filled:
        gap = 0 if bucket.samples else gap + 1
        held = means[-1] if means and gap <= longest else None
        means.append(bucket.at_once / bucket.samples if bucket.samples else held)
    return means


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.1f}"


def plot(lane: Lane, step: float, marks: Iterable[tuple[str, float]] = ()) -> Markup:
    """Return one plot over time, with axes, units, and the moments that `marks` name."""
    count = max(2, len(lane.values))
    most, ticks = scale(max((value for value in lane.values if value), default=1.0), lane.base)
    height = TOP + lane.height + BOTTOM

    def across(index: float) -> float:
        return round(LEFT + index / count * (WIDTH - LEFT - RIGHT), 1)

    def up(value: float) -> float:
        return round(TOP + lane.height * (1 - value / most), 1)

    drawn = [
        _axis_of_values(ticks, up, lane),
        _axis_of_time(count * step, step, across, height),
        _marks(marks, step, across, height),
        _bars(lane, across, up) if lane.is_bars else _line(lane, across, up),
    ]
    peak = max((value for value in lane.values if value), default=0.0)
    told = f"{lane.name} over {duration(count * step)}; at most {lane.label(peak)}"
    picture = element(
        "svg",
        element("title", told),
        drawn,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=told,
        class_="plot",
    )
    return element("figure", element("figcaption", element("b", lane.name), f", at most {lane.label(peak)}"), picture)


def scale(most: float, base: int = 1000) -> tuple[float, list[float]]:
    """Return where an axis ends that holds `most`, and its ticks: two to five, round numbers of `base`'s powers."""
    most = most or 1.0
    power = float(base) ** math.floor(math.log(max(most, 1.0), base) + 1e-9)
    tens = 10 ** math.floor(math.log10(max(1.0, most / power)))
    steps = [nice * tens * power / 10 for nice in (*_NICE, 20, 25, 50, 100)]
    step = next((step for step in steps if most / step <= 4 and (step >= 1 or most < 1)), steps[-1])
    ticks = [step * number for number in range(math.ceil(most / step - 1e-9) + 1)]
    return ticks[-1] or 1.0, ticks


def _axis_of_values(ticks: list[float], up: Callable[[float], float], lane: Lane) -> list[Markup]:
    return [
        Markup(
            element("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=f"{up(tick)}", y2=f"{up(tick)}")
            + element("text", lane.label(tick), x=LEFT - 6, y=f"{up(tick) + 4}", text_anchor="end")
        )
        for tick in ticks
    ]


def _axis_of_time(seconds: float, step: float, across: Callable[[float], float], height: int) -> list[Markup]:
    every = next((each for each in _TIMES if seconds / each <= 10), 7 * 86400)
    drawn: list[Markup] = []
    for number in range(int(seconds / every) + 1):
        at = number * every
        x = across(at / step)
        anchor = "start" if number == 0 else "end" if x > WIDTH - 40 else "middle"
        drawn.append(element("line", class_="grid", x1=f"{x}", x2=f"{x}", y1=TOP, y2=height - BOTTOM))
        drawn.append(element("text", _moment(at), x=f"{x}", y=height - 5, text_anchor=anchor))
    return drawn


def _moment(seconds: int) -> str:
    for unit, long, below in (("d", 86400, 24), ("h", 3600, 60), ("min", 60, 60)):
        if seconds >= long:
            whole, rest = divmod(seconds, long)
            return f"{whole} {unit}" if not rest else f"{whole}:{rest * below // long:02} {unit}"
    return f"{seconds} s"


def _marks(
    marks: Iterable[tuple[str, float]], step: float, across: Callable[[float], float], height: int
) -> list[Markup]:
    drawn: list[Markup] = []
    free = 0.0
    for name, began in marks:
        x = across(began / step)
        drawn.append(element("line", class_="mark", x1=f"{x}", x2=f"{x}", y1=4, y2=height - BOTTOM))
        if x >= free and x + 6.5 * len(name) < WIDTH:
            drawn.append(element("text", name, x=f"{x + 4}", y=11))
            free = x + 6.5 * len(name) + 8
    return drawn


def _line(lane: Lane, across: Callable[[float], float], up: Callable[[float], float]) -> list[Markup]:
    runs: list[list[tuple[float, float]]] = [[]]
    for index, value in enumerate(lane.values):
        if value is None:
            runs.append([])
        else:
            runs[-1].append((index + 0.5, value))
    # a point alone is as wide as what it stands for, since a line without length is not seen
    runs = [
        run if len(run) > 1 else [(run[0][0] - 0.5, run[0][1]), (run[0][0] + 0.5, run[0][1])] for run in runs if run
    ]
    base = up(0)
    drawn = ["L".join(f"{across(at)},{up(value)}" for at, value in run) for run in runs]
    areas = "".join(
        f"M{across(run[0][0])},{base}L{path}L{across(run[-1][0])},{base}Z"
        for run, path in zip(runs, drawn, strict=True)
    )
    path = "".join(f"M{path}" for path in drawn)
    return [element("path", class_="area", d=areas), element("path", class_="line", d=path)]


def _bars(lane: Lane, across: Callable[[float], float], up: Callable[[float], float]) -> list[Markup]:
    wide = max(1.5, across(1) - across(0) - 1)
    return [
        element(
            "rect",
            class_=lane.tone,
            x=f"{across(index)}",
            y=f"{up(value)}",
            width=f"{wide}",
            height=f"{up(0) - up(value)}",
        )
        for index, value in enumerate(lane.values)
        if value
    ]


CELL_NAMES: Final = {
    Place.PLANNED: "planned",
    Place.SENDING: "being sent",
    Place.RETRYING: "tried again",
    Place.UNSURE: "may have arrived",
    Place.SENT: "stored",
    Place.INDEXED: "indexed",
    Place.FAILED: "failed",
}
_WORST: Final = (Place.FAILED, Place.UNSURE, Place.RETRYING, Place.SENDING)


def shard_map(chronicle: Chronicle) -> Markup:
    """Return the map of shards. Each state has a shape of its own beside its colour."""
    cells = chronicle.map
    columns = min(cells.cells, (WIDTH - 2) // _PITCH) or 1
    paths: dict[str, list[str]] = {"planned": [], "sent": [], "indexed": [], "open": [], "failed": []}
    for index in range(cells.cells):
        counts = cells.counts(index)
        _draw_cell(paths, counts, index % columns * _PITCH + 1, index // columns * _PITCH + 1)
    drawn = [element("path", class_=f"cell-{name}", d="".join(path)) for name, path in paths.items() if path]
    height = -(-cells.cells // columns) * _PITCH + 2
    told = ", ".join(
        f"{count:,} {CELL_NAMES[place]}" for place, count in zip(Place, cells.totals(), strict=True) if count
    )
    return element(
        "svg",
        element("title", told),
        drawn,
        viewBox=f"0 0 {WIDTH} {height}",
        role="img",
        aria_label=told,
        class_="plot",
    )


def _draw_cell(paths: dict[str, list[str]], counts: list[int], x: int, y: int) -> None:
    side, total = _PITCH - 3, sum(counts)
    if not total:
        return
    paths["planned"].append(f"M{x + 0.5},{y + 0.5}h{side - 1}v{side - 1}h{1 - side}z")
    stored = counts[Place.SENT] + counts[Place.INDEXED]
    if stored:
        high = max(2, round(side * stored / total))
        kind = "sent" if counts[Place.SENT] else "indexed"
        paths[kind].append(f"M{x},{y + side - high}h{side}v{high}h{-side}z")
    worst = next((place for place in _WORST if counts[place]), None)
    if worst is Place.FAILED:
        paths["failed"].append(f"M{x + 1},{y + 1}l{side - 2},{side - 2}m0,{2 - side}l{2 - side},{side - 2}")
    elif worst is not None:
        paths["open"].append(f"M{x + 2},{y + side - 2}l{side - 4},{4 - side}")
