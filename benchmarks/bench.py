"""The records that scenarios and their runner share. Nothing here measures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = Path(__file__).resolve().parent
ROOT = HOME.parent


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked for on the command line, and where things are."""

    rounds: int
    scale: float | None  # None: each data set's own scale
    smoke: bool
    data: Path
    build: Path
    python: Path  # an interpreter that has rfbulk
    inference: Path  # Roboflow's own command, in an environment of its own


@dataclass(frozen=True, slots=True)
class Table:
    """Something to read: every cell is text already."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """A promise of speed, and what was measured. It holds when `measured` is on the right side of `bound`."""

    name: str
    measured: float
    bound: float
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the promise was kept."""
        return self.measured >= self.bound if self.at_least else self.measured <= self.bound


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario found. Problems are wrong results, which make the whole run fail; skips and goals do not."""

    tables: tuple[Table, ...] = ()
    results: tuple[dict[str, object], ...] = ()
    goals: tuple[Goal, ...] = ()
    skipped: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Scenario:
    """A question that is answered by running things."""

    name: str
    question: str
    run: Callable[[Bench], Outcome]
