"""Decides shards that may have arrived: looks their members up by name, and plans again what is absent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from msgspec.structs import replace

from rfbulk.core.transfer import Shard, ShardState

if TYPE_CHECKING:
    from rfbulk.core.forms import Form
    from rfbulk.pipeline.confirming import Baseline, Confirmer
    from rfbulk.pipeline.ports import Ports
    from rfbulk.pipeline.tally import Tally
    from rfbulk.settings import OnUnsure


@dataclass(frozen=True, slots=True)
class UnsureShards:
    """What becomes of UNSURE shards, by the caller's choice."""

    ports: Ports
    confirmer: Confirmer
    tally: Tally
    choice: OnUnsure
    form: Form
    trailer: bytes

    async def decide(self, baseline: Baseline) -> bool:
        """Decide them all. True if some of their members are planned again."""
        shards = await self._all()
        if not shards or self.choice == "skip":
            return False
        absent = await self._absent(shards, baseline)
        plans_again = False
        for shard in shards:
            plans_again |= await self._decide_one(shard, absent.get(shard.id, set()))
        return plans_again

    async def _all(self) -> list[Shard]:
        shards: list[Shard] = []
        while page := await self.ports.checkpoint.in_state(ShardState.UNSURE, shards[-1].id if shards else 0):
            shards.extend(page)
        return shards

    async def _absent(self, shards: list[Shard], baseline: Baseline) -> dict[int, set[str]]:
        if self.choice == "reupload":
            return {shard.id: {entry.name for entry in shard.entries} for shard in shards}
        await self.confirmer.wait_until_quiet(baseline)
        await self.confirmer.listings.look_up([shard.id for shard in shards])
        return await self.ports.checkpoint.absent()

    async def _decide_one(self, shard: Shard, absent: set[str]) -> bool:
        listed = tuple(entry for entry in shard.entries if entry.name not in absent)
        missing = tuple(entry for entry in shard.entries if entry.name in absent)
        if not missing:
            await self.ports.checkpoint.update(replace(shard, state=ShardState.SENT, detail="found in the listing"))
        elif not listed:
            again = replace(shard, state=ShardState.PLANNED, attempts=0, in_doubt=False, object_path="")
            await self.ports.checkpoint.update(again)
            self.tally.change(again, "planned", "it has not arrived")
        else:
            sizes = [self.form.length(entries, self.trailer) for entries in (listed, missing)]
            state = replace(shard, state=ShardState.SENT, entries=listed, tar_bytes=sizes[0])
            await self.ports.checkpoint.repack(state, [], [(missing, sizes[1])])
            self.tally.shards_planned += 1
        self.tally.shards_unsure -= 1
        if listed:
            self.tally.change(replace(shard, entries=listed), "sent", "found in the listing")
            self.tally.images_sent += len(listed)
            self.tally.bytes_sent += sum(entry.size for entry in listed)
            self.tally.shards_sent += 1
        return bool(missing)
