"""Work that blocks, each piece in a thread of its own, which can be called off and never holds up its caller's end."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import anyio

if TYPE_CHECKING:
    from rfbulk.edge.idle_threads import IdleThreads
    from rfbulk.edge.lines import Call

T = TypeVar("T")

END_SECONDS = 5.0
"""What a thread gets to come back once its work was called off. One that hangs in a dead disk, or in the search for a
host's address, is left behind: its connection is cut, it does nothing more, and it ends when it wakes."""


class Rate(Protocol):
    """A limit on bytes per second, shared by all threads."""

    def due(self, count: int) -> float:
        """Return how many seconds `count` further bytes must wait."""


async def call_in_thread(
    work: Callable[[], T], call: Call, *, name: str = "rfbulk-thread", threads: IdleThreads | None = None
) -> T:
    """Do `work` in a thread, of `threads` or its own, and return what it returns, or raise what it raises.

    Cancelling calls off `call`, which `work` is to look at, and waits for the thread, for `END_SECONDS` at most.
    """
    ended = start_thread(work, name=name) if threads is None else _begun(work, threads.begin)
    try:
        await asyncio.wait([ended])
    except asyncio.CancelledError:
        call.call_off()
        ended.add_done_callback(_hear)
        with anyio.CancelScope(shield=True):
            await asyncio.wait([ended], timeout=END_SECONDS)
        raise
    return ended.result()


async def ended_of(ended: asyncio.Future[T]) -> T:
    """Wait for the end of a thread that must not be left behind, whatever is cancelled; return what it returns.

    A cancellation is heard when it has ended, and comes out then.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while not ended.done():
            try:
                await asyncio.wait([ended])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        ended.exception()  # nobody else asks for it
        raise cancelled
    return ended.result()


def start_thread(work: Callable[[], T], *, name: str) -> asyncio.Future[T]:
    """Start `work` in a thread of its own.

    Not in an executor's: those are joined when the interpreter exits, and one that hangs in a dead disk would keep
    the host program from ever ending. A thread costs less than a thousandth of the shard it sends.
    """

    def begin(run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=name, daemon=True).start()

    return _begun(work, begin)


def _begun(work: Callable[[], T], begin: Callable[[Callable[[], None]], None]) -> asyncio.Future[T]:
    ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    def run() -> None:
        try:
            result: object = work()
        except BaseException as error:  # noqa: BLE001 - raised again by whoever waits for the thread
            result = error
        settle(ended, result)

    begin(run)
    return ended


def settle(ended: asyncio.Future[Any], result: object) -> None:
    """End what a loop waits for, with a result or an error, from any thread. The first end counts."""
    settle_all([(ended, result)])


def settle_all(results: Iterable[tuple[asyncio.Future[Any], object]]) -> None:
    """The same for many at once: each loop is woken once."""
    of_loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], object]]] = {}
    for ended, result in results:
        of_loops.setdefault(ended.get_loop(), []).append((ended, result))
    for loop, those in of_loops.items():
        with contextlib.suppress(RuntimeError):  # the loop has closed: nobody waits
            loop.call_soon_threadsafe(_end_all, those)


def _end_all(results: list[tuple[asyncio.Future[Any], object]]) -> None:
    for ended, result in results:
        if ended.done():
            continue
        if isinstance(result, BaseException):
            ended.set_exception(result)
        else:
            ended.set_result(result)


def _hear(ended: asyncio.Future[T]) -> None:
    """Work that was called off ends with an error that nobody else asks for, or gives what nobody will close."""
    if not ended.cancelled() and ended.exception() is None:
        close = getattr(ended.result(), "close", None)
        if callable(close):
            close()
