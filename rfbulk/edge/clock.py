"""The real time, and the real chance."""

from __future__ import annotations

import random
import threading
import time

import anyio


class SystemClock:
    """Time as it passes. Only monotonic: a clock that is set while we wait changes nothing."""

    def monotonic(self) -> float:
        """Seconds that never jump."""
        return time.monotonic()

    def cpu_seconds(self) -> float:
        """Seconds of CPU that this process has used, in all its threads."""
        return time.process_time()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await anyio.sleep(seconds)

    def jitter(self) -> float:
        """A random number from 0 to 1."""
        return random.random()  # noqa: S311 - spreads retries, guards nothing


class RateLimit:
    """Bytes per second, shared by all that send, from any thread. `bytes_per_second` None is no limit.

    A chunk may go once the ones before it have had their time, so bursts are one chunk long.
    """

    def __init__(self, bytes_per_second: int | None) -> None:
        self._seconds_per_byte = 0.0 if bytes_per_second is None else 1.0 / bytes_per_second
        self._free_at = 0.0
        self._lock = threading.Lock()

    def due(self, count: int) -> float:
        """Book `count` bytes and return how many seconds they must wait."""
        if not self._seconds_per_byte:
            return 0.0
        with self._lock:
            now = time.monotonic()
            begins = max(now, self._free_at)
            self._free_at = begins + count * self._seconds_per_byte
        return begins - now
