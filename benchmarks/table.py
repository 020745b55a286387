"""Write what a whole run has found as one page of Markdown: a row for each contender, each promise, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.bench import QUIET, Goal, Outcome, Row, Scenario, Table

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = ("scenario", "", "wall s", "CPU s per GB", "peak MB", "× `inference-cli`", "÷ limit")
GOALS = ("scenario", "", "measured", "first", "then", "reached")
REACHED = {"both": "yes", "first": "first", "none": "no"}
TEXT_COLUMNS = frozenset({"scenario", ""})

Found = tuple[Scenario, Outcome]


@dataclass(frozen=True, slots=True)
class Page:
    """What is said above it: when, on what machine, of which versions, with what settings; and how it is made."""

    title: str
    told: tuple[str, ...]


def write(file: Path, page: Page, found: Sequence[Found]) -> None:
    """Write the page of all that was found so far."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(page_of(page, found), encoding="utf-8")


def page_of(page: Page, found: Sequence[Found]) -> str:
    """Return the page. Wrong results and what was left out stand first: figures beside them are to be doubted."""
    parts = [f"# {page.title}", "\n".join(f"- {line}" for line in page.told)]
    if amiss := [*_amiss("FAILED", found), *_amiss("left out", found), *_noise(found)]:
        parts.append("\n".join(amiss))
    parts += [
        "## Contenders",
        markdown(COLUMNS, tuple(_rows(found))),
        "## Promises",
        markdown(GOALS, tuple(_goals(found))),
    ]
    parts.append("## All that was measured")
    for scenario, outcome in found:
        parts += [text for table in outcome.tables for text in (f"`{scenario.name}`: {table.title}", _markdown(table))]
    return "\n\n".join(parts) + "\n"


def _amiss(word: str, found: Sequence[Found]) -> list[str]:
    return [
        f"- **{word}** in `{scenario.name}`: {' '.join(line.split())}"
        for scenario, outcome in found
        for line in (outcome.problems if word == "FAILED" else outcome.skipped)
    ]


def _noise(found: Sequence[Found]) -> list[str]:
    """Say how many runs began while something else was running: their figures are too high."""
    idle = [share for _, outcome in found for result in outcome.results for share in _idle_before(result)]
    busy = sum(share < QUIET for share in idle)
    return [f"- **noise**: {busy} of {len(idle)} timed runs began on a busy machine"] if busy else []


def _idle_before(result: dict[str, object]) -> list[float]:
    runs = result.get("runs")
    found = [run.get("idle_before") for run in runs] if isinstance(runs, list) else []
    return [share for share in found if share is not None]


def _rows(found: Sequence[Found]) -> list[tuple[str, ...]]:
    return [
        (_first(number, scenario, outcome), *_cells(row, outcome))
        for scenario, outcome in found
        for number, row in enumerate(outcome.rows)
    ]


def _first(number: int, scenario: Scenario, outcome: Outcome) -> str:
    if number:
        return ""
    return f"`{scenario.name}`: {outcome.subject}" if outcome.subject else f"`{scenario.name}`"


def _cells(row: Row, outcome: Outcome) -> tuple[str, ...]:
    return (
        f"{row.name} **(FAILED)**" if _has_failed(row, outcome) else row.name,
        figure(row.wall_seconds),
        figure(row.cpu_per_gb),
        figure(None if row.peak_bytes is None else row.peak_bytes / 1e6),
        figure(row.times_rival),
        figure(row.of_limit),
    )


def _has_failed(row: Row, outcome: Outcome) -> bool:
    """Tell by the problems, which begin with who had them: rows may say more, behind a comma."""
    names = (f"{row.name}:", f"{row.name.partition(',')[0]}:")
    return any(problem.startswith(names) for problem in outcome.problems)


def _goals(found: Sequence[Found]) -> list[tuple[str, ...]]:
    return [
        (
            "" if number else f"`{scenario.name}`",
            goal.name,
            figure(goal.measured),
            bound(goal, goal.first),
            bound(goal, goal.then),
            REACHED[goal.reached],
        )
        for scenario, outcome in found
        for number, goal in enumerate(outcome.goals)
    ]


def bound(goal: Goal, value: float | None) -> str:
    """Return a bound as it is to be read, "" where there is none."""
    if value is None:
        return ""
    return f"{'≥' if goal.at_least else '≤'} {value:.3g}"


def figure(value: float | None) -> str:
    """Return a number with as many digits as anybody wants of it: two at least, and all before the point."""
    if value is None:
        return ""
    size = abs(value)
    return (
        f"{value:,.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 0.1
        else f"{value:.3f}"
    )


def _markdown(table: Table) -> str:
    return markdown(table.columns, table.rows)


def markdown(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Return a table that can be pasted and be read as it stands."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in (columns, *rows)]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    is_text = [at == 0 or name in TEXT_COLUMNS for at, name in enumerate(columns)]
    rule = [
        f":{'-' * (width - 1)}" if text else f"{'-' * (width - 1)}:"
        for text, width in zip(is_text, widths, strict=True)
    ]
    return "\n".join(f"| {' | '.join(_aligned(line, is_text, widths))} |" for line in (lines[0], rule, *lines[1:]))


def _aligned(line: Sequence[str], is_text: Sequence[bool], widths: Sequence[int]) -> list[str]:
    return [
        cell.ljust(width) if text else cell.rjust(width)
        for cell, text, width in zip(line, is_text, widths, strict=True)
    ]
