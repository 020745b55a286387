"""Calls of the API, said again while it is worth it. The one place in which such a decision is carried out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from rfbulk.core.retry import RetryPolicy, next_delay
from rfbulk.errors import TroublePassing
from rfbulk.events import RequestRetried

if TYPE_CHECKING:
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock

T = TypeVar("T")


async def persist(
    call: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    clock: Clock,
    tell: OnEvent,
    on_trouble: Callable[[TroublePassing], None] = lambda _error: None,
) -> T:
    """Make a call until it succeeds, fails for good, or the policy's budget is used up.

    Raises:
        TroublePassing: the last trouble, once the budget is used up.
        RfbulkError: whatever is final, at once.
    """
    started, failures = clock.monotonic(), 0
    while True:
        try:
            return await call()
        except TroublePassing as error:
            failures += 1
            delay = next_delay(
                policy,
                failures=failures,
                elapsed=clock.monotonic() - started,
                retry_after=error.retry_after,
                jitter=clock.jitter(),
            )
            on_trouble(error)
            if delay is None:
                raise
            tell(RequestRetried(error.operation, error.cause, delay))
        await clock.sleep(delay)
