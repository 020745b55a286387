"""Waits until the service has taken in all that was sent, and finds out what it has not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from rfbulk.core.confirming import FIRST_WAIT, RowKind, Rows, Sent, Verdict, judge, next_wait
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.model import Refusal, RefusalReason
from rfbulk.core.transfer import ARRIVED, ShardState
from rfbulk.errors import WaitTimeout
from rfbulk.events import ConfirmProgress

if TYPE_CHECKING:
    from rfbulk.core.report import Totals
    from rfbulk.pipeline.listing import Listings
    from rfbulk.pipeline.ports import Ports
    from rfbulk.pipeline.share import Share
    from rfbulk.pipeline.tally import Tally

MAX_DOUBLED_NAMED = 1000
PATIENCE = 10
"""Quiet periods without any change until a shard that the service does not show, or shows as pending, is lost."""


class Baseline(msgspec.Struct, frozen=True):
    """What the batch showed before this upload sent anything."""

    images: int = 0
    rows: dict[RowKind, int] = {}


class Confirmation(msgspec.Struct):
    """What the wait came to. `images` is what the service counts of this upload."""

    is_confirmed: bool
    images: int
    extra: int = 0
    doubled: list[str] = []
    failed_shards: int = 0
    detail: str = ""


async def baseline_of(ports: Ports, listings: Listings) -> Baseline:
    """Return what the batch showed before the first shard was sent, asking only the first time."""
    recorded = await ports.checkpoint.fact("baseline")
    if recorded is not None:
        return msgspec.json.decode(recorded, type=Baseline)
    count = await listings.count()
    rows = await listings.rows() if count is not None else Rows()
    baseline = Baseline(count or 0, rows.others)
    await ports.checkpoint.record_fact("baseline", msgspec.json.encode(baseline).decode())
    return baseline


@dataclass(slots=True)
class Confirmer:
    """Looks at the service, ever more seldom while nothing changes, until the verdict is in."""

    ports: Ports
    listings: Listings
    tally: Tally
    quiet_seconds: float
    wait_seconds: float
    compare_names: bool
    has_rows: bool = True
    """Whether the service lists a row for each shard."""
    share: Share | None = None
    """What tells our images and shards from those of others that fill the batch meanwhile, None if nobody does."""

    async def confirm(self, baseline: Baseline) -> Confirmation:
        """Wait for the verdict and record it.

        Raises:
            WaitTimeout: the service was not done in time.
        """
        self.ports.reach(Failpoint.CONFIRM_STARTED)
        await self.ports.checkpoint.forget_matches()
        totals = await self.ports.checkpoint.totals()
        sent = await self._what_was_sent(totals, baseline)
        count, _, verdict = await self._wait(sent)
        result = Confirmation(verdict is Verdict.CONFIRMED, max(0, count - baseline.images))
        # a count of what was accepted does not show what was indexed twice: there the names must
        if verdict is Verdict.CONFIRMED and not self.compare_names and not sent.may_repeat:
            await self.ports.checkpoint.mark_indexed(None)
        else:
            await self._compare_names(result, verdict, count - baseline.images - sent.images)
        if result.is_confirmed:
            if sent.may_repeat:
                await self.ports.checkpoint.end_doubts()
            await self.ports.checkpoint.record_fact("confirmed", "yes")
            self.ports.reach(Failpoint.CONFIRMED)
        return result

    async def wait_until_quiet(self, baseline: Baseline) -> None:
        """Wait until the service is done with what it has, so that what it does not list then is not there.

        A shard that stays pending without any change for ten times the quiet period was never filled.

        Raises:
            WaitTimeout: it is never done, as in a batch that others go on filling.
        """
        await self.ports.checkpoint.forget_matches()
        clock, wait = self.ports.clock, FIRST_WAIT
        deadline = clock.monotonic() + self.wait_seconds
        last: tuple[int, Rows] | None = None
        changed_at = clock.monotonic()
        while True:
            seen = await self._look_at_unsure()
            has_changed = seen != last
            if has_changed:
                last, changed_at = seen, clock.monotonic()
            quiet_for = clock.monotonic() - changed_at
            still_pending = _pending(seen[1]) - (0 if self.share else baseline.rows.get(RowKind.PENDING, 0))
            if quiet_for >= self.quiet_seconds * (1 if still_pending <= 0 else PATIENCE):
                return
            if clock.monotonic() >= deadline:
                raise self._never_quiet()
            await clock.sleep(min(wait, self.quiet_seconds))
            wait = next_wait(wait, has_changed=has_changed)

    async def _what_was_sent(self, totals: Totals, baseline: Baseline) -> Sent:
        _, not_taken_in = await self.ports.checkpoint.failure_counts()
        failed = totals.images.get(ShardState.FAILED, 0)
        return Sent(
            images=totals.count(ARRIVED) - max(0, not_taken_in - failed),
            shards=totals.shard_count(ARRIVED) if self.has_rows else 0,
            baseline_images=baseline.images,
            baseline=baseline.rows if self.share is None else {},
            unfilled=max(0, totals.grants - totals.shard_count(ARRIVED)),  # single images go without grants
            may_repeat=totals.repeated_shards > 0,
        )

    async def _wait(self, sent: Sent) -> tuple[int, Rows, Verdict]:
        clock, wait = self.ports.clock, FIRST_WAIT
        deadline = clock.monotonic() + self.wait_seconds
        count, rows, changed_at = -1, Rows(), clock.monotonic()
        while True:
            before = (count, rows)
            count, rows = await self._look(count, rows, sent)
            now = clock.monotonic()
            has_changed = (count, rows) != before
            changed_at = now if has_changed else changed_at
            patience = 1 if _shown(rows) - sum(sent.baseline.values()) >= sent.shards else PATIENCE
            verdict = judge(sent, count, rows, is_quiet=now - changed_at >= self.quiet_seconds * patience)
            self.ports.tell(ConfirmProgress(count - sent.baseline_images, sent.images, _pending(rows)))
            if verdict is not Verdict.WAIT:
                return count, rows, verdict
            if now >= deadline:
                raise self._timed_out(sent, count, rows)
            await clock.sleep(min(wait, max(0.05, deadline - now)))
            wait = next_wait(wait, has_changed=has_changed)

    async def _look(self, last_count: int, last_rows: Rows, sent: Sent) -> tuple[int, Rows]:
        """Rows are many pages of a large batch: they are walked once the count is reached, or stands still."""
        if self.share is not None:
            return await self.share.look(sent, (last_count, last_rows))
        count = await self.listings.count() or 0
        if count < sent.baseline_images + sent.images and count != last_count:
            return count, last_rows
        return count, await self.listings.rows()

    async def _look_at_unsure(self) -> tuple[int, Rows]:
        if self.share is not None:
            return await self.share.unsure()
        return await self.listings.count() or 0, await self.listings.rows()

    def _timed_out(self, sent: Sent, count: int, rows: Rows) -> WaitTimeout:
        counted = f"{count - sent.baseline_images} of {sent.images} images"
        return WaitTimeout(
            "confirm",
            f"batch {self.listings.batch_id}",
            cause=f"after {self.wait_seconds:g} s the service counts {counted}, {_pending(rows)} shards are pending",
            advice="all is stored: run the same again to go on waiting",
        )

    def _never_quiet(self) -> WaitTimeout:
        return WaitTimeout(
            "decide",
            f"what may have arrived in batch {self.listings.batch_id}",
            cause=f"after {self.wait_seconds:g} s the service still takes in images",
            advice="run the same again once nobody else fills the batch, or with --on-unsure skip",
        )

    async def _compare_names(self, result: Confirmation, verdict: Verdict, difference: int) -> None:
        await self.listings.look_up(None)
        is_short, is_shared = verdict is Verdict.SHORT, self.share is not None
        failed_rows = await self.listings.failed_rows(only_ours=is_shared) if is_short else []
        detail = "; ".join(sorted({row.metadata for row in failed_rows if row.metadata}))[:300]
        absent = await self.ports.checkpoint.absent()
        for number, names in absent.items():
            await self._name_absent(number, names, detail)
        result.doubled = await self.ports.checkpoint.doubled(MAX_DOUBLED_NAMED)
        missing = sum(len(names) for names in absent.values())
        result.failed_shards = len(failed_rows)
        result.detail = detail
        result.extra = max(0, difference + missing) if verdict is Verdict.EXTRA or result.doubled else 0
        result.is_confirmed = not (absent or result.doubled or result.extra or failed_rows)
        if verdict is not Verdict.EXTRA:
            await self.ports.checkpoint.mark_indexed(None)

    async def _name_absent(self, number: int, names: set[str], detail: str) -> None:
        shard = await self.ports.checkpoint.shard(number)
        why = detail or "the service was sent it and does not list it"
        lost = [(entry, RefusalReason.NOT_LISTED, why) for entry in shard.entries if entry.name in names]
        await self.ports.checkpoint.fail_entries(shard, lost)
        for entry, reason, text in lost:
            self.tally.name_failed(Refusal(entry.root, entry.path, reason, text), entry.name)


def _pending(rows: Rows) -> int:
    return rows.ours.get(RowKind.PENDING, 0) + rows.others.get(RowKind.PENDING, 0)


def _shown(rows: Rows) -> int:
    return sum(rows.ours.values()) + sum(rows.others.values())
