"""Waits for a batch that somebody else fills: until it holds what is expected, or stands still with nothing pending."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from rfbulk.core.notices import batch_subject
from rfbulk.core.polling import Pace
from rfbulk.core.readiness import QUIET_SECONDS, BatchState, Expected, Readiness, readiness
from rfbulk.errors import WaitTimeout
from rfbulk.events import ConfirmProgress, PhaseChanged
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.paging import walk_pages
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.core.wire import Page, ShardStatus
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock, Service

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BatchPorts:
    """Everything outside that waiting for a batch needs. `expected` is asked at each look: uploads go on meanwhile."""

    service: Service
    clock: Clock
    policy: RetryPolicy
    tell: OnEvent
    expected: Callable[[], Awaitable[Expected]]
    bell: Bell = field(default_factory=Bell)

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds, or the policy ends."""
        return await persist(call, policy=self.policy, clock=self.clock, tell=self.tell)


async def watch_batch(
    ports: BatchPorts,
    batch: BatchId,
    *,
    seconds: float,
    quiet_seconds: float = QUIET_SECONDS,
    patience_seconds: float | None = None,
) -> BatchState:
    """Look at the batch, ever more seldom while nothing changes, until it is ready or can never be.

    A notification, heard by the bell, only makes the next look come sooner. A batch that holds fewer files than are
    expected, with nothing pending, is not ready once nothing has changed for `patience_seconds` (None: never).

    Raises:
        WaitTimeout: it was not ready within `seconds`.
    """
    clock = ports.clock
    deadline, pace = clock.monotonic() + seconds, Pace(clock.monotonic())
    looking = _Looking(ports, batch)
    ports.tell(PhaseChanged("confirming"))
    last, changed_at = BatchState(-1), clock.monotonic()
    with ports.bell.listen(batch_subject(batch), clock) as ear:
        while True:
            state = await looking.look(await ports.expected())
            now = clock.monotonic()
            has_changed = state != last
            last, changed_at = state, now if has_changed else changed_at
            pace.spent(looking.requests, now, has_changed=has_changed)
            ports.tell(ConfirmProgress(state.count, state.expected or state.count, state.pending))
            verdict = readiness(state, is_quiet=now - changed_at >= quiet_seconds)
            is_over = patience_seconds is not None and now - changed_at >= patience_seconds
            if verdict is not Readiness.WAIT or (is_over and not state.is_filling and not state.pending):
                state.is_ready = verdict is Readiness.READY
                return state
            if now >= deadline:
                raise _timed_out(batch, state, seconds)
            at_least, at_most = pace.waits(now)
            left = max(0.05, deadline - now)
            if await ear.rest(min(at_least, left), min(at_most, left)):
                pace.hurry()


class _Looking:
    """Looks at one batch. Shards are listed only once the count does not rule out that it is ready."""

    def __init__(self, ports: BatchPorts, batch: BatchId) -> None:
        self._ports = ports
        self._batch = batch
        self._last_count: int | None = None
        self.requests = 0

    async def look(self, expected: Expected) -> BatchState:
        """Ask for the count, and for the shards where they can matter."""
        self.requests = 0
        count = await self._ask(partial(self._ports.service.count, self._batch))
        state = BatchState(count or 0, expected.files, expected.is_filling, expected.unused_grants)
        is_growing = count != self._last_count and (count or 0) < (expected.files or 0)
        self._last_count = count
        if count is None or is_growing:
            return state

        async def page_at(token: str | None) -> Page[ShardStatus]:
            return await self._ask(partial(self._ports.service.shards_page, self._batch, token))

        async def take(rows: Sequence[ShardStatus]) -> None:
            for row in rows:
                state.add(row)

        await walk_pages("list shards of", self._batch, page_at, take)
        return state

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        async def counted() -> T:
            self.requests += 1
            return await call()

        return await self._ports.persist(counted)


def _timed_out(batch: BatchId, state: BatchState, seconds: float) -> WaitTimeout:
    wanted = f" of {state.expected}" if state.expected is not None else ""
    cause = f"after {seconds:g} s it counts {state.count}{wanted} files and {state.pending} shards are pending"
    return WaitTimeout(
        "wait for",
        f"batch {batch}",
        cause=f"{cause}, and its upload has not come to an end" if state.is_filling else cause,
        advice="run the same again to go on waiting",
    )
