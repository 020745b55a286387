"""A pipeline in its surroundings: fakes all around, the real checkpoint within, and a log of every effect in order.

What the checkpoint holds when its call returns is durable, so the log tells what was durable before each effect.
"""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.model import BatchId, Entry, Grant, ShardJob, ShardResult
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.core.planning import Planner
from rfbulk.core.report import UploadReport
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.core.transfer import Shard
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.known import KnownEntries
from rfbulk.events import Event
from rfbulk.pipeline import ports as port
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.sending import Carrier
from rfbulk.pipeline.tally import Tally
from rfbulk.pipeline.upload import UploadRequest, upload
from rfbulk.settings import UploadOptions
from tests.support.fakes import FakeClock, FakeSender, FakeService, FakeSource

T = TypeVar("T")
MEMORY = next((folder for folder in (Path("/dev/shm"),) if folder.is_dir()), None)  # noqa: S108 - own folders are made
"""Where checkpoints of tests live, if there is such a place: they are committed to thousands of times."""

BATCH = BatchId("batch")
IDENTITY = Identity("https://api.test", "workspace", BATCH, ("/source",))
POLICY = RetryPolicy(first_seconds=1.0, cap_seconds=8.0, budget_seconds=60.0)

WRITES = frozenset(
    {"record_fact", "plan_shards", "update", "repack", "split", "fail_entries", "mark_indexed", "begin_run"}
)


class Crash(BaseException):
    """The process is dead. Whatever it still tries to do has no effect."""


@dataclass
class Interruption:
    """Counts calls that leave the pipeline, and interrupts the `at`-th: before its effect, or after it."""

    at: int = -1
    after: bool = False
    of: frozenset[str] | None = None
    strike: Callable[[], None] = lambda: None
    count: int = 0
    crashed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def is_due(self, name: str) -> bool:
        if self.crashed:
            raise Crash
        if self.of is not None and name not in self.of:
            return False
        with self._lock:
            self.count += 1
            return self.count == self.at

    def crash(self) -> None:
        self.crashed = True
        raise Crash


class Watched:
    """The checkpoint, each call logged once it is durable and interrupted where that is asked for."""

    def __init__(self, world: World, inner: Checkpoint) -> None:
        self._world = world
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        inner, world = getattr(self._inner, name), self._world

        async def call(*args: Any, **options: Any) -> Any:
            async def work() -> Any:
                world.clock.busy += 1
                try:
                    result = await inner(*args, **options)
                finally:
                    world.clock.busy -= 1
                await world.answer_late(name)
                world.log.append((name, *args))
                return result

            return await world.interrupted(name, work)

        return call


class WatchedService(FakeService):
    """The service, its grants logged and every call open to interruption."""

    world: World

    async def request_shard_grant(self, batch: BatchId, display_name: str) -> Grant:
        ask = super().request_shard_grant

        async def work() -> Grant:
            self.world.log.append(("POST",))
            return await ask(batch, display_name)

        return await self.world.interrupted("POST", work)

    async def _meet_trouble(self, operation: str) -> None:
        if operation == "grant":
            return await super()._meet_trouble(operation)
        meet = super()._meet_trouble
        return await self.world.interrupted(operation, lambda: meet(operation))


class WatchedSender(FakeSender):
    """The sender, each attempt logged before its first byte, and alone with its shard."""

    world: World

    def __init__(self, service: FakeService, source: FakeSource, clock: FakeClock) -> None:
        super().__init__(service, source, clock)
        self.under_way: set[int] = set()

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        send = super().send

        async def work() -> ShardResult:
            assert job.shard not in self.under_way, "a shard is carried twice at once"
            self.under_way.add(job.shard)
            self.world.log.append(("PUT", job.shard))
            try:
                return await send(job, on_bytes)
            finally:
                self.under_way.remove(job.shard)

        return await self.world.interrupted("PUT", work)


@dataclass
class World:
    """Everything around one upload. `restart` gives another process the same surroundings.

    `late` delays the answers of a call of the checkpoint, `before_known` is called where the scan begins, and
    `listener` is told every event.
    """

    folder: Path
    source: FakeSource
    clock: FakeClock = field(default_factory=FakeClock)
    log: list[tuple[Any, ...]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    reached: list[Failpoint] = field(default_factory=list)
    interruption: Interruption = field(default_factory=Interruption)
    late: dict[str, Callable[[], Awaitable[None]]] = field(default_factory=dict)
    before_known: Callable[[], None] = lambda: None
    listener: Callable[[Event], None] = lambda _event: None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.service = WatchedService(self.clock)
        self.sender = WatchedSender(self.service, self.source, self.clock)
        self.service.world = self.sender.world = self

    # the checkpoint

    def open(self) -> None:
        """Open the checkpoint. Blocks."""
        self.inner = self._stack.enter_context(open_checkpoint(self.folder, IDENTITY))
        self.checkpoint = cast("port.Checkpoint", Watched(self, self.inner))

    def close(self) -> None:
        """Close the checkpoint. Blocks."""
        self._stack.close()

    async def restart(self) -> None:
        """Be another process on the same checkpoint."""
        await anyio.to_thread.run_sync(self.close)
        self.interruption = Interruption()
        self.log.clear()
        self.events.clear()
        await anyio.to_thread.run_sync(self.open)

    @contextmanager
    def _known(self) -> Iterator[KnownEntries]:
        self.before_known()
        with closing(KnownEntries(self.inner.read())) as known:
            yield known

    async def interrupted(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, interrupted before or after if it is its turn."""
        interruption = self.interruption
        is_due = interruption.is_due(name)
        if is_due and not interruption.after:
            interruption.strike()
            await anyio.lowlevel.checkpoint()
        with anyio.CancelScope(shield=is_due):
            result = await work()
        if is_due and interruption.after:
            interruption.strike()
            await anyio.lowlevel.checkpoint()
        if interruption.crashed:
            raise Crash
        return result

    async def answer_late(self, name: str) -> None:
        """Wait as long as the test has the call of this name wait."""
        if name in self.late:
            await self.late[name]()

    # the pipeline

    def ports(self) -> port.Ports:
        return port.Ports(
            service=self.service,
            sender=self.sender,
            source=self.source,
            checkpoint=self.checkpoint,
            known=self._known,
            clock=self.clock,
            tell=self._tell,
            reach=self._reach,
        )

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.listener(event)

    def _reach(self, failpoint: Failpoint) -> None:
        if not self.interruption.crashed:
            self.reached.append(failpoint)

    async def upload(self, *, stop: anyio.Event | None = None, **options: Any) -> UploadReport:
        """Run a whole upload, one shard at a time unless told otherwise, while time passes."""
        defaults = {"concurrency": 1, "shard_images": 2, "wait_seconds": 600.0}
        request = UploadRequest(
            batch=BATCH,
            options=UploadOptions(**(defaults | options)),
            policy=POLICY,
            trailer=b"",
            rename=None,
            stop=stop or anyio.Event(),
        )
        return await self.clock.run(lambda: upload(self.ports(), request))

    def carrier(self) -> Carrier:
        """Return what carries single shards, outside of an upload."""
        self.tally = Tally(self.events.append, self.clock.monotonic(), self.source.roots)
        self.gate = Gate(Pace(PaceLimits()), self.clock)
        self.planner = Planner()
        self.woken = 0
        return Carrier(
            ports=self.ports(),
            batch=BATCH,
            display_name="shown",
            policy=POLICY,
            gate=self.gate,
            tally=self.tally,
            planner=self.planner,
            trailer=b"",
            on_planned=self._note_planned,
        )

    def _note_planned(self) -> None:
        self.woken += 1

    async def planned(self, *paths: str) -> Shard:
        """Plan one shard and return it."""
        entries: tuple[Entry, ...] = tuple(self.source.entry(path.encode()) for path in paths)
        await self.inner.plan_shards([(entries, tar_bytes(entries, b""))])
        return (await self.inner.pending_after(0, 1000))[-1]

    async def carry(self, shard: Shard) -> Shard:
        """Carry one shard while time passes, and return it as it is durable afterwards."""
        carrier = self.carrier()
        await self.clock.run(lambda: carrier.carry(shard))
        return await self.inner.shard(shard.id)

    # what was seen

    def effects(self) -> list[str]:
        """Return the log in short: each commit of a shard by its state and attempts, each effect by its name."""
        return [text for entry in self.log if (text := _in_short(entry))]


def _in_short(entry: tuple[Any, ...]) -> str:
    name, *args = entry
    if name in {"POST", "PUT"}:
        return str(name)
    if name not in WRITES or name in {"record_fact", "begin_run", "plan_shards"}:
        return ""
    if not args or not isinstance(args[0], Shard):
        return str(name)
    shard = args[0]
    state = shard.state.name.lower()
    if name != "update":
        return f"{name} {state}"
    if state == "granted":
        return f"granted {shard.attempts}" + (" in doubt" if shard.in_doubt else "")
    return f"planned {shard.grants}" if state == "planned" else state
