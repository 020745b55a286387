"""Reads a shard's next objects while the present one is sent: several at a time, within a bound of bytes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from rfbulk.settings import RELAY_AHEAD_BYTES, RELAY_LARGE_BYTES

if TYPE_CHECKING:
    from rfbulk.core.model import Entry
    from rfbulk.core.objects import ObjectState
    from rfbulk.edge.lines import Call

READERS: Final = 16
"""Objects of one shard that are read at once: at 50 ms each, 40 MB a second of 130 KB images, and several shards are
under way. Stores allow thousands of requests a second."""

_LOOK_SECONDS: Final = 0.2

Whole: TypeAlias = "tuple[ObjectState, memoryview]"


class ReadAhead:
    """What of a shard's small objects has been read, and is read just now. Its threads end by themselves.

    Objects that are held or under way have `RELAY_AHEAD_BYTES` at the most, all together. After `close` none is begun;
    those under way are thrown away as they come.
    """

    def __init__(self, entries: Sequence[Entry], read: Callable[[Entry], Whole]) -> None:
        self._entries = entries
        self._read = read
        self._places = [place for place, entry in enumerate(entries) if entry.size <= RELAY_LARGE_BYTES]
        self._changed = threading.Condition()
        self._ready: dict[int, Whole | BaseException] = {}
        self._begun = 0
        self._held_bytes = 0
        self._is_closed = False
        self._threads = 0

    def take(self, place: int, call: Call) -> Whole:
        """Return the object at `place`, once it has come. Objects are taken in order, each once.

        Raises:
            CalledOff: the attempt was called off.
            Exception: what reading it raised.
        """
        self._begin_threads()
        with self._changed:
            while place not in self._ready:
                self._changed.wait(_LOOK_SECONDS)
                call.go_on()
            found = self._ready.pop(place)
            self._held_bytes -= self._entries[place].size
            self._changed.notify_all()
        if isinstance(found, BaseException):
            raise found
        return found

    def close(self) -> None:
        """Begin nothing more, and forget what has come."""
        with self._changed:
            self._is_closed = True
            self._ready.clear()
            self._changed.notify_all()

    def _begin_threads(self) -> None:
        if self._threads:
            return
        self._threads = min(READERS, len(self._places))
        for _ in range(self._threads):
            threading.Thread(target=self._work, name="rfbulk-read", daemon=True).start()

    def _work(self) -> None:
        while (place := self._next()) is not None:
            found: Whole | BaseException
            try:
                found = self._read(self._entries[place])
            except BaseException as error:  # noqa: BLE001 - raised again where it is asked for
                found = error
            with self._changed:
                if not self._is_closed:
                    self._ready[place] = found
                    self._changed.notify_all()

    def _next(self) -> int | None:
        """Wait until the next object may be begun, and return its place; None if there is none."""
        with self._changed:
            while not self._is_closed and self._begun < len(self._places):
                place = self._places[self._begun]
                size = self._entries[place].size
                if self._held_bytes + size <= RELAY_AHEAD_BYTES:
                    self._begun += 1
                    self._held_bytes += size
                    return place
                self._changed.wait()
        return None
