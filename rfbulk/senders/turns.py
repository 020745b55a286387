"""Lets the threads of one interpreter pack in turns, as long as packing is work for the processor.

Between its calls of the system a thread that packs needs the interpreter, and two that pack at once take it from each
other some dozen times a chunk. One that packs while the others send does not. Where the disk is what is waited for,
many that read at once are faster, and all go on beside each other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, TypeVar

T = TypeVar("T")

WAITED: Final = 3.0
"""A chunk that took so many times its processor time has waited for the disk, or for a processor that others use."""

FREE_CHUNKS: Final = 32
"""So many are packed without turns then, before one is looked at again."""

PATIENCE_SECONDS: Final = 0.02
"""How long a turn is waited for: whoever has it may hang in a dead disk."""


class Turns:
    """Belongs to the threads of one process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free = 0

    def take(self, pack: Callable[[], T]) -> T:
        """Return what `pack` does, in its turn if there are turns just now. Raises what it raises."""
        if self._free > 0:
            self._free -= 1
            return pack()
        if not self._lock.acquire(timeout=PATIENCE_SECONDS):
            return pack()
        try:
            began, spent = time.monotonic(), time.thread_time()
            packed = pack()
            if time.monotonic() - began > WAITED * (time.thread_time() - spent):
                self._free = FREE_CHUNKS
            return packed
        finally:
            self._lock.release()
