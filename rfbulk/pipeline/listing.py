"""Walks through the service's listings, page by page, and compares them with what was sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rfbulk.core.confirming import RowKind, Rows, row_kind
from rfbulk.pipeline.paging import walk_pages
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.core.wire import BatchMetadata, RemoteFile, ShardStatus
    from rfbulk.pipeline.ports import Ports

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Listings:
    """The listings of one batch, each call retried by the policy."""

    ports: Ports
    batch_id: BatchId
    policy: RetryPolicy

    async def count(self) -> int | None:
        """What the batch holds, None if there is no batch."""
        return await self._persist(lambda: self.ports.service.count(self.batch_id))

    async def batch(self) -> BatchMetadata | None:
        """Describe the batch, None if there is none."""
        return await self._persist(lambda: self.ports.service.batch(self.batch_id))

    async def rows(self) -> Rows:
        """Summarise `/shards`. Rows that are ours and succeeded are recorded as indexed on the way."""
        rows = Rows()

        async def take(page: Sequence[ShardStatus]) -> None:
            ours = await self.ports.checkpoint.match_rows([row.shard_id for row in page])
            indexed: list[int] = []
            for row in page:
                kind = row_kind(row.status_type)
                rows.add(kind, row.objects, is_ours=row.shard_id in ours)
                if kind is RowKind.SUCCESS and row.shard_id in ours:
                    indexed.append(ours[row.shard_id])
            if indexed:
                await self.ports.checkpoint.mark_indexed(indexed)

        await self._walk_shards(take)
        return rows

    async def failed_rows(self, *, only_ours: bool = False) -> list[ShardStatus]:
        """Return the rows that failed, the first hundred of them; with `only_ours`, those that are known to be."""
        failed: list[ShardStatus] = []

        async def take(page: Sequence[ShardStatus]) -> None:
            wanted = [row for row in page if row_kind(row.status_type) is RowKind.ERROR]
            if only_ours and wanted:
                ours = await self.ports.checkpoint.match_rows([row.shard_id for row in wanted])
                wanted = [row for row in wanted if row.shard_id in ours]
            failed.extend(wanted[: 100 - len(failed)])

        await self._walk_shards(take)
        return failed

    async def look_up(self, shards: Sequence[int] | None) -> None:
        """Mark in the checkpoint which members of these shards (None: of all that were sent) the batch lists."""
        await self.ports.checkpoint.begin_look_up(shards)

        async def take(page: Sequence[RemoteFile]) -> None:
            await self.ports.checkpoint.mark_listed([file.file_name for file in page])

        await walk_pages(
            "list files of",
            self.batch_id,
            lambda token: self._persist(lambda: self.ports.service.files_page(self.batch_id, None, token)),
            take,
        )

    async def _walk_shards(self, take: Callable[[Sequence[ShardStatus]], Awaitable[None]]) -> None:
        await walk_pages(
            "list shards of",
            self.batch_id,
            lambda token: self._persist(lambda: self.ports.service.shards_page(self.batch_id, token)),
            take,
        )

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await persist(call, policy=self.policy, clock=self.ports.clock, tell=self.ports.tell)
