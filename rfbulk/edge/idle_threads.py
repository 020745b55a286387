"""Threads that go on to the next piece of work: a call, or a group of small files, takes less than a thread's start."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Final, TypeAlias

Work: TypeAlias = Callable[[], None]

MOST_IDLE: Final = 8
"""So many wait for further work at the most; the others end."""


class IdleThreads:
    """As many threads as there is work at once. They are daemons: one that hangs holds up nobody's end."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._work: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        self._idle = 0
        self._is_closed = False
        self._lock = threading.Lock()

    def begin(self, work: Work) -> None:
        """Do `work`, which must not raise, in a thread that is idle, else in a new one."""
        with self._lock:
            if self._idle:
                self._idle -= 1
                self._work.put(work)
                return
        threading.Thread(target=self._serve, args=(work,), name=self._name, daemon=True).start()

    def close(self) -> None:
        """Let those that are idle end now, and the others once their work is done. What begins later ends likewise."""
        with self._lock:
            self._is_closed = True
            for _ in range(self._idle):
                self._work.put(None)
            self._idle = 0

    def _serve(self, work: Work | None) -> None:
        while work is not None:
            work()
            with self._lock:
                if self._is_closed or self._idle >= MOST_IDLE:
                    return
                self._idle += 1
            work = self._work.get()
