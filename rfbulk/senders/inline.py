"""Sends shards from this process: read and packed in threads, PUT by the event loop.

Memory: a shard in flight holds at most `CHUNKS_PER_SHARD` chunks (one with the transport, one waiting, one being read
and the pieces it is joined from), whatever the size of its images.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Protocol

import anyio

from rfbulk.core.answers import judge_answer
from rfbulk.core.model import Outcome, ShardJob, ShardResult
from rfbulk.edge.blobs import PutAnswer, PutBroken, put_object
from rfbulk.senders.packing import EntryChanged, OutOfDescriptors, ShardPacker

if TYPE_CHECKING:
    from rfbulk.edge.transport import Transport

MAX_READERS = 16
"""Threads that read. A warm cache is served by two; a cold disk or a network file system wants many reads queued."""


class Rate(Protocol):
    """A limit on bytes per second, shared by all shards."""

    async def take(self, count: int) -> None:
        """Wait until `count` bytes may go."""


class InlineSender:
    """Makes attempts in this event loop. Made by `open_inline_sender`."""

    def __init__(
        self, transport: Transport, readers: ThreadPoolExecutor, *, chunk_bytes: int, stall_seconds: float, rate: Rate
    ) -> None:
        self._transport = transport
        self._readers = readers
        self._chunk_bytes = chunk_bytes
        self._stall_seconds = stall_seconds
        self._rate = rate

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Read, pack and PUT a shard once. Whatever goes wrong with it is told in the result."""
        packer = ShardPacker(job.roots, job.entries, job.trailer, chunk_bytes=self._chunk_bytes)
        reading = _Reading(packer, self._readers, self._rate)
        chunks = reading.chunks()
        try:
            answer = await put_object(
                self._transport,
                job.grant,
                length=job.tar_bytes,
                chunks=chunks,
                stall_seconds=self._stall_seconds,
                on_bytes=on_bytes,
            )
        except EntryChanged as change:
            return ShardResult(
                Outcome.CHANGED, packer.bytes_out, changed={change.position: change.reason}, detail=change.detail
            )
        except OutOfDescriptors as error:
            return ShardResult(Outcome.BROKEN, packer.bytes_out, detail=f"no further file can be opened: {error.strerror}")
        except PutBroken as broken:
            return ShardResult(
                Outcome.BROKEN, broken.bytes_sent, may_have_arrived=broken.complete, detail=broken.detail
            )
        finally:
            with anyio.CancelScope(shield=True):
                await chunks.aclose()
                await reading.finish()
        return _result(job, packer, answer)


@asynccontextmanager
async def open_inline_sender(
    transport: Transport, *, chunk_bytes: int, stall_seconds: float, rate: Rate, most_at_once: int
) -> AsyncIterator[InlineSender]:
    """Yield a sender whose reading threads end with the context."""
    readers = ThreadPoolExecutor(min(MAX_READERS, most_at_once), thread_name_prefix="rfbulk-read")
    try:
        yield InlineSender(transport, readers, chunk_bytes=chunk_bytes, stall_seconds=stall_seconds, rate=rate)
    finally:
        readers.shutdown(wait=False, cancel_futures=True)


class _Reading:
    """A shard's chunks, read one ahead of what is sent."""

    def __init__(self, packer: ShardPacker, readers: ThreadPoolExecutor, rate: Rate) -> None:
        self._packer = packer
        self._readers = readers
        self._rate = rate
        self._next: Future[bytes] | None = None

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        self._next = self._readers.submit(self._packer.next_chunk)
        while chunk := await asyncio.wrap_future(self._next):
            self._next = self._readers.submit(self._packer.next_chunk)
            await self._rate.take(len(chunk))
            yield chunk

    async def finish(self) -> None:
        """Wait for the read that is under way, then close the files."""
        if self._next is not None and not self._next.cancel() and not self._next.done():
            await asyncio.wait([asyncio.wrap_future(self._next)])
        self._packer.close()


def _result(job: ShardJob, packer: ShardPacker, answer: PutAnswer) -> ShardResult:
    outcome = judge_answer(
        answer.status, answer.error_code, once_only=job.grant.once_only, message=answer.error_message
    )
    is_complete = answer.bytes_sent >= job.tar_bytes
    return ShardResult(
        outcome,
        bytes_sent=answer.bytes_sent,
        crc32c=packer.crc32c if is_complete else None,
        stored_crc32c=answer.crc32c,
        etag=answer.etag,
        status=answer.status,
        retry_after=answer.retry_after,
        may_have_arrived=is_complete and outcome is Outcome.BUSY,
        detail=_told(answer),
    )


def _told(answer: PutAnswer) -> str:
    told = f"the store answered {answer.status} {answer.error_code}".rstrip()
    return f"{told}: {answer.error_message}" if answer.error_message else told
