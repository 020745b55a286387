"""Wakes those who wait when a notification has come for what they wait for."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from rfbulk.pipeline.ports import Clock


class Bell:
    """Rung by whoever receives notifications; heard by all who listen for its subject. Each ring is heard once."""

    def __init__(self) -> None:
        self._ears: defaultdict[str, set[Ear]] = defaultdict(set)

    def ring(self, subject: str) -> None:
        """Wake all who listen for `subject`. Nobody need."""
        for ear in self._ears.get(subject, ()):
            ear.hear()

    @contextmanager
    def listen(self, subject: str, clock: Clock) -> Iterator[Ear]:
        """Yield an ear that hears every ring for `subject` from now on."""
        ear = Ear(clock)
        self._ears[subject].add(ear)
        try:
            yield ear
        finally:
            self._ears[subject].discard(ear)
            if not self._ears[subject]:
                del self._ears[subject]


class Ear:
    """Hears a bell. A ring that comes while nobody rests is heard at the next rest."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = anyio.Event()

    def hear(self) -> None:
        """Take note of a ring."""
        self._rung.set()

    async def rest(self, at_least: float, at_most: float) -> bool:
        """Rest until a ring comes, at most `at_most` seconds and never less than `at_least`. True if one came."""
        began = self._clock.monotonic()
        if not self._rung.is_set():
            await self._until_rung(at_most)
        if not self._rung.is_set():
            return False
        self._rung = anyio.Event()
        left = at_least - (self._clock.monotonic() - began)
        if left > 0:
            await self._clock.sleep(left)
        return True

    async def _until_rung(self, seconds: float) -> None:
        async with anyio.create_task_group() as tasks:

            async def wake() -> None:
                await self._rung.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(wake)
            await self._clock.sleep(seconds)
            tasks.cancel_scope.cancel()
