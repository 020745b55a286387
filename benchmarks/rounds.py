"""Let contenders do the same job in turns, and keep what each run cost.

One checked round comes first, untimed: it warms the page cache, watches memory, and compares every file's checksum.
Then come the timed rounds, each beginning with another contender, so that slow drifts of the machine meet all alike;
nothing is watched in them but the clock. Whoever was slow in the checked round takes part in the first of them alone:
what starts and stops weigh is little there. With no timed rounds the checked one stands in for them.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from benchmarks.process import Cost, run_command

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.process import Command

START_RUNS = 3
SLOW_SECONDS = 20.0

S = TypeVar("S")


class Entrant(Protocol):
    """Who takes part. `start_command` does nothing but start (None: it takes no time worth taking off)."""

    @property
    def name(self) -> str:
        """What tables call it."""

    @property
    def start_command(self) -> Command | None:
        """What takes the time that starting takes."""


E = TypeVar("E", bound=Entrant)


@dataclass(frozen=True, slots=True)
class Run(Generic[S]):
    """One job done: what it cost, what the server saw of it, and how quiet the machine was before."""

    cost: Cost
    stats: S
    server_cpu_seconds: float
    idle: float | None
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Series(Generic[S]):
    """All runs of one contender over one set."""

    name: str
    checked: Run[S]
    timed: tuple[Run[S], ...]  # at least one
    start_seconds: float

    @property
    def wall_seconds(self) -> float:
        """The median over the timed runs."""
        return statistics.median(run.cost.wall_seconds for run in self.timed)

    @property
    def cpu_seconds(self) -> float:
        """The median over the timed runs."""
        return statistics.median(run.cost.cpu_seconds for run in self.timed)

    @property
    def problems(self) -> tuple[str, ...]:
        """What went wrong in any run."""
        return tuple(problem for run in (self.checked, *self.timed) for problem in run.problems)


def play(entrants: Sequence[E], attempt: Callable[[E, bool], Run[S]], *, rounds: int) -> list[Series[S]]:
    """Run the checked round (`attempt` is told so) and the timed rounds. Contenders come back in their order."""
    checked = {each.name: attempt(each, True) for each in entrants}
    timed: dict[str, list[Run[S]]] = {each.name: [] for each in entrants}
    for number in range(rounds):
        first = number % len(entrants)
        for each in [*entrants[first:], *entrants[:first]]:
            if number == 0 or checked[each.name].cost.wall_seconds < SLOW_SECONDS:
                timed[each.name].append(attempt(each, False))
    return [
        Series(
            each.name,
            checked[each.name],
            tuple(timed[each.name]) or (checked[each.name],),
            _start_seconds(each, min(rounds, START_RUNS) or 1),
        )
        for each in entrants
    ]


def _start_seconds(entrant: Entrant, runs: int) -> float:
    if entrant.start_command is None:
        return 0.0
    return statistics.median(run_command(entrant.start_command).wall_seconds for _ in range(runs))
