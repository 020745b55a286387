"""Draw what a scenario found: bars of wall time, CPU time and memory, one for each contender, as an SVG file."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.bench import Outcome, Scenario

ROW, GAP, LEFT, WIDTH, HEAD = 20, 26, 210, 420, 34
MARGIN = 90
COLOURS = {"rfbulk": "#5b21b6"}
OTHERS = "#a8a3b3"


class Measure(NamedTuple):
    """One figure that contenders are compared by."""

    key: str
    title: str
    unit: str
    per: float


MEASURES = (
    Measure("wall_seconds", "wall time", "s", 1.0),
    Measure("cpu_seconds", "CPU time", "s", 1.0),
    Measure("peak_bytes", "memory at most", "MB", 1e6),
)


def draw(folder: Path, scenario: Scenario, outcome: Outcome) -> Path | None:
    """Write the plot of a scenario, if contenders are compared in it. Return its file."""
    rows = [each for each in outcome.results if "contender" in each and isinstance(each.get("wall_seconds"), float)]
    if not rows:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{scenario.name}.svg"
    file.write_text(plot_of(scenario.question, rows), encoding="utf-8")
    return file


def plot_of(title: str, rows: Sequence[dict[str, object]]) -> str:
    """Return an SVG of all measures, less is better in each."""
    parts, top = [_text(12, 20, title, size=14, weight="bold")], HEAD
    for measure in MEASURES:
        drawn, top = _bars(measure, rows, top)
        parts += drawn
    size = f'width="{LEFT + WIDTH + MARGIN}" height="{top}"'
    style = 'font-family="system-ui, sans-serif" style="background:#fff"'
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" {size} {style}>', *parts, "</svg>", ""])


def _bars(measure: Measure, rows: Sequence[dict[str, object]], top: int) -> tuple[list[str], int]:
    values = [(_name(row), float(str(row.get(measure.key) or 0)) / measure.per) for row in rows]
    most = max(value for _, value in values)
    if not most:
        return [], top
    parts = [_text(12, top + 14, f"{measure.title}, {measure.unit}", weight="bold")]
    for number, (name, value) in enumerate(values):
        y = top + GAP + number * ROW
        parts += [
            _text(LEFT - 8, y + 12, name, anchor="end"),
            f'<rect x="{LEFT}" y="{y}" width="{value / most * WIDTH:.1f}" height="{ROW - 5}" fill="{_colour(name)}"/>',
            _text(LEFT + value / most * WIDTH + 6, y + 12, f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"),
        ]
    return parts, top + GAP + len(values) * ROW + 12


def _name(row: dict[str, object]) -> str:
    trip = row.get("round_trip_ms")
    return f"{row['contender']}{f', {trip} ms' if trip else ''}"


def _colour(name: str) -> str:
    return next((colour for known, colour in COLOURS.items() if name.startswith(known)), OTHERS)


def _text(x: float, y: float, text: str, *, anchor: str = "start", size: int = 12, weight: str = "normal") -> str:
    how = f'text-anchor="{anchor}" font-size="{size}" font-weight="{weight}" fill="#222"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {how}>{escape(text)}</text>'
