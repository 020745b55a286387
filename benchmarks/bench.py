"""The records that scenarios and their runner share. Nothing here measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

HOME = Path(__file__).resolve().parent
ROOT = HOME.parent
QUIET = 0.9  # of the processors' time is unused on a machine that is fit to measure


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
    keeps: bool = False  # data sets stay, and are used as they are found
    made: set[Path] = field(default_factory=set, compare=False)  # data sets that this run has written itself


class NoRoom(Exception):
    """The disk has no room for a data set."""


@dataclass(frozen=True, slots=True)
class Table:
    """Something to read: every cell is text already."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Goal:
    """A promise of speed, and what was measured: what is to be reached at first, and what then (None: nothing more)."""

    name: str
    measured: float
    first: float | None
    then: float | None = None
    at_least: bool = False

    def holds(self, bound: float | None) -> bool:
        """Whether what was measured is on the right side of a bound. There is always enough where there is none."""
        if bound is None:
            return True
        return self.measured >= bound if self.at_least else self.measured <= bound

    @property
    def reached(self) -> str:
        """How far it came: "both", "first" or "none" of the bounds that there are."""
        if self.holds(self.first) and self.holds(self.then):
            return "both"
        return "first" if self.first is not None and self.holds(self.first) else "none"


@dataclass(frozen=True, slots=True)
class Row:
    """What one contender took in one scenario, for the table of the whole run. None: it makes no sense there."""

    name: str
    wall_seconds: float
    cpu_per_gb: float | None = None
    peak_bytes: float | None = None
    times_rival: float | None = None  # how many times as fast
    of_limit: float | None = None  # its wall, divided by that of the least that anybody must do


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a scenario found. Problems are wrong results, which make the whole run fail; skips and goals do not."""

    subject: str = ""  # on what it was measured
    rows: tuple[Row, ...] = ()
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
