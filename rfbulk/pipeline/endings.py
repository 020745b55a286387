"""How a transfer ends: gently when it is stopped, and with one error when several meet."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

import anyio

from rfbulk.errors import RfbulkError
from rfbulk.events import TransferEnded

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rfbulk.events import OnEvent, TransferBegun
    from rfbulk.pipeline.ports import Clock

T = TypeVar("T")


async def unless_stopped(stop: anyio.Event, work: Callable[[], Awaitable[T]]) -> T | None:
    """Wait for the service, but no longer than until the transfer is stopped: nothing is in flight. None if it was."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_stopped, stop, tasks.cancel_scope)
        result = await work()
        tasks.cancel_scope.cancel()
        return result
    return None


async def cancel_when_stopped(stop: anyio.Event, scope: anyio.CancelScope) -> None:
    """Cancel a scope once the transfer is stopped."""
    await stop.wait()
    scope.cancel()


async def with_report(work: Callable[[], Awaitable[T]], attach: Callable[[RfbulkError], Awaitable[None]]) -> T:
    """Do all of a transfer, and return its report. The one error that ends it gets the report by `attach`.

    What ended it must not be hidden by a checkpoint that cannot be read any more: then there is no report.
    """
    error: BaseException
    try:
        return await work()
    except BaseExceptionGroup as group:
        error = gravest(group)
    except RfbulkError as ours:
        error = ours
    if isinstance(error, RfbulkError):
        with suppress(RfbulkError):
            await attach(error)
    raise error


@contextmanager
def told(
    tell: OnEvent, clock: Clock, begun: TransferBegun, ending: Callable[[], tuple[int, int, int]]
) -> Iterator[None]:
    """Tell that a transfer has begun, and how it ended. `ending` returns what is done, of how much, and failures."""
    began, error = clock.monotonic(), ""
    tell(begun)
    try:
        yield
    except RfbulkError as ours:
        error = str(ours)
        raise
    except BaseException as other:
        error = type(other).__name__
        raise
    finally:
        tell(TransferEnded(begun.kind, begun.batch_id, clock.monotonic() - began, *ending(), error))


def gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to raise of those that ended a transfer together: what is not ours hides behind nothing."""
    return min(_leaves(group), key=lambda error: (isinstance(error, Exception), isinstance(error, RfbulkError)))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
