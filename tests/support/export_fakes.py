"""The outside of an export, in memory: a batch that is listed page by page, a store whose URLs end, and a disk."""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import anyio
import anyio.lowlevel
from crc32c import crc32c

from rfbulk.core.exporting import Presence
from rfbulk.core.fetching import (
    Check,
    FetchJob,
    FetchKind,
    FetchOutcome,
    FetchResult,
    Fingerprint,
    Landed,
    Move,
    Unpacked,
)
from rfbulk.core.model import BatchId
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.wire import BatchMetadata, BatchPart, Page, RemoteFile
from rfbulk.errors import ServiceRefused
from tests.support.fakes import FakeClock

Members: TypeAlias = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True)
class Remote:
    """One remote file as the service has it. An archive has `members`."""

    name: str
    content: bytes = b"content"
    part: str = ""
    shard: str | None = None
    members: Members = ()
    content_type: str = ""


@dataclass
class FakeBatch:
    """The service's side. Every listing gives new URLs that last for `lifetime`.

    `troubles` are raised by the next calls of an operation. `listings` counts the pages asked for, by part and token,
    `sizes` by the size they were asked in. A service that `knows_sizes` lists as many as it is asked for, at most
    `page_size`; one that does not refuses to be asked. A page is answered after `page_seconds`.
    """

    clock: FakeClock
    files: list[Remote] = field(default_factory=list)
    exists: bool = True
    batch_type: str = "sharded-batch"
    parts_there: list[str] = field(default_factory=list)
    page_size: int = 4
    knows_sizes: bool = True
    page_seconds: float = 0.0
    lifetime: float = 3600.0
    goes_round: bool = False
    refused_tokens: set[str] = field(default_factory=set)
    troubles: dict[str, deque[Exception]] = field(default_factory=dict)
    listings: Counter[tuple[str, str | None]] = field(default_factory=Counter)
    sizes: Counter[int | None] = field(default_factory=Counter)
    before_page: Callable[[str | None], None] = lambda _token: None
    _urls: dict[str, tuple[Remote, float]] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _sizes: dict[str, int | None] = field(default_factory=dict)

    async def batch(self, batch: BatchId) -> BatchMetadata | None:
        await self._meet_trouble("batch")
        kind = "multipart-batch" if self.parts_there else self.batch_type
        return BatchMetadata(batch_id=batch, batch_type=kind) if self.exists else None

    async def parts(self, batch: BatchId) -> tuple[BatchPart, ...]:  # noqa: ARG002 - the port's shape
        await self._meet_trouble("parts")
        return tuple(BatchPart(name) for name in self.parts_there)

    async def files_page(
        self,
        batch: BatchId,  # noqa: ARG002 - the port's shape
        part: str | None = None,
        token: str | None = None,
        page_size: int | None = None,
    ) -> Page[RemoteFile]:
        await self._meet_trouble("files")
        self.sizes[page_size] += 1
        if page_size is not None and not self.knows_sizes:
            raise ServiceRefused("list", cause="pageSize is not known", status=400)
        assert token is None or page_size == self._sizes[part or ""], "a token leads on in pages of its own size"
        self._sizes[part or ""] = page_size
        if self.page_seconds:
            await self.clock.sleep(self.page_seconds)
        self.before_page(token)
        self.listings[part or "", token] += 1
        if self.goes_round:
            return Page((), "again")
        files = [file for file in self.files if file.part == (part or "")]
        start = int(token or 0)
        end = start + min(page_size or self.page_size, self.page_size)
        items = tuple(self._listed(file) for file in files[start:end])
        return Page(items, str(end) if end < len(files) else None)

    def at(self, url: SignedUrl) -> Remote | None:
        """What a URL leads to, None if it has ended."""
        remote, ends = self._urls[url.reveal()]
        return remote if self.clock.now < ends else None

    def _listed(self, file: Remote) -> RemoteFile:
        url = f"https://store.test/{file.name}?X-Goog-Signature=c4n4ry{next(self._numbers)}"
        self._urls[url] = file, self.clock.now + self.lifetime
        return RemoteFile(SignedUrl(url), file.name, file.part or None, file.shard, file.content_type)

    async def _meet_trouble(self, operation: str) -> None:
        await anyio.lowlevel.checkpoint()
        if self.troubles.get(operation):
            raise self.troubles[operation].popleft()


@dataclass(frozen=True)
class Fetched:
    """One attempt's fate. Without an `outcome` the store's own answer is given."""

    outcome: FetchOutcome | None = None
    status: int = 0
    retry_after: float | None = None
    check: Check = Check.CRC32C
    refused: tuple[tuple[str, str], ...] = ()
    meanwhile: Callable[[], None] = lambda: None


GOOD = Fetched()
BUSY = Fetched(FetchOutcome.BUSY, status=503)
BROKEN = Fetched(FetchOutcome.BROKEN)
CORRUPT = Fetched(FetchOutcome.CORRUPT)
GONE = Fetched(FetchOutcome.GONE, status=404)
EXPIRED = Fetched(FetchOutcome.EXPIRED, status=400)
REFUSED = Fetched(FetchOutcome.REFUSED, status=418)
UNSAFE = Fetched(FetchOutcome.UNSAFE)
UNWRITABLE = Fetched(FetchOutcome.UNWRITABLE)
NO_ROOM = Fetched(FetchOutcome.NO_ROOM)
UNVERIFIED = Fetched(check=Check.NONE)
ENDS_GROUP = {FetchOutcome.BUSY, FetchOutcome.BROKEN, FetchOutcome.NO_ROOM}


class FakeDisk:
    """Files by path, each written at a time of its own. `staged` is what is not whole, or not landed, yet."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.staged: dict[str, bytes] = {}
        self.is_synced = True
        self._marks: dict[str, int] = {}
        self._times = itertools.count(1)

    def write(self, path: str, content: bytes) -> Fingerprint:
        """Put a file there, whoever does it."""
        self.files[path] = content
        self._marks[path] = next(self._times)
        return self.mark(path)

    def mark(self, path: str) -> Fingerprint:
        return Fingerprint(len(self.files[path]), self._marks[path], 7)

    def place(self, path: str, content: bytes, *, overwrite: bool) -> Fingerprint | None:
        """As a receiver does it: nothing foreign is replaced, and the same content counts as landed."""
        self.is_synced = False
        if path in self.files and not overwrite:
            return self.mark(path) if self.files[path] == content else None
        return self.write(path, content)

    def look(self, files: Sequence[tuple[str, Fingerprint]]) -> list[Presence]:
        return [self._look(path, mark) for path, mark in files]

    def _look(self, path: str, mark: Fingerprint) -> Presence:
        if path not in self.files:
            return Presence.DELETED
        return Presence.INTACT if self.mark(path) == mark else Presence.CHANGED


class FakeReceiver:
    """Carries the script out, file by file: `by_name` first, then `script`, then what the store has."""

    def __init__(self, batch: FakeBatch, disk: FakeDisk, clock: FakeClock) -> None:
        self.script: deque[Fetched] = deque()
        self.by_name: dict[str, deque[Fetched]] = {}
        self.jobs: list[FetchJob] = []
        self.groups: list[int] = []
        self.landing_script: deque[FetchOutcome] = deque()
        self.seconds = 0.0
        self.interpreters = 1
        self.under_way: set[int] = set()
        self.discarded = 0
        self._batch = batch
        self._disk = disk
        self._clock = clock

    @property
    def fetched(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [job.path for job in self.jobs]

    def cpu_seconds(self) -> float:
        return self._clock.cpu_seconds()

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        assert self.under_way.isdisjoint(job.number for job in jobs), "a file is fetched twice at once"
        self.under_way |= {job.number for job in jobs}
        self.groups.append(len(jobs))
        try:
            return await self._fetch(jobs, on_bytes)
        finally:
            self.under_way -= {job.number for job in jobs}

    async def _fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        results: list[FetchResult] = []
        for job in jobs:
            self.jobs.append(job)
            await anyio.lowlevel.checkpoint()
            if self.seconds:
                await self._clock.sleep(self.seconds)
            results.append(self._one(job, on_bytes))
            if results[-1].outcome in ENDS_GROUP:
                break
        return results

    def _one(self, job: FetchJob, on_bytes: Callable[[int], None]) -> FetchResult:
        remote = self._batch.at(job.url)
        name = job.path.rpartition("/")[2]
        scripted = self.by_name.get(name)
        act = scripted.popleft() if scripted else self.script.popleft() if self.script else GOOD
        act.meanwhile()
        if act.outcome is not None:
            detail = f"scripted {act.outcome}"
            return FetchResult(act.outcome, status=act.status, retry_after=act.retry_after, detail=detail)
        if remote is None:
            return FetchResult(FetchOutcome.EXPIRED, status=400, detail="the URL has ended")
        on_bytes(len(remote.content))
        return self._plain(job, remote, act) if job.kind is FetchKind.PLAIN else self._archive(job, remote, act)

    def _plain(self, job: FetchJob, remote: Remote, act: Fetched) -> FetchResult:
        mark = self._disk.place(job.path, remote.content, overwrite=job.overwrite)
        if mark is None:
            return FetchResult(FetchOutcome.TAKEN, detail="a foreign file lies there")
        size, crc = len(remote.content), crc32c(remote.content)
        return FetchResult(FetchOutcome.FETCHED, size, size=size, crc32c=crc, check=act.check, fingerprint=mark)

    def _archive(self, job: FetchJob, remote: Remote, act: Fetched) -> FetchResult:
        members = []
        for number, (name, content) in enumerate(remote.members):
            staged = f"{job.number}/{number}"
            self._disk.staged[staged] = content
            members.append(Unpacked(name, staged, len(content), crc32c(content)))
        size, crc = len(remote.content), crc32c(remote.content)
        return FetchResult(
            FetchOutcome.FETCHED,
            size,
            size=size,
            crc32c=crc,
            check=act.check,
            members=tuple(members),
            refused=act.refused,
        )

    async def land(self, moves: Sequence[Move]) -> list[Landed]:
        landed = []
        for move in moves:
            await anyio.lowlevel.checkpoint()
            outcome = self.landing_script.popleft() if self.landing_script else FetchOutcome.FETCHED
            landed.append(self._land(move) if outcome is FetchOutcome.FETCHED else Landed(outcome, detail="scripted"))
        return landed

    def _land(self, move: Move) -> Landed:
        content = self._disk.staged.get(move.staged)
        if content is None:
            there = self._disk.files.get(move.path)
            if there is not None and (len(there), crc32c(there)) == (move.size, move.crc32c):
                return Landed(FetchOutcome.FETCHED, self._disk.mark(move.path))
            return Landed(FetchOutcome.GONE, detail="it is neither staged nor landed")
        mark = self._disk.place(move.path, content, overwrite=move.overwrite)
        if mark is None:
            return Landed(FetchOutcome.TAKEN)
        del self._disk.staged[move.staged]
        return Landed(FetchOutcome.FETCHED, mark)

    async def sync(self) -> None:
        await anyio.lowlevel.checkpoint()
        self._disk.is_synced = True

    async def discard(self) -> None:
        self.discarded += 1
        self._disk.staged.clear()
