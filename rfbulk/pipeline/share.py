"""What a batch shows of one share, while others fill it too: their images and shards are looked past."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.core.confirming import RowKind, Rows
from rfbulk.core.transfer import ARRIVED, ShardState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.confirming import Sent
    from rfbulk.pipeline.listing import Listings
    from rfbulk.pipeline.ports import Checkpoint


@dataclass(slots=True)
class Share:
    """Looks at a batch on behalf of those of its shards that this upload has sent.

    The batch's count is of everybody's images: it only tells when it is too early to walk all shards of everybody.
    Ours are known by their ids, and count their own images; where the service tells neither, names are looked up.
    """

    listings: Listings
    checkpoint: Checkpoint
    _whole: int = -1

    async def look(self, sent: Sent, last: tuple[int, Rows]) -> tuple[int, Rows]:
        """Return count and rows as if the batch held what it held before, and ours."""
        whole, before = await self.listings.count() or 0, self._whole
        self._whole = whole
        if whole < sent.baseline_images + sent.images and whole != before:
            return last
        rows = await self.listings.rows()
        is_over = not rows.ours.get(RowKind.PENDING, 0)
        if rows.listed and (rows.our_objects or not is_over):
            return sent.baseline_images + rows.our_objects, _ours(rows)
        found = (await self.checkpoint.totals()).count(ARRIVED) - await self._absent(None)
        return sent.baseline_images + found, _ours(rows) if rows.listed else Rows({RowKind.SUCCESS: sent.shards})

    async def unsure(self) -> tuple[int, Rows]:
        """Return what the service shows of the shards that arrived, and of those that may have."""
        rows = await self.listings.rows()
        if rows.listed:
            return rows.our_objects, _ours(rows)
        shards = await self.checkpoint.in_state(ShardState.UNSURE, limit=1000)
        return await self._absent([shard.id for shard in shards]), Rows()

    async def _absent(self, shards: Sequence[int] | None) -> int:
        await self.listings.look_up(shards)
        return sum(len(names) for names in (await self.checkpoint.absent()).values())


def _ours(rows: Rows) -> Rows:
    return Rows(rows.ours, {}, rows.our_objects)
