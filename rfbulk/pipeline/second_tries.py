"""Sends again what earlier runs have named as failed, and nothing else: from the checkpoint, without a scan.

| what failed | what becomes of it |
| --- | --- |
| a shard that the store refused, and of which nothing arrived | planned again, as in every run |
| a file that was quarantined: unreadable, changing, damaged | looked at, and planned again as it is now |
| a file that was sent, and that the service does not list | looked up once the service is quiet; planned if absent |
| a shard that may have arrived, refused or with another hash | the same; one that is there damaged stays failed |

What the service could not take in goes again in eighths, so that a file that spoils its shard is soon alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio.to_thread
import msgspec
from msgspec.structs import replace

from rfbulk.core.confirming import RowKind
from rfbulk.core.model import Entry, Refusal
from rfbulk.core.transfer import ARRIVED, PENDING, Shard, ShardState
from rfbulk.events import PhaseChanged, Warned
from rfbulk.pipeline.confirming import Baseline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rfbulk.core.forms import Form
    from rfbulk.core.model import RefusalReason
    from rfbulk.core.planning import Planner, SinglePlanner
    from rfbulk.pipeline.confirming import Confirmer
    from rfbulk.pipeline.ports import Ports
    from rfbulk.pipeline.tally import Tally

FILES_AT_ONCE = 500
PARTS = 8


@dataclass(frozen=True, slots=True)
class SecondTries:
    """Plans again what has failed. `planner` makes a planner: each group of files is planned by one of its own."""

    ports: Ports
    confirmer: Confirmer
    tally: Tally
    form: Form
    trailer: bytes
    planner: Callable[[], Planner | SinglePlanner]

    async def plan(self, baseline: Baseline) -> Baseline:
        """Plan it, and return the baseline from now on: what the service calls failed so far is of before.

        Raises:
            WaitTimeout: the service is never done with what it has.
        """
        checkpoint = self.ports.checkpoint
        still = await self._plan_quarantined()
        numbers = await checkpoint.failed_shards()
        if numbers:
            baseline = await self._look_up(numbers, baseline)
        totals = await checkpoint.totals()
        self.tally.take_stock(totals)
        self.tally.images_planned += still
        self.tally.images_seen, self.tally.is_scanned = self.tally.images_planned, True
        if not totals.count(PENDING | {ShardState.UNSURE}):
            self.ports.tell(Warned("nothing that failed can be sent again: nothing is sent"))
        if await checkpoint.fact("scan_finished") != "yes":
            self.ports.tell(Warned("the source was not yet read to its end: without --retry-failed the rest is sent"))
        return baseline

    # files that were never sent

    async def _plan_quarantined(self) -> int:
        """Plan what can be sent now, and return how many cannot."""
        after: tuple[int, bytes, str] = (-1, b"", "")
        count = 0
        while failed := await self.ports.checkpoint.quarantined_after(after, FILES_AT_ONCE):
            last, name = failed[-1]
            after = last.root, last.path, name
            looked_at = await anyio.to_thread.run_sync(self._look, failed, abandon_on_cancel=True)
            entries = [each for each in looked_at if isinstance(each, Entry)]
            planner = self.planner()
            shards = [*planner.add(entries), *planner.rest()]
            still = [each for each in looked_at if not isinstance(each, Entry)]
            await self.ports.checkpoint.plan_quarantined(shards, entries, still)
            for entry, reason, detail in still:
                self.tally.name_failed(Refusal(entry.root, entry.path, reason, detail), entry.name)
            count += len(still)
        return count

    def _look(self, failed: Sequence[tuple[Refusal, str]]) -> list[Entry | tuple[Entry, RefusalReason, str]]:
        """What each file is now, or why it still cannot be sent."""
        found: list[Entry | tuple[Entry, RefusalReason, str]] = []
        for refusal, name in failed:
            entry = Entry(refusal.root, refusal.path, name, 0, 0, 0)
            now = self.ports.source.refresh(entry)
            found.append(now if isinstance(now, Entry) else (entry, *now))
        return found

    # files that may be there

    async def _look_up(self, numbers: Sequence[int], baseline: Baseline) -> Baseline:
        self.ports.tell(PhaseChanged("deciding-unsure"))
        await self.confirmer.wait_until_quiet(baseline)
        await self.confirmer.listings.look_up(numbers)
        absent = await self.ports.checkpoint.absent()
        for number in numbers:
            shard = await self.ports.checkpoint.shard(number)
            await self._decide(shard, absent.get(number, set()))
        await self.ports.checkpoint.forget_matches()
        rows = await self.confirmer.listings.rows()
        failed = rows.others.get(RowKind.ERROR, 0)
        new = Baseline(baseline.images, {**baseline.rows, RowKind.ERROR: failed})
        await self.ports.checkpoint.record_fact("baseline", msgspec.json.encode(new).decode())
        return new

    async def _decide(self, shard: Shard, absent: set[str]) -> None:
        listed = tuple(entry for entry in shard.entries if entry.name not in absent)
        missing = tuple(entry for entry in shard.entries if entry.name in absent)
        if shard.state is ShardState.FAILED and shard.hash_failures and listed:
            return  # the store keeps what it has, and what it has is damaged
        settled = replace(shard, state=ShardState.SPLIT)
        if listed:
            state = shard.state if shard.state in ARRIVED else ShardState.SENT
            length = self.form.length(listed, self.trailer)
            settled = replace(shard, state=state, entries=listed, tar_bytes=length, detail="found in the listing")
        await self.ports.checkpoint.settle(settled, self._parts(missing))

    def _parts(self, missing: Sequence[Entry]) -> list[tuple[tuple[Entry, ...], int]]:
        most = -(-len(missing) // PARTS)
        parts: list[tuple[tuple[Entry, ...], int]] = []
        for start in range(0, len(missing), most or 1):
            planner = self.planner()
            parts += [*planner.add(list(missing[start : start + most])), *planner.rest()]
        return parts
