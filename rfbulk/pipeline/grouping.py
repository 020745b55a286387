"""What is to be fetched and has no place yet: pages come in, groups go out, whatever the size of the pages."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

import anyio

from rfbulk.core.exporting import MOST_IN_GROUP, goes_alone, group_size

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.pipeline.fresh_urls import Wanted
    from rfbulk.pipeline.gate import Gate

LOOK_AHEAD_FILES = 2048
"""Files that wait for a place before a further page is let in: a second of the fastest line, some megabytes of URLs.

So in memory are at most those, the page that was let in last, and of each part that is walked through the page that
waits to be let in and the one that is asked for.
"""


class Groups:
    """The files of so many listings that wait for a place at the gate. One task takes, any may put.

    What may be large goes first and alone. Small files go in full groups, also over pages, as long as more are to
    come; what is less than a group waits for company only while others are in flight. In the end, groups get smaller,
    so that no place has work much longer than others.
    """

    def __init__(self, gate: Gate, listings: int) -> None:
        self._gate = gate
        self._open_listings = listings
        self._alone: deque[Wanted] = deque()
        self._small: deque[Wanted] = deque()
        self._released = 0  # of the small ones, those that wait for no company any more
        self._changed = anyio.Event()
        self._has_room = anyio.Event()

    async def put(self, page: Sequence[Wanted], *, is_last: bool) -> None:
        """Let the files of a page wait, once there is room. `is_last` says that its listing ends with it."""
        while self.waiting >= LOOK_AHEAD_FILES:
            await self._has_room.wait()
        for wanted in page:
            element = wanted.element
            (self._alone if goes_alone(element.kind, element.name) else self._small).append(wanted)
        self._open_listings -= is_last
        self._changed.set()

    def close(self) -> None:
        """Take note that no further page comes."""
        self._open_listings = 0
        self._changed.set()

    def look_again(self) -> None:
        """Take note that places have become free."""
        self._changed.set()

    @property
    def waiting(self) -> int:
        """How many files wait."""
        return len(self._alone) + len(self._small)

    async def take(self) -> list[Wanted] | None:
        """Return the next group as soon as there is one, None if no more are to come."""
        while (group := self._next()) is None:
            if not self._open_listings:
                return None
            self._gate.note_idle()
            self._changed = anyio.Event()
            await self._changed.wait()
        has_room, self._has_room = self._has_room, anyio.Event()
        has_room.set()
        return group

    def _next(self) -> list[Wanted] | None:
        if self._alone:
            return [self._alone.popleft()]
        size = self._size()
        self._released = max(0, self._released - size)
        return [self._small.popleft() for _ in range(size)] or None

    def _size(self) -> int:
        here = len(self._small)
        if self._open_listings and here >= MOST_IN_GROUP:
            return MOST_IN_GROUP
        if not self._open_listings or not self._gate.in_flight:
            self._released = here
        return group_size(self._released, self._gate.pace.level)
