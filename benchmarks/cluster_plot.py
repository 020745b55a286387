"""The curve of a cluster's throughput over its workers, as an SVG. Both axes go in steps of two."""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT, LEFT, TOP = 780, 420, 70, 30
INNER_WIDTH, INNER_HEIGHT = WIDTH - LEFT - 210, HEIGHT - TOP - 50
LEAST, STEPS = 50, 7
COLOURS = ("#1664c0", "#c05a16", "#1a8a4a")


def plot_of(curves: Mapping[str, Sequence[tuple[int, float]]], *, line: float) -> str:
    """Draw curves of (workers, MB/s), each worker on a line of `line` MB/s."""
    font = 'font-family="sans-serif" font-size="12"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" {font}>']
    parts.append(f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>')
    parts.append(_text(LEFT, 18, f"MB/s by workers, each on a line of {line:g} MB/s", size=14))
    for step in range(STEPS):
        rate = 100 * 2**step
        parts.append(f'<line x1="{LEFT}" x2="{_x(64):.1f}" y1="{_y(rate):.1f}" y2="{_y(rate):.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 8, _y(rate) + 4, f"{rate:,}", anchor="end"))
        parts.append(_text(_x(2**step), TOP + INNER_HEIGHT + 20, str(2**step), anchor="middle"))
    parts.append(_text(LEFT + INNER_WIDTH / 2, HEIGHT - 8, "workers", anchor="middle"))
    parts.append(_curve([(count, count * line) for count in (1, 64)], "#999", 'stroke-dasharray="4 4"'))
    parts.append(_text(_x(64) + 8, _y(64 * line) - 6, "all lines full", colour="#777"))
    for colour, (name, points) in zip(COLOURS, curves.items(), strict=False):
        parts.append(_curve(points, colour, 'stroke-width="2"'))
        parts += [f'<circle cx="{_x(a):.1f}" cy="{_y(b):.1f}" r="3" fill="{colour}"/>' for a, b in points]
        last, rate = points[-1]
        parts.append(_text(_x(last) + 8, _y(rate) + 4, name, colour=colour))
    return "\n".join([*parts, "</svg>"])


def _x(workers: float) -> float:
    return LEFT + INNER_WIDTH * log2(workers) / (STEPS - 1)


def _y(rate: float) -> float:
    return TOP + INNER_HEIGHT * (1 - log2(max(rate, LEAST) / LEAST) / STEPS)


def _curve(points: Sequence[tuple[float, float]], colour: str, more: str) -> str:
    places = " ".join(f"{_x(a):.1f},{_y(b):.1f}" for a, b in points)
    return f'<polyline points="{places}" fill="none" stroke="{colour}" {more}/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", colour: str = "#222", size: int = 12) -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}"'
    return f"<text {place}>{text}</text>"
