"""The map of shards: each one's state in a byte, and cells of many shards so that the map stays small.

80,000 shards are 80 KB here and at most 1,000 cells on the page.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

MOST_CELLS: Final = 1000
MOST_SHARDS: Final = 4_000_000
"""Shards beyond are not drawn: two thousand million images of 500 to a shard."""


class Place(IntEnum):
    """Where a shard stands on the map, in the order in which a cell's counts are told."""

    PLANNED = 0
    SENDING = 1
    RETRYING = 2
    UNSURE = 3
    SENT = 4
    INDEXED = 5
    FAILED = 6


PLACES: Final = {
    "planned": Place.PLANNED,
    "granted": Place.PLANNED,
    "unsure": Place.UNSURE,
    "sent": Place.SENT,
    "indexed": Place.INDEXED,
    "failed": Place.FAILED,
    "listed": Place.PLANNED,
    "landing": Place.PLANNED,
    "fetched": Place.SENT,
}
"""Where the states of checkpoints stand, of shards and of remote files, as long as nobody works on them."""

_UNHEARD: Final = 7
"""Nothing was told of it: planned, or dealt with by an earlier run."""

_GONE: Final = 8
"""It was split into others, or has no number: it is not drawn."""


class ShardMap:
    """The states of shards that are numbered from 1, and the cells that show them.

    `per_cell` doubles when there are too many cells. `changed` are the cells that differ since it was last emptied.
    """

    def __init__(self, most_cells: int = MOST_CELLS) -> None:
        self.per_cell = 1
        self.changed: set[int] = set()
        self._states = bytearray()
        self._totals = [0] * (_GONE + 1)
        self._most_cells = most_cells

    def __len__(self) -> int:
        return len(self._states)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return -(-len(self._states) // self.per_cell)

    def reach(self, shards: int) -> None:
        """Make room for shards up to this number: they are planned, or nobody has told of them."""
        more = min(shards, MOST_SHARDS) - len(self._states)
        if more <= 0:
            return
        first = len(self._states) // self.per_cell
        self._states.extend(bytes([_UNHEARD]) * more)
        self._totals[_UNHEARD] += more
        while self.cells > self._most_cells:
            self.per_cell *= 2
            first = 0
            self.changed.clear()
        self.changed.update(range(first, self.cells))

    def put(self, shard: int, place: Place) -> None:
        """Move a shard to a place."""
        self._put(shard, place)

    def drop(self, shard: int) -> None:
        """Take a shard off the map: it was split."""
        self._put(shard, _GONE)

    def _put(self, shard: int, value: int) -> None:
        if not 1 <= shard <= MOST_SHARDS:
            return
        if shard > len(self._states):
            self.reach(shard)
        before = self._states[shard - 1]
        if before != value:
            self._states[shard - 1] = value
            self._totals[before] -= 1
            self._totals[value] += 1
            self.changed.add((shard - 1) // self.per_cell)

    def seed(self, places: dict[int, Place | None]) -> None:
        """Learn where earlier runs left their shards, None: split. What this run has told of stays as it is."""
        for shard, place in places.items():
            if not 1 <= shard <= MOST_SHARDS:
                continue
            if shard > len(self._states) or self._states[shard - 1] == _UNHEARD:
                self._put(shard, _GONE if place is None else place)

    def confirm(self) -> None:
        """All that was sent has been taken in by the service."""
        self._states = self._states.replace(bytes([Place.SENT]), bytes([Place.INDEXED]))
        self._totals[Place.INDEXED] += self._totals[Place.SENT]
        self._totals[Place.SENT] = 0
        self.changed.update(range(self.cells))

    def counts(self, cell: int) -> list[int]:
        """Count the shards of a cell by place. Those that nobody has told of count as planned."""
        states = self._states[cell * self.per_cell : (cell + 1) * self.per_cell]
        return _by_place([states.count(value) for value in range(_GONE)])

    def totals(self) -> list[int]:
        """Count all shards by place."""
        return _by_place(self._totals)


def _by_place(counts: list[int]) -> list[int]:
    places = counts[: len(Place)]
    places[Place.PLANNED] += counts[_UNHEARD]
    return places
