"""What all handlers share: options, clock, state with its journal, store, keys, faults and the count of requests."""

from __future__ import annotations

import time
from collections import Counter, deque
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

from rfbulk.emulator.paging import PageTokens
from rfbulk.emulator.shelf import Place, Shelf
from rfbulk.emulator.signing import GOOGLE, S3, Signer, UrlGrant
from rfbulk.emulator.state import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rfbulk.emulator.events import Event
    from rfbulk.emulator.faultscript import FaultScript
    from rfbulk.emulator.jobs.options import JobScript
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
    sent_bytes: int = 0
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
    shelf: Shelf = field(init=False)
    job_scripts: deque[JobScript] = field(default_factory=deque)

    def __post_init__(self) -> None:
        """Give the shelf what it reads from."""
        self.shelf = Shelf(self.store, self.state.links)

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

    def new_key(self) -> str:
        """Return a key for something new; it ends with its generation."""
        return f"{uuid4().hex}.{self.new_generation()}"

    def upload_url(self, object_name: str, headers: Mapping[str, str]) -> str:
        """Return a URL that permits one PUT, from now on for a grant's time."""
        path = f"{STORAGE_PREFIX}/{self.identity.bucket}/{object_name}"
        grant = UrlGrant("PUT", self.public_url, path, headers, self.options.grant_seconds)
        return self.signer.sign(grant, self.clock.now())

    def download_url(self, place: Place, name: str, method: str = "GET") -> str:
        """Return a URL that permits the download of a file, from now on for a while."""
        options = self.options.downloads
        path = f"{STORAGE_PREFIX}/{self.identity.bucket}/files/{place.key}/{place.offset}/{place.size}"
        dialect = S3 if options.dialect == "s3" else GOOGLE
        grant = UrlGrant(method, self.public_url, f"{path}/{_in_path(name)}", {}, options.seconds, dialect)
        return self.signer.sign(grant, self.clock.now())


def _in_path(name: str) -> str:
    """Return a name as the end of a path that no client resolves to another one."""
    is_odd = any(segment in {"", ".", ".."} for segment in name.split("/")) or not name.isprintable() or "\\" in name
    return "file" if is_odd else name
