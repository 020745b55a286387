"""Receives remote files in this process as long as that is fast enough, else in processes of their own.

What lands members and waits for the disk stays in this process: it is little, and the checkpoint waits for it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rfbulk.edge.clock import RateLimit
from rfbulk.receivers.inline import Folders, InlineReceiver, open_inline_receiver
from rfbulk.workers.frames import SetUp
from rfbulk.workers.pool import Pool, Processes, pool_of, ways_out
from rfbulk.workers.process import WorkerGone
from rfbulk.workers.starting import processes_take_all_cores

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.fetching import FetchJob, FetchResult, Landed, Move
    from rfbulk.edge.threads import Rate
    from rfbulk.edge.transport import Transport


class ScalingReceiver:
    """Receives in this process, and in those of a pool once they are ready. Made by `open_scaling_receiver`."""

    def __init__(self, inline: InlineReceiver, pool: Pool) -> None:
        self._inline = inline
        self._pool = pool

    @property
    def interpreters(self) -> int:
        """How many of them share the work."""
        return self._pool.interpreters

    def cpu_seconds(self) -> float:
        """Return the processor time of all that receives."""
        return self._pool.cpu_seconds()

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        """Fetch files in their order, each once, as `InlineReceiver.fetch`."""
        for process in self._pool.ready():
            self._inline.release()
            try:
                return await process.fetch(jobs, on_bytes)
            except WorkerGone:
                continue
        return await self._inline.fetch(jobs, on_bytes)

    async def land(self, moves: Sequence[Move]) -> list[Landed]:
        """Move members of archives to their places, as `InlineReceiver.land`."""
        return await self._inline.land(moves)

    async def sync(self) -> None:
        """Return once all that has landed is durable, whoever has written it."""
        await self._inline.sync()

    async def discard(self) -> None:
        """Remove all that is in staging. Nothing may be in flight."""
        await self._inline.discard()


@asynccontextmanager
async def open_scaling_receiver(
    transport: Transport,
    folders: Folders,
    *,
    stall_seconds: float,
    rate: Rate | None,
    most_at_once: int,
    processes: Processes,
    reach: Callable[[Failpoint], None] = lambda _failpoint: None,
) -> AsyncIterator[ScalingReceiver]:
    """Yield a receiver. A rate is kept by this process alone."""
    if rate is not None:
        processes = Processes(1)
    ways = transport.ways
    set_up = SetUp(
        environment=ways_out(),
        connect_seconds=ways.connect_seconds,
        ca_file=None if ways.ca_file is None else str(ways.ca_file),
        allow_http=transport.options.allow_http,
        stall_seconds=stall_seconds,
        takes_turns=processes_take_all_cores(processes.wanted),
    )
    async with open_inline_receiver(
        transport,
        folders,
        stall_seconds=stall_seconds,
        rate=RateLimit(None) if rate is None else rate,
        most_at_once=most_at_once,
        reach=reach,
    ) as inline:
        pool = pool_of(processes, set_up, "fetch", inline.cpu_seconds)
        try:
            yield ScalingReceiver(inline, pool)
        finally:
            await pool.close()
