"""Waiting for one socket: `poll` where the system has it, which knows no limit of descriptors, else `select`."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import socket

READABLE: Final[int] = getattr(select, "POLLIN", 1)
WRITABLE: Final[int] = getattr(select, "POLLOUT", 4)
BROKEN: Final[int] = getattr(select, "POLLERR", 8)

HAS_POLL = hasattr(select, "poll")


class Poller:
    """Waits for a socket to become what `events` says: READABLE, WRITABLE, or either."""

    def __init__(self, waited_for: socket.socket) -> None:
        self._poll = select.poll() if HAS_POLL else _Select()
        self._poll.register(waited_for, READABLE)
        self._events = READABLE

    def wait(self, waited_for: socket.socket, events: int, seconds: float) -> int:
        """Return what it has become within so many seconds, also BROKEN and the like; 0 if nothing.

        `waited_for` is the socket of the beginning, or what it was wrapped into.
        """
        if events != self._events:
            self._poll.modify(waited_for, events)
            self._events = events
        found = self._poll.poll(seconds * 1000)
        return found[0][1] if found else 0


class _Select:
    """What of `select.poll` is used here, for the one socket: Windows has no `poll`."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._events = 0

    def register(self, waited_for: socket.socket, events: int) -> None:
        self._socket, self._events = waited_for, events

    modify = register

    def poll(self, milliseconds: float) -> list[tuple[int, int]]:
        """A connection that cannot be made is told as an exception there, and as broken here."""
        if self._socket is None:
            raise AssertionError("a socket is registered first")
        one = [self._socket]
        readers, writers = (one if self._events & kind else [] for kind in (READABLE, WRITABLE))
        readable, writable, broken = select.select(readers, writers, one, milliseconds / 1000)
        found = READABLE * bool(readable) | WRITABLE * bool(writable) | BROKEN * bool(broken)
        return [(self._socket.fileno(), found)] if found else []
