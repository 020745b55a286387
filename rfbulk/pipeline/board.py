"""What is in flight just now, and what each of it does: what an operator asks when a transfer is slow."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from rfbulk.events import Connection, Wait

Doing: TypeAlias = Literal["begin", "grant", "rest", "retry", "move"]

MOST_SLOWEST: Final = 5
"""Connections that are told of at a time."""

YOUNG_SECONDS: Final = 1.0
"""A connection that is younger has no rate worth telling."""


@dataclass(slots=True)
class Underway:
    """One shard, or group of files, that has a place. `bytes` are those of the present attempt, which began then.

    `bytes` is counted by the one thread that moves them; all else belongs to the event loop.
    """

    number: int
    name: str = ""
    files: int = 1
    of_bytes: int = 0
    doing: Doing = "begin"
    attempt: int = 0
    began: float = 0.0
    bytes: int = 0

    def rest(self) -> None:
        """Wait until nobody has to rest any more."""
        self.doing, self.bytes = "rest", 0

    def move(self, now: float, attempt: int, of_bytes: int = 0) -> None:
        """Begin an attempt: from now on bytes may move. `of_bytes` is 0 where nobody knows how many."""
        self.doing, self.attempt, self.began, self.bytes, self.of_bytes = "move", attempt, now, 0, of_bytes


class Board:
    """Who has a place at the gate. One for a transfer; belongs to the event loop.

    It costs a shard, or a group of files, a few attributes, and a look at it twice a second a walk over those in
    flight, of which there are dozens.
    """

    def __init__(self) -> None:
        self._underway: dict[int, Underway] = {}

    def enter(self, number: int, name: str, files: int) -> Underway:
        """Take one on, until it leaves."""
        one = self._underway[number] = Underway(number, name, files)
        return one

    def at(self, number: int) -> Underway:
        """The one that entered under this number, else one that nobody looks at."""
        return self._underway.get(number) or Underway(number)

    def leave(self, number: int) -> None:
        """Let one go. Once is enough."""
        self._underway.pop(number, None)

    def waits(self) -> Counter[Wait]:
        """How many of them wait, and what for. Those that move bytes are not among them."""
        found: Counter[Wait] = Counter()
        for one in self._underway.values():
            wait = _wait_of(one)
            if wait is not None:
                found[wait] += 1
        return found

    def slowest(self, now: float) -> tuple[Connection, ...]:
        """The slowest of those that are being moved, the slowest first."""
        moving = [
            _connection(one, now)
            for one in self._underway.values()
            if one.doing == "move" and now - one.began >= YOUNG_SECONDS
        ]
        return tuple(sorted(moving, key=lambda each: (each.rate, each.number))[:MOST_SLOWEST])


def _wait_of(one: Underway) -> Wait | None:
    """An upload waits for an answer once all is sent, an export until the first byte has come."""
    match one.doing:
        case "grant" | "rest" | "retry":
            return one.doing
        case "move":
            return "answer" if one.bytes >= one.of_bytes and (one.of_bytes or not one.bytes) else None
        case _:
            return None


def _connection(one: Underway, now: float) -> Connection:
    seconds, moved = now - one.began, one.bytes
    return Connection(one.number, one.name, one.files, one.attempt, moved, one.of_bytes, seconds, moved / seconds)
