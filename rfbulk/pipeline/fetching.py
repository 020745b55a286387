"""A group of remote files, brought home: attempts, and what follows from each. Every step is safe to repeat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from msgspec.structs import replace

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.exporting import MAX_TAKEN, Element, FailReason, MemberFile, Next, goes_alone, what_next
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchJob, FetchOutcome, FetchResult, Fingerprint, Landed, Move
from rfbulk.core.retry import RetryPolicy, next_delay
from rfbulk.errors import NoRoom, TroublePassing
from rfbulk.events import FetchRetried

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.pipeline.board import Underway
    from rfbulk.pipeline.export_ports import ExportPorts
    from rfbulk.pipeline.export_tally import ExportTally
    from rfbulk.pipeline.fresh_urls import FreshUrls, Wanted
    from rfbulk.pipeline.gate import Gate
    from rfbulk.pipeline.recording import Recorder


_OVERLOAD = frozenset({FetchOutcome.BUSY, FetchOutcome.BROKEN})


@dataclass(slots=True)
class After:
    """What follows for each of a group after an attempt."""

    done: list[tuple[Element, FetchResult]] = field(default_factory=list)
    archives: list[tuple[Wanted, FetchResult]] = field(default_factory=list)
    again: list[Wanted] = field(default_factory=list)
    later: list[tuple[Wanted, FetchResult]] = field(default_factory=list)
    fresh: list[tuple[Wanted, FetchResult]] = field(default_factory=list)
    elsewhere: list[Wanted] = field(default_factory=list)
    failed: list[tuple[Wanted, FailReason, str]] = field(default_factory=list)
    obstacle: NoRoom | None = None


@dataclass(slots=True)
class Fetcher:
    """Brings groups home. One for an export; `carry` runs once for each group in flight."""

    ports: ExportPorts
    target: bytes
    staging: bytes
    overwrite: bool
    policy: RetryPolicy
    gate: Gate
    tally: ExportTally
    fresh_urls: FreshUrls
    recorder: Recorder

    async def carry(self, group: list[Wanted]) -> None:
        """Bring each file of a group to its end, or leave it for a resume if its retry budget is used up.

        Raises:
            TroublePassing: nothing at all has got through for the whole budget.
            NoRoom: the disk is full.
            RfbulkError: what is final for the whole export.
        """
        first = group[0].element
        underway = self.tally.board.enter(first.id, first.name, len(group))
        try:
            while group:
                results = await self._attempt(group, underway)
                untried = group[len(results) :]
                after = self._sort(group, results)
                group = await self._follow(after, untried, underway)
        finally:
            self.tally.board.leave(first.id)

    async def _attempt(self, group: Sequence[Wanted], underway: Underway) -> list[FetchResult]:
        jobs = [self._job(wanted) for wanted in group]
        underway.rest()
        await self.gate.rest()
        underway.move(self.ports.clock.monotonic(), underway.attempt + 1)
        underway.name, underway.files = group[0].element.name, len(group)
        is_large = goes_alone(group[0].element.kind, group[0].element.name)

        def on_bytes(count: int) -> None:
            if not underway.bytes:
                self.ports.reach(Failpoint.FETCH_STARTED)
            underway.bytes += count
            self.tally.receive(count, is_large=is_large)

        results = await self.ports.receiver.fetch(jobs, on_bytes)
        underway.doing = "begin"
        self.ports.reach(Failpoint.FETCH_ENDED)
        return results

    def _job(self, wanted: Wanted) -> FetchJob:
        element = wanted.element
        may_replace = self.overwrite or element.restored
        return FetchJob(element.id, wanted.url, self.target, self.staging, element.path, element.kind, may_replace)

    def _sort(self, group: Sequence[Wanted], results: Sequence[FetchResult]) -> After:
        after = After()
        for wanted, result in zip(group, results, strict=False):  # what has no result was not tried
            decision, reason = what_next(wanted.element.kind, result.outcome, wanted.tries)
            match decision:
                case Next.DONE:
                    after.done.append((wanted.element, result))
                case Next.LAND:
                    after.archives.append((wanted, result))
                case Next.AGAIN:
                    wanted.tries.corrupt += 1
                    self.tally.retries[result.outcome] += 1
                    after.again.append(wanted)
                case Next.LATER:
                    self.tally.retries[f"store {result.status}" if result.status else "connection"] += 1
                    after.later.append((wanted, result))
                case Next.FRESH_URL:
                    self.tally.retries[result.outcome] += 1
                    after.fresh.append((wanted, result))
                case Next.ELSEWHERE:
                    after.elsewhere.append(wanted)
                case Next.STOP:
                    after.obstacle = self._no_room(result.detail)
                case Next.FAILED:
                    after.failed.append((wanted, reason or FailReason.REFUSED, _told(result)))
                case _:  # pragma: no cover
                    assert_never(decision)
        return after

    async def _follow(self, after: After, untried: list[Wanted], underway: Underway) -> list[Wanted]:
        """Do what follows, and return those to be tried again."""
        if after.done:
            await self.recorder.add_files(after.done)
        if after.obstacle is not None:
            raise after.obstacle
        if after.failed:
            await self._fail(after.failed)
        for wanted, result in after.archives:
            if not await self._land_archive(wanted, result):
                after.again.append(wanted)
        for wanted in after.elsewhere:
            await self._go_elsewhere(wanted)
        # a fresh URL that ends at once as well is trouble like any other
        later = after.later + [(wanted, result) for wanted, result in after.fresh if wanted.tries.fresh]
        underway.doing = "retry" if later else "begin"
        given_up = await self._wait(later) if later else set()
        fresh = [wanted for wanted, _ in after.fresh if wanted.element.id not in given_up]
        underway.doing = "grant" if fresh else "begin"
        lost = await self._renew(fresh) if fresh else set()
        late = [wanted for wanted, _ in after.later if wanted.element.id not in given_up]
        renewed = [wanted for wanted in fresh if wanted.element.id not in lost]
        # what is in trouble comes last: a receiver tries nothing behind it
        return [*after.again, *after.elsewhere, *renewed, *untried, *late]

    # waiting

    async def _wait(self, late: Sequence[tuple[Wanted, FetchResult]]) -> set[int]:
        """Wait before the next attempt. Return the files that are given up, since their budget is used up."""
        if any(result.outcome in _OVERLOAD for _, result in late):
            self.gate.slow_down(max(result.retry_after or 0.0 for _, result in late) or None)
        delays = {wanted.element.id: self._delay(wanted, result) for wanted, result in late}
        given_up = {number for number, delay in delays.items() if delay is None}
        for wanted, result in late:
            if wanted.element.id in given_up:
                self._give_up(wanted, result)
        delay = max((delay for delay in delays.values() if delay is not None), default=None)
        if delay is not None:
            wanted, result = next(each for each in late if each[0].element.id not in given_up)
            count = len(late) - len(given_up)
            self.ports.tell(FetchRetried(count, wanted.element.name, result.outcome, _told(result), delay))
            await self.ports.clock.sleep(delay)
        return given_up

    def _delay(self, wanted: Wanted, result: FetchResult) -> float | None:
        now, tries = self.ports.clock.monotonic(), wanted.tries
        if tries.failures == 0:
            tries.began = now
        tries.failures += 1
        return next_delay(
            self.policy,
            failures=tries.failures,
            elapsed=now - tries.began,
            retry_after=result.retry_after,
            jitter=self.ports.clock.jitter(),
        )

    def _give_up(self, wanted: Wanted, result: FetchResult) -> None:
        """Others got through meanwhile: this one alone is left. None did: the line is down.

        A rest beyond the budget, which all would have to keep, ends the export as well.
        """
        has_to_rest = (result.retry_after or 0.0) > self.policy.budget_seconds
        if has_to_rest or self.tally.last_success < wanted.tries.began:
            raise TroublePassing(
                "fetch",
                wanted.element.name,
                cause=_told(result),
                advice="run the same again to resume",
                status=result.status,
            )
        self.tally.given_up += 1

    # fresh URLs, other paths, failures

    async def _renew(self, fresh: list[Wanted]) -> set[int]:
        """Give them fresh URLs. Return those that are not listed any more: they have failed."""
        for wanted in fresh:
            wanted.tries.fresh += 1
        lost = await self.fresh_urls.renew(fresh)
        if lost:
            why = "its URL has ended, and the service does not list it any more"
            await self._fail([(wanted, FailReason.NOT_LISTED, why) for wanted in lost])
        return {wanted.element.id for wanted in lost}

    async def _go_elsewhere(self, wanted: Wanted) -> None:
        wanted.tries.taken += 1
        path = await self.ports.checkpoint.choose_other(wanted.element)
        self.ports.reach(Failpoint.OTHER_PATH_RECORDED)
        wanted.element = replace(wanted.element, path=path)

    async def _fail(self, failed: Sequence[tuple[Wanted, FailReason, str]]) -> None:
        await self.ports.checkpoint.record_failed([(wanted.element, reason, why) for wanted, reason, why in failed])
        self.ports.reach(Failpoint.FAILED_RECORDED)
        for wanted, reason, why in failed:
            element = wanted.element
            self.tally.name(ExportFailure(wanted.part.name, element.shard, element.name, reason, why))

    # archives

    async def _land_archive(self, wanted: Wanted, result: FetchResult) -> bool:
        """Choose where its members land, record that, and move them. False if it has to be fetched again."""
        members = await self.ports.checkpoint.plan_members(wanted.element, result)
        self.ports.reach(Failpoint.MEMBERS_RECORDED)
        obstacle = await self.land(wanted.element, members)
        if obstacle is None:
            return True
        if obstacle.outcome is FetchOutcome.UNWRITABLE or wanted.tries.corrupt:
            await self._fail([(wanted, FailReason.UNWRITABLE, obstacle.detail)])
            return True
        wanted.tries.corrupt += 1
        await self.ports.checkpoint.unstage(wanted.element)
        return False

    async def land(self, element: Element, members: Sequence[MemberFile]) -> Landed | None:
        """Move an archive's members to their places. None if all have landed, else what is in the way.

        What has landed stays where it is; the same again, or the archive fetched anew, goes on from there.

        Raises:
            NoRoom: the disk is full.
        """
        marks: dict[int, Fingerprint] = {}
        waiting = list(members)
        for _ in range(MAX_TAKEN):
            landed = await self.ports.receiver.land([self._move(element, member) for member in waiting])
            taken: list[MemberFile] = []
            for member, one in zip(waiting, landed, strict=True):
                if one.fingerprint is not None:
                    marks[member.number] = one.fingerprint
                elif one.outcome is FetchOutcome.TAKEN:
                    taken.append(member)
                elif one.outcome is FetchOutcome.NO_ROOM:
                    raise self._no_room(one.detail)
                else:
                    return one
            if not taken:
                self.ports.reach(Failpoint.MEMBERS_LANDED)
                await self.recorder.add_archive(element, marks)
                return None
            waiting = await self.ports.checkpoint.choose_others(element, taken)
            self.ports.reach(Failpoint.OTHER_PATH_RECORDED)
        return Landed(FetchOutcome.UNWRITABLE, detail="other files keep appearing where its members are to land")

    def _move(self, element: Element, member: MemberFile) -> Move:
        may_replace = self.overwrite or element.restored
        return Move(
            self.target, self.staging, member.staged, member.path, member.size, member.crc32c, overwrite=may_replace
        )

    def _no_room(self, detail: str) -> NoRoom:
        return NoRoom(
            "fetch into",
            self.target.decode("utf-8", "backslashreplace"),
            cause=detail or "the disk is full",
            advice="make room, then run the same again to resume",
        )


def _told(result: FetchResult) -> str:
    return result.detail or (f"the store answered {result.status}" if result.status else str(result.outcome))
