"""Sends shards from this process: each shard in flight has a thread that reads, packs, hashes and sends it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio

from rfbulk.edge.lines import Call
from rfbulk.edge.threads import Rate, call_in_thread
from rfbulk.edge.uplink import Uplink
from rfbulk.senders.attempts import Attempts, Pack, pack_files

if TYPE_CHECKING:
    from rfbulk.core.model import ShardJob, ShardResult
    from rfbulk.edge.ways import Ways


class InlineSender:
    """Makes attempts in threads of this process. Made by `open_inline_sender`."""

    interpreters = 1

    def __init__(self, attempts: Attempts, room: anyio.CapacityLimiter) -> None:
        self._attempts = attempts
        self._room = room

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Read, pack and PUT a shard once. Whatever goes wrong with it is told in the result.

        `on_bytes` is called from the shard's thread. Cancelling cuts the connection and waits for the thread, for
        `threads.END_SECONDS` at most.

        Raises:
            SourceError: a root's folder cannot be opened.
            ServiceRefused, NotAuthorised, UsageError: no shard can be sent this way.
        """
        async with self._room:
            call = Call(on_bytes)
            return await call_in_thread(partial(self._attempts.make, job, call), call, name="rfbulk-send")

    def release(self) -> None:
        """Give back the memory that no attempt uses just now."""
        self._attempts.release()

    def cpu_seconds(self) -> float:
        """Return the processor time of all that sends."""
        return self._attempts.cpu_seconds


@asynccontextmanager
async def open_inline_sender(
    ways: Ways,
    *,
    chunk_bytes: int,
    stall_seconds: float,
    rate: Rate | None,
    most_at_once: int,
    pack: Pack = pack_files,
) -> AsyncIterator[InlineSender]:
    """Yield a sender that sends at most so many shards at once. Its connections end with the context.

    Memory: `chunk_bytes` for each shard in flight, whatever the size of its images, and what `pack` holds besides.
    """
    uplink = Uplink(ways)
    try:
        attempts = Attempts(uplink, chunk_bytes=chunk_bytes, stall_seconds=stall_seconds, rate=rate, pack=pack)
        yield InlineSender(attempts, anyio.CapacityLimiter(most_at_once))
    finally:
        uplink.close()
