"""What is underway in the background, counted, so that its end can be waited for."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Underway:
    """Counts pieces of work from the moment they are given out, not from the moment at which they begin."""

    _count: int = 0
    _idle: anyio.Event = field(default_factory=anyio.Event)

    def begin(self) -> None:
        """Count one more piece of work; `ending` must follow."""
        self._count += 1

    @contextmanager
    def ending(self) -> Iterator[None]:
        """Do one piece of work; behind it, it counts no more."""
        try:
            yield
        finally:
            self._count -= 1
            if not self._count:
                self._idle.set()
                self._idle = anyio.Event()

    async def settled(self) -> None:
        """Wait until nothing is underway."""
        while self._count:
            await self._idle.wait()
