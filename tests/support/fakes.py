"""The outside of the pipeline, in memory: a clock that nobody waits for, a service with a ledger, a sender, a source.

All are scripted, and behave well where nothing is scripted. Only the checkpoint of these tests is the real one.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from zlib import crc32

import anyio
import anyio.lowlevel
import anyio.to_thread

from rfbulk.core.model import BatchId, Entry, Grant, Outcome, Refusal, RefusalReason, ShardJob, ShardResult
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.wire import BatchMetadata, Page, RemoteFile, ShardStatus

T = TypeVar("T")

EPOCH = 1_700_000_000.0
"""What the service's clock shows when ours shows nothing."""

LONGEST_TEST_SECONDS = 60.0


class FakeClock:
    """Time that passes only while everybody waits for it: then it jumps to whoever wakes up first.

    `busy` counts what is under way outside of the loop; threads of `anyio.to_thread` are seen without it.
    """

    def __init__(self, *, jitter: float = 1.0, start: float = 1000.0) -> None:
        self.now = start
        self.cpu = 0.0
        self.slept: list[float] = []
        self.busy = 0
        self._jitter = jitter
        self._sleepers: list[tuple[float, int, anyio.Event]] = []

    def monotonic(self) -> float:
        return self.now

    def cpu_seconds(self) -> float:
        return self.cpu

    def jitter(self) -> float:
        return self._jitter

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        woken = anyio.Event()
        heapq.heappush(self._sleepers, (self.now + seconds, len(self.slept), woken))
        await woken.wait()

    async def run(self, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work while time passes. Its own error comes out, in no group."""
        caught: BaseException
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass)
            try:
                with anyio.fail_after(LONGEST_TEST_SECONDS):
                    return await work()
            except BaseException as error:  # noqa: BLE001 - raised again below, outside of the group
                caught = error
            finally:
                tasks.cancel_scope.cancel()
        raise caught

    async def _pass(self) -> None:
        while True:
            if await self._is_all_quiet() and self._sleepers:
                due, _, woken = heapq.heappop(self._sleepers)
                self.now = max(self.now, due)
                woken.set()

    async def _is_all_quiet(self) -> bool:
        limiter = anyio.to_thread.current_default_thread_limiter()
        for _ in range(12):  # turns of the loop, more than any hand-over takes
            await anyio.lowlevel.checkpoint()
            if self.busy or limiter.borrowed_tokens:
                await anyio.sleep(0.0003)  # a thread is at work, which no turn of the loop hastens
                return False
        if not self._sleepers:
            await anyio.sleep(0.0003)
        return True


@dataclass
class Stored:
    """One object of the store: whose shard it is, its members, and whether its bytes are what was sent."""

    shard_id: str
    at: float
    names: tuple[str, ...] = ()
    damaged: bool = False
    crc32c: int = 0


@dataclass
class Granted:
    """One grant that was given."""

    shard_id: str
    grant: Grant


@dataclass
class FakeService:
    """The service and its store. `ledger` tells how often each image is in the batch.

    `troubles` are raised by the next calls of an operation, `lost_answers` after the call has had its effect.
    `indexing_seconds` is how long a stored shard stays pending, `shown_after` when it is listed at all. `hidden` are
    names that the service loses, everywhere or in a shard; `row_types` the status of shards that do not succeed.
    `count_now` counts otherwise than the ledger does; a service that `goes_round` sends the same token for ever.
    """

    clock: FakeClock
    once_only: bool = False
    lifetime: float | None = 3600.0
    lifetimes: deque[float] = field(default_factory=deque)
    max_bytes: int | None = None
    page_size: int = 1000
    indexing_seconds: float = 0.0
    shown_after: float = 0.0
    count_now: Callable[[], int] | None = None
    goes_round: bool = False
    lists_unfilled: bool = False
    ids_in_urls: bool = True
    exists: bool = False
    batch_type: str = "sharded-batch"
    expiry_date: str = ""
    others: list[str] = field(default_factory=list)
    hidden: set[str] = field(default_factory=set)
    hidden_in: set[tuple[str, str]] = field(default_factory=set)
    row_types: dict[str, str] = field(default_factory=dict)
    troubles: dict[str, deque[Exception]] = field(default_factory=dict)
    lost_answers: dict[str, deque[Exception]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    granted: dict[str, Granted] = field(default_factory=dict)
    objects: dict[str, Stored] = field(default_factory=dict)

    # the API

    def server_now(self) -> float:
        return EPOCH + self.clock.monotonic()

    async def request_video_grant(self, batch: BatchId, name: str, display_name: str) -> Grant:  # noqa: ARG002 - each video gets the same
        return await self.request_shard_grant(batch, display_name)

    async def request_shard_grant(self, batch: BatchId, display_name: str) -> Grant:  # noqa: ARG002 - the port's shape
        await self._meet_trouble("grant")
        self.exists = True
        number = len(self.granted) + 1
        shard_id = f"shard-{number}"
        path = f"/bucket/{batch}/{shard_id if self.ids_in_urls else f'object{number:04}'}.tar"
        url = f"https://store.test{path}?X-Signature=c4n4ry{number}"
        lifetime = self.lifetimes.popleft() if self.lifetimes else self.lifetime
        expires_at = None if lifetime is None else self.server_now() + lifetime
        grant = Grant(SignedUrl(url), {"x-header": shard_id}, self.max_bytes, expires_at, self.once_only)
        self.granted[url] = Granted(shard_id, grant)
        self._lose_answer("grant")
        return grant

    async def batch(self, batch: BatchId) -> BatchMetadata | None:
        await self._meet_trouble("batch")
        found = BatchMetadata(batch_id=batch, batch_type=self.batch_type, expiry_date=self.expiry_date)
        return found if self.exists else None

    async def count(self, batch: BatchId, part: str | None = None) -> int | None:  # noqa: ARG002 - the port's shape
        await self._meet_trouble("count")
        if self.count_now is not None:
            return self.count_now()
        return len(self.listed()) if self.exists else None

    async def shards_page(
        self,
        batch: BatchId,  # noqa: ARG002 - the port's shape
        token: str | None = None,
        page_size: int | None = None,  # noqa: ARG002
    ) -> Page[ShardStatus]:
        await self._meet_trouble("shards")
        shown = [stored for stored in self.objects.values() if self.clock.now >= stored.at + self.shown_after]
        rows = [self._row(stored) for stored in shown]
        if self.lists_unfilled:
            unfilled = [granted for url, granted in self.granted.items() if url not in self.objects]
            rows += [ShardStatus(granted.shard_id, "", "info", 0, "") for granted in unfilled]
        return self._page(rows, token)

    async def files_page(
        self,
        batch: BatchId,  # noqa: ARG002 - the port's shape
        part: str | None = None,  # noqa: ARG002
        token: str | None = None,
        page_size: int | None = None,  # noqa: ARG002
    ) -> Page[RemoteFile]:
        await self._meet_trouble("files")
        return self._page([RemoteFile(SignedUrl("https://store.test/x"), name) for name in self.listed()], token)

    # the store

    def put(self, job: ShardJob, *, damaged: bool = False) -> ShardResult:
        """Take a whole shard, and answer as the store would."""
        url, length = job.grant.url.reveal(), job.tar_bytes
        granted = self.granted.get(url)
        if granted is None:
            return ShardResult(Outcome.FORBIDDEN, length, status=403, detail="no such grant")
        if granted.grant.expires_at is not None and self.server_now() >= granted.grant.expires_at:
            return ShardResult(Outcome.EXPIRED, status=400, detail="the grant has expired")
        if granted.grant.max_bytes is not None and length > granted.grant.max_bytes:
            return ShardResult(Outcome.TOO_LARGE, status=400, detail="too large")
        if self.once_only and url in self.objects:
            return ShardResult(Outcome.ALREADY_THERE, length, crc_of(job), status=412)
        crc = crc_of(job)
        names = tuple(entry.name for entry in job.entries)
        held = crc + 1 if damaged else crc
        self.objects[url] = Stored(granted.shard_id, self.clock.now, names, damaged, held)
        return ShardResult(Outcome.STORED, length, crc, held, etag=f'"{crc:x}"', status=200)

    @property
    def ledger(self) -> Counter[str]:
        """How often each image was stored whole, whatever the service lists of it."""
        return Counter(name for stored in self.objects.values() if not stored.damaged for name in stored.names)

    def listed(self) -> list[str]:
        """Names that the service has taken in by now."""
        indexed = [stored for stored in self.objects.values() if self._is_indexed(stored)]
        names = [(stored.shard_id, name) for stored in indexed for name in stored.names]
        lost = self.hidden_in
        return self.others + [name for where, name in names if name not in self.hidden and (where, name) not in lost]

    def _is_indexed(self, stored: Stored) -> bool:
        is_failed = "error" in self.row_types.get(stored.shard_id, "")
        return (
            not is_failed
            and not stored.damaged
            and self.clock.now >= stored.at + max(self.indexing_seconds, self.shown_after)
        )

    def _row(self, stored: Stored) -> ShardStatus:
        is_pending = self.clock.now < stored.at + self.indexing_seconds
        kind = self.row_types.get(stored.shard_id, "info" if is_pending else "success")
        metadata = '{"why":"no tar"}' if "error" in kind else ""
        return ShardStatus(stored.shard_id, "", kind, len(stored.names), "", metadata)

    def _page(self, items: Sequence[T], token: str | None) -> Page[T]:
        if self.goes_round:
            return Page((), "again")
        start = int(token or 0)
        end = start + self.page_size
        return Page(tuple(items[start:end]), str(end) if end < len(items) else None)

    async def _meet_trouble(self, operation: str) -> None:
        self.calls[operation] += 1
        await anyio.lowlevel.checkpoint()
        if self.troubles.get(operation):
            raise self.troubles[operation].popleft()

    def _lose_answer(self, operation: str) -> None:
        if self.lost_answers.get(operation):
            raise self.lost_answers[operation].popleft()


def crc_of(job: ShardJob) -> int:
    """Return a number that differs for shards with different members."""
    return crc32(repr(job.entries).encode())


class FakeSource:
    """Files by path, with contents known by a version. Changing `files` is what others do to them meanwhile.

    `trouble` is raised at the end of the scan. `before_group` is called in the scanning thread.
    """

    def __init__(self, files: dict[str, int] | None = None, *, group_size: int = 1000) -> None:
        self.roots = (b"/source",)
        self.files = {path.encode(): (size, 1) for path, size in (files or {}).items()}
        self.refusals: list[Refusal] = []
        self.gone: dict[bytes, RefusalReason] = {}
        self.trouble: BaseException | None = None
        self.before_group: Callable[[], None] = lambda: None
        self._group_size = group_size

    def entry(self, path: bytes) -> Entry:
        size, version = self.files[path]
        return Entry(0, path, path.decode().replace("/", "__"), size, version, 7)

    def scan(self) -> Iterator[FakeGroup]:
        paths = sorted(self.files)
        for start in range(0, len(paths), self._group_size):
            self.before_group()
            yield FakeGroup([self.entry(path) for path in paths[start : start + self._group_size]], [])
        if self.refusals:
            self.before_group()
            yield FakeGroup([], list(self.refusals))
        if self.trouble is not None:
            raise self.trouble

    def refresh(self, entry: Entry) -> Entry | tuple[RefusalReason, str]:
        if entry.path in self.gone:
            return self.gone[entry.path], "it cannot be sent any more"
        if entry.path not in self.files:
            return RefusalReason.VANISHED, "it vanished before it was sent"
        return self.entry(entry.path)

    def change(self, path: str, *, size: int | None = None) -> None:
        """Give a file other content, and perhaps another size."""
        old_size, version = self.files[path.encode()]
        self.files[path.encode()] = size or old_size, version + 1

    def changes_in(self, entries: Sequence[Entry]) -> dict[int, RefusalReason]:
        """Return the first of these that is not as it was planned, as a packer finds it."""
        for place, entry in enumerate(entries):
            now = self.refresh(entry)
            if now != entry:
                return {place: now[0] if isinstance(now, tuple) else RefusalReason.CHANGED}
        return {}


@dataclass
class FakeGroup:
    """What the scan found next."""

    entries: list[Entry]
    refusals: list[Refusal]


@dataclass(frozen=True)
class Act:
    """One attempt's fate. `stores` tells whether the store has the object afterwards, `sends` how much went out.

    Without an `outcome` the store's own answer is given. `meanwhile` is called once the bytes are out.
    """

    outcome: Outcome | None = None
    stores: bool = False
    damaged: bool = False
    sends: float = 1.0
    status: int = 0
    retry_after: float | None = None
    changed: dict[int, RefusalReason] = field(default_factory=dict)
    meanwhile: Callable[[], None] = lambda: None


GOOD = Act()
LOST = Act(Outcome.BROKEN, stores=True)
"""The answer was lost on the way."""
CUT = Act(Outcome.BROKEN, sends=0.5)
BUSY = Act(Outcome.BUSY, sends=0.0, status=503)
MAYBE = Act(Outcome.BROKEN)
"""Everything went out, nothing arrived, and nobody can tell."""
DAMAGED = Act(damaged=True)
FORBIDDEN = Act(Outcome.FORBIDDEN, sends=0.0, status=403)
REFUSED = Act(Outcome.REFUSED, sends=0.0, status=400)
TOO_LARGE = Act(Outcome.TOO_LARGE, sends=0.0, status=413)
EXPIRED = Act(Outcome.EXPIRED, sends=0.0, status=400)


class FakeSender:
    """Carries the script out, attempt by attempt, and stores what comes after its end."""

    interpreters = 1

    def __init__(self, service: FakeService, source: FakeSource, clock: FakeClock) -> None:
        self.script: deque[Act] = deque()
        self.jobs: list[ShardJob] = []
        self.seconds = 0.0
        """How long an attempt takes."""
        self._service = service
        self._source = source
        self._clock = clock

    def cpu_seconds(self) -> float:
        return self._clock.cpu_seconds()

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        self.jobs.append(job)
        act = self.script.popleft() if self.script else GOOD
        if act.outcome is Outcome.TOO_LARGE and job.grant.url.reveal() in self._service.objects:
            act = GOOD  # the same bytes were not too large before
        await anyio.lowlevel.checkpoint()
        if self.seconds:
            await self._clock.sleep(self.seconds)
        changed = act.changed or ({} if act.outcome else self._source.changes_in(job.entries))
        if changed:
            return ShardResult(Outcome.CHANGED, changed=changed)
        for part in halves_of(int(job.tar_bytes * act.sends)):
            on_bytes(part)
            await anyio.lowlevel.checkpoint()
        act.meanwhile()
        await anyio.lowlevel.checkpoint()
        if act.outcome is None:
            return self._service.put(job, damaged=act.damaged)
        if act.stores:
            self._service.put(job)
        may_have_arrived = act.stores or (act.outcome is Outcome.BROKEN and act.sends >= 1.0)
        return ShardResult(
            act.outcome,
            int(job.tar_bytes * act.sends),
            status=act.status,
            retry_after=act.retry_after,
            may_have_arrived=may_have_arrived,
            detail=f"scripted {act.outcome}",
        )


def halves_of(total: int) -> list[int]:
    """Return the sizes of two chunks."""
    return [part for part in (total // 2, total - total // 2) if part]
