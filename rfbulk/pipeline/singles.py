"""One image's life where it is posted by itself: the service keeps all that it is given, so none is given twice.

Before its first byte an image is recorded as one that may have arrived (UNSURE). An answer, or the certainty that not
all of it was sent, takes that back; a lost answer and a killed process leave it. What is unsure in the end is looked
up by name in the batch before it is posted again.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from msgspec.structs import replace

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.model import BatchId, Entry, Outcome, Refusal, RefusalReason, ShardResult
from rfbulk.core.retry import RetryPolicy, next_delay
from rfbulk.core.transfer import MAX_CHANGES, Shard, ShardState
from rfbulk.errors import TroublePassing
from rfbulk.events import ShardRetried
from rfbulk.pipeline.trouble import FLUSH_SECONDS, Trouble

if TYPE_CHECKING:
    from rfbulk.pipeline.gate import Gate
    from rfbulk.pipeline.ports import Ports, SingleSender
    from rfbulk.pipeline.tally import Tally

_FINAL = {RefusalReason.UNREADABLE, RefusalReason.DAMAGED}


@dataclass(slots=True)
class SingleCarrier:
    """Carries images that travel alone through their lives. `carry` runs once for each in flight.

    ============================================ =========================================
    what an attempt came to                      what follows
    ============================================ =========================================
    stored                                       SENT
    an answer that it was not stored, busy       again after a wait
    not all of it was sent                       again after a wait
    all of it was sent, and no answer tells      UNSURE: decided at the end, from what is listed
    the file has changed                         looked at again, three times at the most
    refused                                      FAILED
    ============================================ =========================================
    """

    ports: Ports
    sender: SingleSender
    batch: BatchId
    display_name: str
    policy: RetryPolicy
    gate: Gate
    tally: Tally
    _changes: Counter[tuple[int, bytes]] = field(default_factory=Counter)

    async def carry(self, shard: Shard) -> None:
        """Bring an image to its end, or leave it for a resume if its retry budget is used up.

        Raises:
            TroublePassing: nothing at all has got through for the whole budget.
            RfbulkError: what is final for the whole upload.
        """
        trouble = Trouble()
        standing: Shard | None = shard
        while standing is not None:
            standing = await self._attempt(standing, trouble)

    async def _attempt(self, shard: Shard, trouble: Trouble) -> Shard | None:
        self.tally.board.at(shard.id).rest()
        await self.gate.rest()
        before = replace(shard, state=ShardState.PLANNED)
        shard = replace(shard, state=ShardState.UNSURE, attempts=shard.attempts + 1, detail="no answer came")
        await self.ports.checkpoint.update(shard)
        self.ports.reach(Failpoint.ATTEMPT_RECORDED)
        result = await self._post(shard, before)
        self.ports.reach(Failpoint.ANSWER_RECEIVED)
        if result.outcome is Outcome.STORED:
            await self._done(shard)
        elif result.may_have_arrived:
            await self._leave_unsure(shard, result)
        elif result.outcome is Outcome.CHANGED:
            return await self._look_again(before, result)
        elif result.outcome in {Outcome.BUSY, Outcome.BROKEN}:
            return await self._later(replace(before, attempts=shard.attempts), result, trouble)
        else:
            await self._fail(shard, result)
        return None

    async def _post(self, shard: Shard, before: Shard) -> ShardResult:
        underway, is_known = self.tally.board.at(shard.id), False
        underway.move(self.ports.clock.monotonic(), shard.attempts, shard.tar_bytes)

        def on_bytes(count: int) -> None:
            if not underway.bytes:
                self.ports.reach(Failpoint.BODY_STARTED)
            underway.bytes += count
            self.tally.move(count)

        try:
            result = await self.sender.post(shard, self.batch, self.display_name, on_bytes)
            is_known = True
        finally:
            self.tally.land(underway.bytes)
            underway.doing = "begin"
            if not is_known and underway.bytes < shard.tar_bytes:
                await self._record_nothing_arrived(before)
        return result

    async def _record_nothing_arrived(self, before: Shard) -> None:
        """A request that was cut short is not taken in."""
        with anyio.move_on_after(FLUSH_SECONDS, shield=True):
            await self.ports.checkpoint.update(before)

    async def _done(self, shard: Shard) -> None:
        await self.ports.checkpoint.update(replace(shard, state=ShardState.SENT, detail=""))
        self.ports.reach(Failpoint.SENT_RECORDED)
        self.tally.send(shard, self.ports.clock.monotonic(), is_verified=False)

    async def _leave_unsure(self, shard: Shard, result: ShardResult) -> None:
        await self.ports.checkpoint.update(replace(shard, detail=result.detail))
        self.ports.reach(Failpoint.UNSURE_RECORDED)
        self.tally.leave_unsure(shard, result.detail)
        self.gate.slow_down(result.retry_after)

    async def _later(self, shard: Shard, result: ShardResult, trouble: Trouble) -> Shard | None:
        await self.ports.checkpoint.update(shard)
        cause = f"api {result.status or 'connection'}"
        self.tally.retries[cause] += 1
        self.gate.slow_down(result.retry_after)
        now = self.ports.clock.monotonic()
        trouble.began = trouble.began if trouble.failures else now
        trouble.failures += 1
        delay = next_delay(
            self.policy,
            failures=trouble.failures,
            elapsed=now - trouble.began,
            retry_after=result.retry_after,
            jitter=self.ports.clock.jitter(),
        )
        if delay is None:
            self._give_up(shard, result, trouble)
            return None
        self.tally.retry(shard, cause)
        self.ports.tell(ShardRetried(shard.id, cause, result.detail, delay))
        await self.ports.clock.sleep(delay)
        return shard

    def _give_up(self, shard: Shard, result: ShardResult, trouble: Trouble) -> None:
        """Others got through meanwhile: this one alone is left. None did: the service is down."""
        has_to_rest = (result.retry_after or 0.0) > self.policy.budget_seconds
        if has_to_rest or self.tally.last_success < trouble.began:
            raise TroublePassing(
                "upload to",
                f"batch {self.batch}",
                cause=result.detail or "no connection",
                advice="run the same again to resume",
                status=result.status,
            )
        self.tally.given_up += 1
        self.tally.change(shard, "left", result.detail)

    async def _look_again(self, shard: Shard, result: ShardResult) -> Shard | None:
        (entry,) = shard.entries
        now = await anyio.to_thread.run_sync(self._look_at, entry, result, abandon_on_cancel=True)
        self.tally.retries["source changed"] += 1
        if isinstance(now, Entry):
            shard = replace(shard, entries=(now,), tar_bytes=now.size)
            await self.ports.checkpoint.repack(shard, [], [])
            self.ports.reach(Failpoint.REPACK_RECORDED)
            return shard
        reason, detail = now
        gone = replace(shard, state=ShardState.SPLIT, entries=(), tar_bytes=0)
        await self.ports.checkpoint.repack(gone, [(entry, reason, detail)], [])
        self.ports.reach(Failpoint.REPACK_RECORDED)
        self.tally.shards_planned -= 1
        self.tally.change(gone, "split", detail)
        self.tally.name_failed(Refusal(entry.root, entry.path, reason, detail), entry.name)
        return None

    def _look_at(self, entry: Entry, result: ShardResult) -> Entry | tuple[RefusalReason, str]:
        why = result.changed.get(0)
        if why in _FINAL:
            return why, result.detail
        self._changes[entry.root, entry.path] += 1
        if self._changes[entry.root, entry.path] >= MAX_CHANGES:
            return RefusalReason.KEEPS_CHANGING, f"it changed {MAX_CHANGES} times while it was being sent"
        return self.ports.source.refresh(entry)

    async def _fail(self, shard: Shard, result: ShardResult) -> None:
        (entry,) = shard.entries
        reason = RefusalReason.TOO_LARGE if result.outcome is Outcome.TOO_LARGE else RefusalReason.REFUSED_BY_SERVICE
        failed = replace(shard, state=ShardState.FAILED, detail=result.detail)
        await self.ports.checkpoint.fail_entries(failed, [(entry, reason, result.detail)])
        self.tally.fail(failed, reason, result.detail)
