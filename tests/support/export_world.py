"""An export in its surroundings: fakes all around, the real checkpoint within, every call open to interruption."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

import anyio
import anyio.lowlevel
import anyio.to_thread

from rfbulk.core.export_report import ExportReport
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchJob, FetchResult, Landed, Move
from rfbulk.core.model import BatchId
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.wire import Page, RemoteFile
from rfbulk.edge.export_checkpoint import ExportCheckpoint, ExportIdentity, open_export_checkpoint
from rfbulk.events import Event
from rfbulk.pipeline import export_ports as port
from rfbulk.pipeline.export import ExportRequest, export
from rfbulk.settings import ExportOptions
from tests.support.export_fakes import FakeBatch, FakeDisk, FakeReceiver, Remote
from tests.support.fakes import FakeClock
from tests.support.world import Crash, Interruption

T = TypeVar("T")
BATCH = BatchId("batch")
IDENTITY = ExportIdentity("https://api.test", "workspace", BATCH, "/target")
POLICY = RetryPolicy(first_seconds=1.0, cap_seconds=8.0, budget_seconds=60.0)


class Watched:
    """The checkpoint, each call open to interruption."""

    def __init__(self, world: ExportWorld, inner: ExportCheckpoint) -> None:
        self._world = world
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        inner, world = getattr(self._inner, name), self._world

        async def call(*args: Any, **options: Any) -> Any:
            async def work() -> Any:
                if name in {"record_fetched", "record_landed"}:
                    assert world.disk.is_synced or name == "record_landed", "recorded before it was durable"
                world.clock.busy += 1
                try:
                    return await inner(*args, **options)
                finally:
                    world.clock.busy -= 1

            return await world.interrupted(name, work)

        return call


class WatchedBatch(FakeBatch):
    world: ExportWorld

    async def files_page(
        self, batch: BatchId, part: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[RemoteFile]:
        page = super().files_page
        return await self.world.interrupted("files_page", lambda: page(batch, part, token, page_size))


class WatchedReceiver(FakeReceiver):
    world: ExportWorld

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        fetch = super().fetch
        return await self.world.interrupted("fetch", lambda: fetch(jobs, on_bytes))

    async def land(self, moves: Sequence[Move]) -> list[Landed]:
        land = super().land
        return await self.world.interrupted("land", lambda: land(moves))

    async def sync(self) -> None:
        await self.world.interrupted("sync", super().sync)


@dataclass
class ExportWorld:
    """Everything around one export. `restart` gives another process the same surroundings."""

    folder: Path
    files: list[Remote]
    clock: FakeClock = field(default_factory=FakeClock)
    events: list[Event] = field(default_factory=list)
    reached: list[Failpoint] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    cores: int = 1
    interruption: Interruption = field(default_factory=Interruption)
    listener: Callable[[Event], None] = lambda _event: None
    _stack: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.disk = FakeDisk()
        self.batch = WatchedBatch(self.clock, self.files)
        self.receiver = WatchedReceiver(self.batch, self.disk, self.clock)
        self.batch.world = self.receiver.world = self

    def open(self) -> None:
        """Open the checkpoint. Blocks."""
        self.inner = self._stack.enter_context(open_export_checkpoint(self.folder, IDENTITY))
        self.checkpoint = cast("port.ExportCheckpoint", Watched(self, self.inner))

    def close(self) -> None:
        """Close the checkpoint. Blocks."""
        self._stack.close()

    async def restart(self) -> None:
        """Be another process on the same checkpoint."""
        await anyio.to_thread.run_sync(self.close)
        self.interruption = Interruption()
        self.events.clear()
        self.receiver.jobs.clear()
        self.receiver.under_way.clear()
        self.batch.listings.clear()
        await anyio.to_thread.run_sync(self.open)

    async def interrupted(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do the work, interrupted before or after if it is its turn."""
        interruption = self.interruption
        is_due = interruption.is_due(name)
        self.calls.append(name)
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

    def ports(self) -> port.ExportPorts:
        return port.ExportPorts(
            service=self.batch,
            receiver=self.receiver,
            target=self.disk,
            checkpoint=self.checkpoint,
            clock=self.clock,
            tell=self._tell,
            reach=self._reach,
            cores=self.cores,
        )

    def ports_without_checkpoint(self) -> port.ExportPorts:
        """The ports of what never records anything."""
        self.checkpoint = cast("port.ExportCheckpoint", None)
        return self.ports()

    def _tell(self, event: Event) -> None:
        self.events.append(event)
        self.listener(event)

    def _reach(self, failpoint: Failpoint) -> None:
        if not self.interruption.crashed:
            self.reached.append(failpoint)

    async def export(
        self, *, stop: anyio.Event | None = None, reserved: tuple[str, ...] = (), **options: Any
    ) -> ExportReport:
        """Run a whole export, two groups at a time unless told otherwise, while time passes."""
        request = ExportRequest(
            batch=BATCH,
            options=ExportOptions(**({"concurrency": 2} | options)),
            policy=POLICY,
            target=b"/target",
            staging=b"/target/.staging",
            reserved=reserved,
            stop=stop or anyio.Event(),
        )
        return await self.clock.run(lambda: export(self.ports(), request))

    @property
    def tree(self) -> dict[str, bytes]:
        """What is on the disk, staging aside."""
        return dict(self.disk.files)
