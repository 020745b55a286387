"""Sends shards in this process as long as that is fast enough, else in processes of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from rfbulk.edge.threads import Rate
from rfbulk.senders.attempts import Pack, pack_files
from rfbulk.senders.inline import InlineSender, open_inline_sender
from rfbulk.workers.frames import SetUp
from rfbulk.workers.pool import Pool, Processes, pool_of, ways_out
from rfbulk.workers.process import WorkerGone
from rfbulk.workers.starting import processes_take_all_cores

if TYPE_CHECKING:
    from rfbulk.core.model import ShardJob, ShardResult
    from rfbulk.edge.ways import Ways


class ScalingSender:
    """Sends in this process, and in those of a pool once they are ready. Made by `open_scaling_sender`."""

    def __init__(self, inline: InlineSender, pool: Pool) -> None:
        self._inline = inline
        self._pool = pool

    @property
    def interpreters(self) -> int:
        """How many of them share the work."""
        return self._pool.interpreters

    def cpu_seconds(self) -> float:
        """Return the processor time of all that sends."""
        return self._pool.cpu_seconds()

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Make an attempt, as `InlineSender.send`."""
        for process in self._pool.ready():
            self._inline.release()
            try:
                return await process.send(job, on_bytes)
            except WorkerGone:
                continue
            except OverflowError:
                break
        return await self._inline.send(job, on_bytes)


@asynccontextmanager
async def open_scaling_sender(
    ways: Ways,
    *,
    chunk_bytes: int,
    stall_seconds: float,
    rate: Rate | None,
    most_at_once: int,
    processes: Processes,
    pack: Pack = pack_files,
) -> AsyncIterator[ScalingSender]:
    """Yield a sender.

    A rate is kept by this process alone, and what is no file is packed by it alone: the credentials for it stay here.
    """
    if rate is not None or pack is not pack_files:
        processes = Processes(1)
    set_up = SetUp(
        environment=ways_out(),
        connect_seconds=ways.connect_seconds,
        ca_file=None if ways.ca_file is None else str(ways.ca_file),
        allow_http=True,  # of a grant's URL that has been decided when it was read
        stall_seconds=stall_seconds,
        chunk_bytes=chunk_bytes,
        takes_turns=processes_take_all_cores(processes.wanted),
    )
    async with open_inline_sender(
        ways, chunk_bytes=chunk_bytes, stall_seconds=stall_seconds, rate=rate, most_at_once=most_at_once, pack=pack
    ) as inline:
        pool = pool_of(processes, set_up, "send", inline.cpu_seconds)
        try:
            yield ScalingSender(inline, pool)
        finally:
            await pool.close()
