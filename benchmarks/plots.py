"""Draw what a scenario found: bars of wall time, CPU time and memory, one for each contender, as an SVG file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.bench import Outcome, Row, Scenario

ROW, GAP, LEFT, WIDTH, HEAD = 20, 26, 350, 420, 34
MARGIN = 90
COLOURS = {"rfbulk": "#5b21b6"}
OTHERS = "#a8a3b3"


class Measure(NamedTuple):
    """One figure that contenders are compared by."""

    title: str
    value: Callable[[Row], float | None]


MEASURES = (
    Measure("wall time, s", lambda row: row.wall_seconds),
    Measure("CPU time, s per GB", lambda row: row.cpu_per_gb),
    Measure("memory at most, MB", lambda row: None if row.peak_bytes is None else row.peak_bytes / 1e6),
)


def draw(folder: Path, scenario: Scenario, outcome: Outcome) -> Path | None:
    """Write the plot of a scenario, if anything was found by it. Return its file."""
    if not outcome.rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{scenario.name}.svg"
    file.write_text(plot_of(scenario.question, outcome.rows), encoding="utf-8")
    return file


def plot_of(title: str, rows: Sequence[Row]) -> str:
    """Return an SVG of all measures, less is better in each."""
    parts, top = [_text(12, 20, title, size=14, weight="bold")], HEAD
    for measure in MEASURES:
        drawn, top = _bars(measure, rows, top)
        parts += drawn
    size = f'width="{LEFT + WIDTH + MARGIN}" height="{top}"'
    style = 'font-family="system-ui, sans-serif" style="background:#fff"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *parts, "</svg>", ""])


def _bars(measure: Measure, rows: Sequence[Row], top: int) -> tuple[list[str], int]:
    values = [(row.name, value) for row in rows if (value := measure.value(row)) is not None]
    most = max((value for _, value in values), default=0.0)
    if not most:
        return [], top
    parts = [_text(12, top + 14, measure.title, weight="bold")]
    for number, (name, value) in enumerate(values):
        y = top + GAP + number * ROW
        parts += [
            _text(LEFT - 8, y + 12, name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{value / most * WIDTH:.1f}" height="{ROW - 5}" fill="{_colour(name)}"/>',
            _text(LEFT + value / most * WIDTH + 6, y + 12, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"),
        ]
    return parts, top + GAP + len(values) * ROW + 12


def _colour(name: str) -> str:
    return next((colour for known, colour in COLOURS.items() if name.startswith(known)), OTHERS)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    how = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="#222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {how}>{escape(text)}</text>'
