"""What all handlers share: options, clock, state with its journal, store, keys, faults and the count of requests."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.emulator.paging import PageTokens
from rfbulk.emulator.signing import Signer, UrlGrant
from rfbulk.emulator.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rfbulk.emulator.events import Event
    from rfbulk.emulator.faults import FaultScript
    from rfbulk.emulator.journal import Identity, Journal
    from rfbulk.emulator.options import EmulatorOptions
    from rfbulk.emulator.storage import Store

STORAGE_PREFIX = "/storage"
_MICROSECONDS = 1_000_000


@dataclass(slots=True)
class Clock:
    """The emulator's time: this machine's, run ahead by its skew and by what `advance` adds."""

    ahead_seconds: float = 0.0

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time() + self.ahead_seconds

    def advance(self, seconds: float) -> None:
        """Let time pass, so that tests need not wait for grants to expire."""
        self.ahead_seconds += seconds


@dataclass(slots=True)
class Traffic:
    """How many requests came for each operation, and how many at once at most."""

    requests: Counter[str] = field(default_factory=Counter)
    peaks: Counter[str] = field(default_factory=Counter)
    _running: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def passing(self, operation: str) -> Iterator[None]:
        """Count one request while it is served."""
        self.requests[operation] += 1
        self._running[operation] += 1
        self.peaks[operation] = max(self.peaks[operation], self._running[operation])
        try:
            yield
        finally:
            self._running[operation] -= 1


@dataclass(slots=True)
class Service:
    """One emulator's parts. Its `public_url` is known once it listens."""

    options: EmulatorOptions
    identity: Identity
    store: Store
    journal: Journal | None
    clock: Clock
    faults: FaultScript
    traffic: Traffic
    public_url: str = ""
    state: State = field(default_factory=State)

    @property
    def tokens(self) -> PageTokens:
        """The maker of page tokens."""
        return PageTokens(self.identity.secret)

    @property
    def signer(self) -> Signer:
        """The maker of signed URLs."""
        return Signer(self.identity.secret)

    async def record(self, event: Event) -> None:
        """Let an event take effect, and return once it is durable."""
        self.state.apply(event)
        if self.journal is not None:
            await self.journal.append(event)

    def new_generation(self) -> int:
        """Return a number above that of every object so far; like the store's, it is a time in microseconds."""
        self.state.generation = max(self.state.generation + 1, int(self.clock.now() * _MICROSECONDS))
        return self.state.generation

    def signed_url(self, method: str, object_name: str, headers: Mapping[str, str]) -> str:
        """Return a URL that permits one method on one object of the store, from now on for a grant's time."""
        path = f"{STORAGE_PREFIX}/{self.identity.bucket}/{object_name}"
        grant = UrlGrant(method, self.public_url, path, headers, self.options.grant_seconds)
        return self.signer.sign(grant, self.clock.now())
