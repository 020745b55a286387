"""One shard's life, carried out: grant, attempts, and what follows from each, every step durable before the next."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, assert_never

import anyio
import anyio.to_thread
from msgspec.structs import replace

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.forms import SHARDS, Form
from rfbulk.core.model import BatchId, Entry, Outcome, Refusal, RefusalReason, ShardJob, ShardResult
from rfbulk.core.planning import Planner, SinglePlanner, halves
from rfbulk.core.retry import RetryPolicy, next_delay
from rfbulk.core.transfer import MAX_CHANGES, Next, Shard, ShardState, has_expired, hash_differs, what_next
from rfbulk.errors import TroublePassing
from rfbulk.events import ShardRetried
from rfbulk.pipeline.retrying import persist
from rfbulk.pipeline.trouble import FLUSH_SECONDS, Look, Trouble

if TYPE_CHECKING:
    from collections.abc import Callable

    from rfbulk.core.model import Grant
    from rfbulk.pipeline.gate import Gate
    from rfbulk.pipeline.ports import Ports
    from rfbulk.pipeline.tally import Tally


@dataclass(slots=True)
class Carrier:
    """Carries shards through their lives. One for an upload; `carry` runs once for each shard in flight.

    `look` tells of a file why it is not what its name says, None if it is. It blocks. Where files travel alone it is
    asked before a grant is; else once a packer has found the first of a shard that is not.
    """

    ports: Ports
    batch: BatchId
    display_name: str
    policy: RetryPolicy
    gate: Gate
    tally: Tally
    planner: Planner | SinglePlanner
    trailer: bytes
    on_planned: Callable[[], None]
    form: Form = SHARDS
    look: Look | None = None
    _changes: Counter[tuple[int, bytes]] = field(default_factory=Counter)

    async def carry(self, shard: Shard) -> None:
        """Bring a pending shard to its end, or leave it for a resume if its retry budget is used up.

        Raises:
            TroublePassing: nothing at all has got through for the whole budget.
            RfbulkError: what is final for the whole upload.
        """
        trouble = Trouble()
        standing: Shard | None = shard
        while standing is not None:
            standing = await self._step(standing, trouble)

    async def _step(self, shard: Shard, trouble: Trouble) -> Shard | None:
        """One step of a shard's life. None if it has ended, or is left."""
        if shard.state is ShardState.GRANTED and has_expired(shard, self.ports.service.server_now()):
            return await self._expired(shard, trouble)
        if self.look is not None and not self.form.has_tars and not shard.grants:
            found = await anyio.to_thread.run_sync(self._look_into, shard.entries, abandon_on_cancel=True)
            if found:
                return await self._take_new_members(replace(shard, entries=()), found, [])
        if shard.grant is None:
            shard = await self._ask_for_grant(shard)
        limit = shard.grant.max_bytes if shard.grant else None
        if limit is not None and shard.tar_bytes > limit:
            return await self._fit(shard, limit)
        return await self._attempt(shard, trouble)

    # grants

    async def _ask_for_grant(self, shard: Shard) -> Shard:
        """The intent is durable before the request, so that a grant whose answer is lost is counted."""
        shard = replace(shard, grants=shard.grants + 1)
        await self.ports.checkpoint.update(shard)
        self.ports.reach(Failpoint.GRANT_INTENDED)
        underway = self.tally.board.at(shard.id)
        underway.rest()
        await self.gate.rest()
        underway.doing = "grant"
        unanswered = 0

        def on_trouble(error: TroublePassing) -> None:
            nonlocal unanswered
            unanswered += error.status == 0  # the service may have registered a shard that nobody will fill
            self._note_api_trouble(error)

        grant = await persist(
            partial(self._request_grant, shard),
            policy=self.policy,
            clock=self.ports.clock,
            tell=self.ports.tell,
            on_trouble=on_trouble,
        )
        self.ports.reach(Failpoint.GRANT_RECEIVED)
        self._learn_limit(grant)
        shard = replace(
            shard,
            state=ShardState.GRANTED,
            grant=grant,
            grants=shard.grants + unanswered,
            attempts=0,
            in_doubt=False,
            hash_failures=0,  # they were of another object
            object_path=grant.url.object_path,
        )
        await self.ports.checkpoint.update(shard)
        self.ports.reach(Failpoint.GRANT_RECORDED)
        self.tally.change(shard, "granted")
        return shard

    async def _request_grant(self, shard: Shard) -> Grant:
        if self.form.has_tars:
            return await self.ports.service.request_shard_grant(self.batch, self.display_name)
        return await self.ports.service.request_video_grant(self.batch, shard.entries[0].name, self.display_name)

    def _note_api_trouble(self, error: TroublePassing) -> None:
        self.tally.retries[f"api {error.status or 'connection'}"] += 1
        self.gate.slow_down(error.retry_after)

    def _learn_limit(self, grant: Grant) -> None:
        if grant.max_bytes is not None and grant.max_bytes < self.planner.max_bytes:
            self.planner.max_bytes = grant.max_bytes

    async def _expired(self, shard: Shard, trouble: Trouble) -> Shard | None:
        if shard.in_doubt:
            why = "the grant ended after an attempt that may have arrived"
            await self._leave_unsure(shard, ShardResult(Outcome.EXPIRED, detail=why))
            return None
        return await self._grant_again(shard, ShardResult(Outcome.EXPIRED, detail="its grant ended at once"), trouble)

    async def _grant_again(self, shard: Shard, result: ShardResult, trouble: Trouble) -> Shard | None:
        """At once the first time. Grants that go on ending, by a clock that is wrong, are trouble like any other."""
        self.tally.retries[result.outcome] += 1
        shard = await self._without_grant(shard)
        trouble.grants_ended += 1
        return shard if trouble.grants_ended == 1 else await self._wait(shard, result.outcome, result, trouble)

    async def _without_grant(self, shard: Shard) -> Shard:
        shard = replace(shard, state=ShardState.PLANNED, grant=None, attempts=0, in_doubt=False)
        await self.ports.checkpoint.update(shard)
        self.tally.change(shard, "planned", "its grant ended")
        return shard

    # attempts

    async def _attempt(self, shard: Shard, trouble: Trouble) -> Shard | None:
        before = shard
        shard = replace(shard, attempts=shard.attempts + 1)
        await self.ports.checkpoint.update(shard)
        self.ports.reach(Failpoint.ATTEMPT_RECORDED)
        self.tally.change(shard, "sending")
        result = await self._send(shard, before)
        self.ports.reach(Failpoint.ANSWER_RECEIVED)
        decision = what_next(shard, result)
        if result.may_have_arrived and decision is not Next.DONE:
            shard = replace(shard, in_doubt=True)
        match decision:
            case Next.DONE:
                await self._done(shard, result)
            case Next.AGAIN:
                return await self._again(shard, result)
            case Next.LATER:
                return await self._later(shard, result, trouble)
            case Next.NEW_GRANT:
                forbidden = shard.forbidden + (result.outcome is Outcome.FORBIDDEN)
                return await self._grant_again(replace(shard, forbidden=forbidden), result, trouble)
            case Next.SPLIT:
                await self._split(shard)
            case Next.REPACK:
                return await self._repack(shard, result)
            case Next.UNSURE:
                await self._leave_unsure(shard, result)
            case Next.FAILED:
                await self._fail(shard, result)
            case _:  # pragma: no cover
                assert_never(decision)
        return None

    async def _send(self, shard: Shard, before: Shard) -> ShardResult:
        if shard.grant is None:
            raise AssertionError("a shard is sent only under a grant")
        job = ShardJob(shard.id, self.ports.source.roots, shard.entries, self.trailer, shard.tar_bytes, shard.grant)
        underway = self.tally.board.at(shard.id)
        underway.rest()

        def on_bytes(count: int) -> None:
            if not underway.bytes:
                self.ports.reach(Failpoint.BODY_STARTED)
            underway.bytes += count
            self.tally.move(count)

        try:
            await self.gate.rest()
            underway.move(self.ports.clock.monotonic(), shard.attempts, shard.tar_bytes)
            return await self.ports.sender.send(job, on_bytes)
        except anyio.get_cancelled_exc_class():
            if underway.bytes < shard.tar_bytes:
                await self._record_nothing_arrived(before)
            raise
        finally:
            self.tally.land(underway.bytes)
            underway.doing = "begin"

    async def _record_nothing_arrived(self, before: Shard) -> None:
        """A body that was cut short is not kept by the store, so the attempt leaves no doubt behind."""
        with anyio.move_on_after(FLUSH_SECONDS, shield=True):
            await self.ports.checkpoint.update(before)

    # what follows

    async def _done(self, shard: Shard, result: ShardResult) -> None:
        """Where nothing keeps a second PUT from being indexed beside the first, the doubt stays on record."""
        verified = result.outcome is Outcome.STORED and result.stored_crc32c is not None
        doubt = shard.in_doubt and shard.grant is not None and not shard.grant.once_only
        shard = replace(shard, state=ShardState.SENT, grant=None, in_doubt=doubt, is_verified=verified)
        shard = replace(shard, etag=result.etag, crc32c=result.crc32c)
        await self.ports.checkpoint.update(shard)
        self.ports.reach(Failpoint.SENT_RECORDED)
        self.tally.send(shard, self.ports.clock.monotonic(), is_verified=verified)

    async def _again(self, shard: Shard, result: ShardResult) -> Shard:
        """Recorded at once: under a once-only grant the next answer is 412, which must not be taken for success.

        Something has arrived, if not what was sent: another grant would double it.
        """
        shard = replace(shard, hash_failures=shard.hash_failures + hash_differs(result), in_doubt=True)
        await self.ports.checkpoint.update(shard)
        self.tally.retries["hash differs"] += 1
        self.ports.tell(ShardRetried(shard.id, "hash differs", "the store holds other bytes than were sent", 0.0))
        return shard

    async def _later(self, shard: Shard, result: ShardResult, trouble: Trouble) -> Shard | None:
        cause = f"store {result.status}" if result.status else "connection"
        self.tally.retries[cause] += 1
        self.gate.slow_down(result.retry_after)
        return await self._wait(shard, cause, result, trouble)

    async def _wait(self, shard: Shard, cause: str, result: ShardResult, trouble: Trouble) -> Shard | None:
        now = self.ports.clock.monotonic()
        if trouble.failures == 0:
            trouble.began = now
        trouble.failures += 1
        delay = next_delay(
            self.policy,
            failures=trouble.failures,
            elapsed=now - trouble.began,
            retry_after=result.retry_after,
            jitter=self.ports.clock.jitter(),
        )
        if delay is None:
            await self._give_up(shard, result, trouble)
            return None
        self.tally.retry(shard, cause)
        self.ports.tell(ShardRetried(shard.id, cause, result.detail, delay))
        await self.ports.clock.sleep(delay)
        return shard

    async def _give_up(self, shard: Shard, result: ShardResult, trouble: Trouble) -> None:
        """Other shards got through meanwhile: this one alone is left. None did: the line is down.

        A rest beyond the budget, which all shards would have to keep, ends the upload as well.
        """
        if shard.in_doubt:
            await self.ports.checkpoint.update(shard)  # a later round of this run must know it
        has_to_rest = (result.retry_after or 0.0) > self.policy.budget_seconds
        if has_to_rest or self.tally.last_success < trouble.began:
            raise TroublePassing(
                "send",
                f"shard {shard.id} of {self.batch}",
                cause=result.detail or "no connection",
                advice="run the same again to resume",
                status=result.status,
            )
        self.tally.given_up += 1
        self.tally.change(shard, "left", result.detail)

    async def _split(self, shard: Shard) -> None:
        parts = [(entries, self.form.length(entries, self.trailer)) for entries in halves(shard.entries)]
        self.planner.max_bytes = min(self.planner.max_bytes, max(size for _, size in parts))
        await self.ports.checkpoint.split(replace(shard, state=ShardState.SPLIT, grant=None), parts)
        self.ports.reach(Failpoint.SPLIT_RECORDED)
        self.tally.shards_planned += 1
        self.tally.retries["too large"] += 1
        self.tally.change(shard, "split")
        self.on_planned()

    async def _fit(self, shard: Shard, limit: int) -> Shard | None:
        """Nothing was sent yet: what fits stays under the grant, the rest is planned anew."""
        planner = self.form.planner(max_images=self.planner.max_images, max_bytes=limit, trailer=self.trailer)
        parts = planner.add(shard.entries) + planner.rest()
        fitting = [part for part in parts if part[1] <= limit]
        alone = [entries[0] for entries, size in parts if size > limit]
        first, others = (fitting[0], fitting[1:]) if fitting else (((), 0), [])
        failures = [(entry, RefusalReason.TOO_LARGE, f"no grant of {limit} bytes holds it") for entry in alone]
        shard = replace(shard, entries=first[0], tar_bytes=first[1])
        return await self._take_new_members(shard, failures, others)

    async def _repack(self, shard: Shard, result: ShardResult) -> Shard | None:
        """Look at every member again in one go, not only at the one that stopped the attempt."""
        work = partial(self._look_again, shard.entries, result.changed)
        looked_at = await anyio.to_thread.run_sync(work, abandon_on_cancel=True)  # a dead disk, or line, may hang
        kept: list[Entry] = []
        failures: list[tuple[Entry, RefusalReason, str]] = []
        for entry, now in zip(shard.entries, looked_at, strict=True):
            if isinstance(now, Entry):
                kept.append(now)
            else:
                failures.append((entry, *now))
        self.tally.retries["source changed"] += 1
        entries = tuple(kept)
        shard = replace(shard, entries=entries, tar_bytes=self.form.length(entries, self.trailer))
        return await self._take_new_members(shard, failures, [])

    def _look_again(
        self, entries: tuple[Entry, ...], changed: dict[int, RefusalReason]
    ) -> list[Entry | tuple[RefusalReason, str]]:
        if RefusalReason.DAMAGED not in changed.values():
            return [self._look_at(entry, changed.get(place)) for place, entry in enumerate(entries)]
        faults = {entry: (why, told) for entry, why, told in self._look_into(entries)}
        again = {place: self._look_at(entries[place], why) for place, why in changed.items()}
        return [faults.get(entry) or again.get(place, entry) for place, entry in enumerate(entries)]

    def _look_into(self, entries: tuple[Entry, ...]) -> list[tuple[Entry, RefusalReason, str]]:
        found = ((entry, self.look(entry) if self.look else None) for entry in entries)
        return [(entry, *fault) for entry, fault in found if fault is not None]

    def _look_at(self, entry: Entry, why: RefusalReason | None) -> Entry | tuple[RefusalReason, str]:
        now = self.ports.source.refresh(entry)
        if why is None or not isinstance(now, Entry):
            return now
        if why is RefusalReason.UNREADABLE:
            return why, "its content cannot be read"
        self._changes[entry.root, entry.path] += 1
        if self._changes[entry.root, entry.path] >= MAX_CHANGES:
            return RefusalReason.KEEPS_CHANGING, f"it changed {MAX_CHANGES} times while it was being sent"
        return now

    async def _take_new_members(
        self,
        shard: Shard,
        failures: list[tuple[Entry, RefusalReason, str]],
        others: list[tuple[tuple[Entry, ...], int]],
    ) -> Shard | None:
        if not shard.entries:
            shard = replace(shard, state=ShardState.SPLIT, grant=None)
        elif shard.state is ShardState.GRANTED:
            shard = replace(shard, attempts=0, in_doubt=False)
        await self.ports.checkpoint.repack(shard, failures, others)
        self.ports.reach(Failpoint.REPACK_RECORDED)
        for entry, reason, detail in failures:
            self.tally.name_failed(Refusal(entry.root, entry.path, reason, detail), entry.name)
        if others:
            self.tally.shards_planned += len(others)
            self.on_planned()
        if shard.entries:
            return shard
        self.tally.shards_planned -= 1
        self.tally.change(shard, "split")
        return None

    async def _leave_unsure(self, shard: Shard, result: ShardResult) -> None:
        """But for a shard whose damaged copy is known to be there: its members may be listed, and are not sound."""
        if shard.hash_failures:
            await self._fail(shard, result)
            return
        await self.ports.checkpoint.update(replace(shard, state=ShardState.UNSURE, grant=None, detail=result.detail))
        self.ports.reach(Failpoint.UNSURE_RECORDED)
        self.tally.leave_unsure(shard, result.detail)

    async def _fail(self, shard: Shard, result: ShardResult) -> None:
        shard = replace(shard, hash_failures=shard.hash_failures + hash_differs(result))
        reason = RefusalReason.TOO_LARGE if result.outcome is Outcome.TOO_LARGE else RefusalReason.REFUSED_BY_SERVICE
        detail = _why_failed(shard, result)
        shard = replace(shard, state=ShardState.FAILED, grant=None, detail=detail)
        await self.ports.checkpoint.fail_entries(shard, [(entry, reason, detail) for entry in shard.entries])
        self.tally.fail(shard, reason, detail)


def _why_failed(shard: Shard, result: ShardResult) -> str:
    if shard.hash_failures:
        return "the store holds a damaged copy of its shard; --restart into a new batch sends it again"
    return result.detail or f"the store answered {result.status}"
