"""The room that is left on the target's disk, watched without asking for it at every file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rfbulk.edge.landing import Site

LOOK_BYTES: Final = 16 << 20
"""So much is written at most between two looks: threads that look at once may overlook each other's share."""


class NoRoomLeft(Exception):
    """Writing this would leave less of the disk free than is to be left."""


class Room:
    """Counts what is written against what the file system has, less a reserve."""

    def __init__(self, site: Site, reserve_bytes: int) -> None:
        self._site = site
        self._reserve_bytes = reserve_bytes
        self._left = 0

    def take(self, count: int) -> None:
        """Note that so much is about to be written. Raises NoRoomLeft."""
        self._left -= count
        if self._left < 0:
            self._left = min(self._look(count), LOOK_BYTES)

    def expect(self, count: int) -> None:
        """Tell early that a large file will not fit. Raises NoRoomLeft."""
        if count > LOOK_BYTES:
            self._look(count)

    def _look(self, count: int) -> int:
        left = self._site.free_bytes() - self._reserve_bytes - count
        if left < 0:
            raise NoRoomLeft
        return left
