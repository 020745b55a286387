"""What an audit needs of the outside, and all that it knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rfbulk.core.auditing import Books, Difference, Group, SentFile
    from rfbulk.core.model import BatchId
    from rfbulk.core.wire import BatchMetadata, BatchPart, Page, RemoteFile, ShardStatus
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock


class Listed(Protocol):
    """What the service says of a batch. Each call is one attempt."""

    async def batch(self, batch: BatchId) -> BatchMetadata | None:
        """Describe the batch, None if there is none."""

    async def count(self, batch: BatchId, part: str | None = None) -> int | None:
        """Count what the batch, or one of its parts, holds."""

    async def parts(self, batch: BatchId) -> tuple[BatchPart, ...]:
        """List the parts of a multipart batch."""

    async def shards_page(
        self, batch: BatchId, token: str | None = None, page_size: int | None = None
    ) -> Page[ShardStatus]:
        """List one page of shard statuses."""

    async def files_page(
        self, batch: BatchId, part: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[RemoteFile]:
        """List one page of files."""


class Book(Protocol):
    """Where all that is known of each name comes together. Its methods block."""

    def add_listed(self, names: Sequence[str]) -> None:
        """Take in names that the service lists."""

    def chunks(self, sources: frozenset[int]) -> Iterator[tuple[Books, list[Group]]]:
        """Give all names back: what agrees plainly as numbers, the rest as groups."""


class Account(Protocol):
    """One side that knows of files: a checkpoint, or a source. Its methods block."""

    def enter(
        self,
        is_stopped: Callable[[], bool],
        tell: Callable[[int], None],
        name: Callable[[Sequence[Difference]], None],
    ) -> None:
        """Put all that it knows into the book, telling how many; give `name` what is no name's business."""


@dataclass(frozen=True, slots=True)
class AuditPorts:
    """Everything outside that an audit needs.

    `sent` and `sources` are what checkpoints and sources know; the former are read once `pending` holds the shards that
    the service has not taken in yet. `look` looks at files that a scan has not met, and says
    of each what is true. `write` takes each difference, all of them.
    """

    service: Listed
    book: Book
    sent: Sequence[Account]
    sources: Sequence[Account]
    pending: set[str]
    look: Callable[[Sequence[SentFile]], Sequence[Difference | None]]
    write: Callable[[Sequence[Difference]], None]
    clock: Clock
    tell: OnEvent
