"""How many shards are in flight, and when all of them rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from rfbulk.core.pacing import Pace
    from rfbulk.pipeline.ports import Clock, Load


class _Alone:
    """The load of one process that does everything itself."""

    interpreters = 1

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def cpu_seconds(self) -> float:
        return self._clock.cpu_seconds()


class Gate:
    """Admits shards up to the pace's level, and none while the service asked for rest.

    `load` tells what the sending costs (None: the clock's own process). One task enters, each shard's task leaves. A
    trouble that one shard meets slows all of them down.
    """

    def __init__(self, pace: Pace, clock: Clock, load: Load | None = None) -> None:
        self.pace = pace
        self.in_flight = 0
        self._clock = clock
        self._load = load or _Alone(clock)
        self._rest_until = 0.0
        self._changed = anyio.Event()
        self._was_full = True
        self._is_awaited = False  # somebody stands at the gate: a place that is free now is taken in a moment
        self._window = (clock.monotonic(), self._load.cpu_seconds())

    async def enter(self) -> None:
        """Wait for a place."""
        while self.in_flight >= self.pace.level:
            self._is_awaited = True
            self._changed = anyio.Event()
            await self._changed.wait()
        self._is_awaited = False
        await self.rest()
        self.in_flight += 1

    def leave(self) -> None:
        """Give the place back."""
        self._was_full = self._was_full and (self._is_awaited or self.in_flight >= self.pace.level)
        self.in_flight -= 1
        self._changed.set()

    async def rest(self) -> None:
        """Wait out the rest that the service asked for."""
        while (left := self._rest_until - self._clock.monotonic()) > 0:
            await self._clock.sleep(left)

    @property
    def rest_seconds(self) -> float:
        """How much is left of the rest that the service asked for."""
        return max(0.0, self._rest_until - self._clock.monotonic())

    def slow_down(self, retry_after: float | None) -> None:
        """Take note of an overload: fewer at once from now on, and nobody before `retry_after` seconds."""
        self.pace.slow_down()
        if retry_after is not None:
            self._rest_until = max(self._rest_until, self._clock.monotonic() + retry_after)

    def measure(self, bytes_moved: int) -> None:
        """Take the bytes of the window that ends now. Only one in which all places were taken teaches anything."""
        now, cpu, interpreters = self._clock.monotonic(), self._load.cpu_seconds(), self._load.interpreters
        (began, cpu_before), self._window = self._window, (now, cpu)
        if self._was_full and self.in_flight and now > began:
            cpu_share = (cpu - cpu_before) / (now - began) / interpreters
            self.pace.window(bytes_moved / (now - began), cpu_share=cpu_share, interpreters=interpreters)
            self._changed.set()
        self._was_full = True

    def note_idle(self) -> None:
        """Take note that there was nothing to send, so that this window teaches nothing."""
        self._was_full = False
