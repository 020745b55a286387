"""Posts images one by one through the API itself. One attempt a call; whoever calls decides."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from http import HTTPStatus
from secrets import token_hex
from typing import TYPE_CHECKING, Final, TypeAlias

from rfbulk.core.model import BatchId, Entry, Outcome, ShardResult
from rfbulk.core.multipart import content_type, form_around
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.edge.lines import Call
from rfbulk.edge.transport import Streamed
from rfbulk.errors import ProtocolError, ServiceRefused, TroublePassing
from rfbulk.senders.bare import BarePacker
from rfbulk.senders.packing import EntryChanged, OutOfDescriptors

if TYPE_CHECKING:
    from rfbulk.core.imagecheck import ImageCheck
    from rfbulk.core.transfer import Shard
    from rfbulk.edge.api import ServiceApi
    from rfbulk.edge.threads import Rate
    from rfbulk.senders.attempts import Packer

ANSWER_SECONDS: Final = 60.0
SLOWEST_BYTES_PER_SECOND: Final = 16 << 10
"""How slow a line may be that an image goes over."""

LIMITED_SECONDS: Final = 3600.0
"""What a request gets besides where a rate is kept: it waits for the others."""

_NOT_TAKEN_IN: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
"""Answers of those that had no time for a request. After others of their kind something may have been stored."""


SinglePack: TypeAlias = "Callable[[Entry, bytearray, Call], Packer]"


def reading_files(roots: Sequence[bytes], check: Callable[[int], ImageCheck] | None) -> SinglePack:
    """Read files of this machine, with `check` whole images alone."""
    return lambda entry, buffer, _call: BarePacker(roots[entry.root], entry, buffer=buffer, check=check)


class SimpleSender:
    """Posts images. Memory: `chunk_bytes` for each in flight, whatever their size."""

    interpreters = 1

    def __init__(
        self,
        api: ServiceApi,
        pack: SinglePack,
        *,
        chunk_bytes: int,
        rate: Rate | None,
    ) -> None:
        self._api = api
        self._pack = pack
        self._chunk_bytes = chunk_bytes
        self._rate = rate

    def cpu_seconds(self) -> float:
        """Return none: how many at once are best is found by trying, since many share a commit, busy or not."""
        return 0.0

    async def post(
        self, shard: Shard, batch: BatchId, display_name: str, on_bytes: Callable[[int], None]
    ) -> ShardResult:
        """Read and post the one image of a shard, once. Whatever goes wrong with it is told in the result.

        Raises:
            SourceError: its root's folder cannot be opened, or its bucket not be read.
            NotAuthorised: the key is not taken, or its bucket may not be read.
        """
        return await _Post(self, shard, on_bytes).run(batch, display_name)

    def chunks(self, packer: Packer, call: Call) -> Iterator[memoryview]:
        """Read an image, a chunk at a time, at the rate that is allowed. Each is good until the next."""
        while chunk := packer.next_chunk():
            if self._rate is not None and (seconds := self._rate.due(len(chunk))):
                call.wait(seconds)
            yield chunk

    def packer(self, shard: Shard, call: Call) -> Packer:
        """Return what reads the image of a shard, until `call` is called off."""
        (entry,) = shard.entries
        buffer = bytearray(min(entry.size, self._chunk_bytes))
        return self._pack(entry, buffer, call)

    def answer_seconds(self, length: int) -> float:
        """Return what a request of so many bytes gets."""
        return ANSWER_SECONDS + length / SLOWEST_BYTES_PER_SECOND + (LIMITED_SECONDS if self._rate else 0.0)

    async def send(self, batch: BatchId, name: str, display_name: str, body: Streamed) -> None:
        """Make the request."""
        await self._api.post_image(batch, name, display_name, body, self.answer_seconds(body.length))


class _Post:
    """One request under way."""

    def __init__(self, sender: SimpleSender, shard: Shard, on_bytes: Callable[[int], None]) -> None:
        self._sender = sender
        self._shard = shard
        self._on_bytes = on_bytes
        self._call = Call(on_bytes)
        self._sent = 0
        self._is_whole = False

    async def run(self, batch: BatchId, display_name: str) -> ShardResult:
        (entry,) = self._shard.entries
        boundary = f"rfbulk-{token_hex(16)}"
        around = form_around(entry.name, boundary)
        length = entry.size + sum(map(len, around))
        body = Streamed(content_type(boundary), length, partial(self._chunks, around), self._call)
        try:
            await self._sender.send(batch, entry.name, display_name, body)
        except EntryChanged as change:
            return ShardResult(Outcome.CHANGED, changed={0: change.reason}, detail=change.detail)
        except OutOfDescriptors as error:
            return ShardResult(Outcome.BROKEN, detail=f"no further file can be opened: {error.strerror}")
        except BucketTrouble as trouble:
            return ShardResult(Outcome.BROKEN, detail=f"its bucket: {trouble}")
        except TroublePassing as trouble:
            return self._of_trouble(trouble)
        except ServiceRefused as refusal:
            return _of_refusal(refusal)
        except ProtocolError as fault:
            return ShardResult(Outcome.BROKEN, may_have_arrived=True, detail=str(fault))
        return ShardResult(Outcome.STORED, self._sent)

    def _chunks(self, around: tuple[bytes, bytes]) -> Iterator[bytes | memoryview]:
        yield around[0]
        with self._sender.packer(self._shard, self._call) as packer:
            for chunk in self._sender.chunks(packer, self._call):
                self._sent += len(chunk)
                yield chunk
                self._on_bytes(len(chunk))
        self._is_whole = True
        yield around[1]

    def _of_trouble(self, trouble: TroublePassing) -> ShardResult:
        was_refused = trouble.status in _NOT_TAKEN_IN
        return ShardResult(
            Outcome.BUSY if trouble.status else Outcome.BROKEN,
            self._sent,
            status=trouble.status,
            retry_after=trouble.retry_after,
            may_have_arrived=self._is_whole and not was_refused,
            detail=trouble.cause,
        )


def _of_refusal(refusal: ServiceRefused) -> ShardResult:
    """A conflict may be with what an earlier attempt has stored."""
    is_conflict = refusal.status == HTTPStatus.CONFLICT
    outcome = Outcome.TOO_LARGE if refusal.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE else Outcome.REFUSED
    return ShardResult(outcome, status=refusal.status, may_have_arrived=is_conflict, detail=refusal.cause)
