"""One attempt to send a shard, whole: read, packed, hashed and PUT in the calling thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from rfbulk.core.answers import judge_answer
from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.model import Outcome, ShardJob, ShardResult
from rfbulk.edge.answers import PutAnswer, PutBroken
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.edge.turns import Turn, Turns
from rfbulk.senders.packing import EntryChanged, OutOfDescriptors, ShardPacker

if TYPE_CHECKING:
    from rfbulk.edge.lines import Call
    from rfbulk.edge.threads import Rate
    from rfbulk.edge.uplink import Uplink

Pack: TypeAlias = "Callable[[ShardJob, bytearray, Call], Packer]"


class Packer(Protocol):
    """Makes a shard's tar on the way, as `ShardPacker` does."""

    crc32c: int

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def next_chunk(self) -> memoryview: ...  # noqa: D102


def pack_files(job: ShardJob, buffer: bytearray, _call: Call) -> Packer:
    """Pack a shard whose images are files of this machine."""
    return ShardPacker(job.roots, job.entries, job.trailer, buffer=buffer)


def pack_checked(job: ShardJob, buffer: bytearray, _call: Call) -> Packer:
    """The same, of whole images alone."""
    return ShardPacker(job.roots, job.entries, job.trailer, buffer=buffer, check=ImageCheck)


class Attempts:
    """Makes attempts, as many at once as threads ask for them. Each holds one buffer of `chunk_bytes`.

    A buffer is filled anew once all of it has been sent, and goes on to another shard then. A thread that is left
    behind keeps its own. `pack` makes the tar, of files unless said otherwise.

    With `takes_turns`, no core is left for two to send at once: whoever has its turn holds a buffer of twice that, and
    those that go beside each other, since something else is slow, of half.
    """

    def __init__(
        self,
        uplink: Uplink,
        *,
        chunk_bytes: int,
        stall_seconds: float,
        rate: Rate | None = None,
        pack: Pack = pack_files,
        takes_turns: bool = False,
    ) -> None:
        self._uplink = uplink
        self._pack = pack
        self._chunk_bytes = chunk_bytes
        self._stall_seconds = stall_seconds
        self._rate = rate
        self._buffers: list[bytearray] = []
        self._cpu_seconds = 0.0
        self._lock = threading.Lock()
        self._turns = Turns(lambda: self._cpu_seconds) if takes_turns else None

    @property
    def cpu_seconds(self) -> float:
        """Processor time that all attempts have taken, in their threads alone: what a host does besides is its own."""
        return self._cpu_seconds

    def release(self) -> None:
        """Give back the buffers that no attempt uses just now."""
        self._buffers.clear()

    def make(self, job: ShardJob, call: Call) -> ShardResult:
        """Read, pack and PUT a shard once. Whatever goes wrong with it is told in the result. Blocking.

        Raises:
            CalledOff: the attempt was called off.
            SourceError: a root's folder cannot be opened.
            ServiceRefused, NotAuthorised, UsageError: no shard can be sent this way.
        """
        with self._turns.take(call) if self._turns else Turn() as turn:
            buffer = self._free_buffer(self._length(turn))
            try:
                return self._make_with(buffer, job, call, turn)
            finally:
                self._buffers.append(buffer)

    def _length(self, turn: Turn) -> int:
        if self._turns is None:
            return self._chunk_bytes
        return 2 * self._chunk_bytes if turn.is_held else self._chunk_bytes // 2

    def _free_buffer(self, length: int) -> bytearray:
        """Return one of that length; those of another are given back."""
        while self._buffers:
            with contextlib.suppress(IndexError):  # another thread was quicker
                buffer = self._buffers.pop()
                if len(buffer) == length:
                    return buffer
        return bytearray(length)

    def _make_with(self, buffer: bytearray, job: ShardJob, call: Call, turn: Turn) -> ShardResult:
        counted = time.thread_time()

        def count() -> None:
            nonlocal counted
            now = time.thread_time()
            with self._lock:
                self._cpu_seconds += now - counted
            counted = now

        with self._pack(job, buffer, call) as packer:

            def next_chunk() -> memoryview:
                count()
                chunk = packer.next_chunk()
                if not chunk:
                    turn.end()  # the last one is sent now, and then an answer is waited for
                elif self._rate is not None and (seconds := self._rate.due(len(chunk))):
                    call.wait(seconds)
                return chunk

            try:
                answer = self._uplink.put(job.grant, job.tar_bytes, next_chunk, call, stall_seconds=self._stall_seconds)
            except EntryChanged as change:
                changed = {change.position: change.reason}
                return ShardResult(Outcome.CHANGED, call.bytes_sent, changed=changed, detail=change.detail)
            except OutOfDescriptors as error:
                return ShardResult(
                    Outcome.BROKEN, call.bytes_sent, detail=f"no further file can be opened: {error.strerror}"
                )
            except BucketTrouble as trouble:
                return ShardResult(Outcome.BROKEN, call.bytes_sent, detail=f"its bucket: {trouble}")
            except PutBroken as broken:
                return ShardResult(
                    Outcome.BROKEN, broken.bytes_sent, may_have_arrived=broken.complete, detail=broken.detail
                )
            count()
            return _result(job, packer, answer)


def _result(job: ShardJob, packer: Packer, answer: PutAnswer) -> ShardResult:
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
