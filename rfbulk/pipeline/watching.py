"""Waits for a batch that somebody else fills: until it holds what is expected, or stands still with nothing pending."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import msgspec

from rfbulk.core.confirming import FIRST_WAIT, RowKind, next_wait, row_kind
from rfbulk.errors import WaitTimeout
from rfbulk.events import ConfirmProgress
from rfbulk.pipeline.paging import walk_pages
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.core.wire import Page, ShardStatus
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock, Service

QUIET_SECONDS = 15.0
MAX_FAILED_NAMED = 100


class BatchState(msgspec.Struct):
    """What a batch shows: how many files are counted, its shards by kind, and the ids of those that failed."""

    count: int = 0
    shards: dict[RowKind, int] = {}
    failed: list[tuple[str, str]] = []

    def is_ready(self, expect: int | None, *, is_quiet: bool) -> bool:
        """Tell whether nothing is pending and the expected number is there, or the count stands still."""
        if self.shards.get(RowKind.PENDING, 0):
            return False
        return self.count >= expect if expect is not None else is_quiet and self.count > 0


async def watch_batch(
    service: Service,
    batch: BatchId,
    clock: Clock,
    policy: RetryPolicy,
    *,
    expect: int | None,
    seconds: float,
    tell: OnEvent,
) -> BatchState:
    """Look at the batch, ever more seldom while nothing changes, until it is ready.

    Raises:
        WaitTimeout: it was not ready within `seconds`.
    """
    deadline, wait = clock.monotonic() + seconds, FIRST_WAIT
    last, changed_at = BatchState(-1), clock.monotonic()
    while True:
        state = await _look(service, batch, clock, policy, tell)
        now = clock.monotonic()
        has_changed = state != last
        last, changed_at = state, now if has_changed else changed_at
        tell(ConfirmProgress(state.count, expect or state.count, state.shards.get(RowKind.PENDING, 0)))
        if state.is_ready(expect, is_quiet=now - changed_at >= QUIET_SECONDS):
            return state
        if now >= deadline:
            raise _timed_out(batch, state, expect, seconds)
        await clock.sleep(min(wait, max(0.05, deadline - now)))
        wait = next_wait(wait, has_changed=has_changed)


async def _look(service: Service, batch: BatchId, clock: Clock, policy: RetryPolicy, tell: OnEvent) -> BatchState:
    count = await persist(partial(service.count, batch), policy=policy, clock=clock, tell=tell)
    state = BatchState(count or 0)

    async def take(rows: Sequence[ShardStatus]) -> None:
        for row in rows:
            kind = row_kind(row.status_type)
            state.shards[kind] = state.shards.get(kind, 0) + 1
            if kind is RowKind.ERROR and len(state.failed) < MAX_FAILED_NAMED:
                state.failed.append((row.shard_id, row.metadata or row.status_name))

    async def page_at(token: str | None) -> Page[ShardStatus]:
        return await persist(partial(service.shards_page, batch, token), policy=policy, clock=clock, tell=tell)

    await walk_pages("list shards of", batch, page_at, take)
    return state


def _timed_out(batch: BatchId, state: BatchState, expect: int | None, seconds: float) -> WaitTimeout:
    wanted = f" of {expect}" if expect is not None else ""
    pending = state.shards.get(RowKind.PENDING, 0)
    return WaitTimeout(
        "wait for",
        f"batch {batch}",
        cause=f"after {seconds:g} s it counts {state.count}{wanted} files and {pending} shards are pending",
        advice="run the same again to go on waiting",
    )
