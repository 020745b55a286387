"""Lets the threads of one interpreter work in turns, as long as the processor is what all wait for.

Two that pack and send, or receive and write, at once take the interpreter from each other at every call of the system,
and from each other's buffers the cache; together they get less far than one after the other. A turn is a shard to its
last byte (while its answer is waited for, the next is sent), or a group of small files. Where the line or the disk is
slow, many at once are faster, and nobody waits for a turn.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from rfbulk.edge.lines import Call

BUSY: Final = 0.5
"""From this share of a core on, the work is held up by the processor: others may have it meanwhile, such as the
receiver where that is this machine too."""

IDLE: Final = 0.3
"""Below this share it waits for something else. In between, all stays as it was."""

LOOK_SECONDS: Final = 0.05
"""What the share is taken of, at the least; and how often whoever waits for a turn looks whether it still must."""


class Turns:
    """Belongs to the threads of one process. `cpu_seconds` tells what those that work have spent, all together."""

    def __init__(self, cpu_seconds: Callable[[], float], *, now: Callable[[], float] = time.monotonic) -> None:
        self._cpu_seconds = cpu_seconds
        self._now = now
        self._lock = threading.Lock()
        self._is_busy = False
        self._looked = now(), cpu_seconds()

    def take(self, call: Call) -> Turn:
        """Wait for a turn, if there are turns just now. Raises CalledOff."""
        self._look()
        while self._is_busy:
            if self._lock.acquire(timeout=LOOK_SECONDS):
                return Turn(self._lock)
            call.go_on()
            self._look()
        return Turn(None)

    def _look(self) -> None:
        (then, spent), now, cpu = self._looked, self._now(), self._cpu_seconds()
        if now - then >= LOOK_SECONDS:
            self._looked = now, cpu
            share = (cpu - spent) / (now - then)
            self._is_busy = share >= (IDLE if self._is_busy else BUSY)


class Turn:
    """What a thread has while it works. It ends with the context, if not before."""

    def __init__(self, held: threading.Lock | None = None) -> None:
        self._held = held

    @property
    def is_held(self) -> bool:
        """Whether others wait for its end. Without turns it is nobody's."""
        return self._held is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def end(self) -> None:
        """Let the next one begin."""
        held, self._held = self._held, None
        if held is not None:
            held.release()
