"""The thread in which a cluster's client lives, so that it neither depends on the host's event loop nor holds it up."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

import anyio

from rfbulk.cluster.crew import Crew
from rfbulk.cluster.dask_client import ClusterLost, DaskClient, address_in, open_client, security_of
from rfbulk.cluster.local import LocalCluster, cores, local_cluster
from rfbulk.edge.threads import END_SECONDS, start_thread
from rfbulk.errors import TroublePassing

if TYPE_CHECKING:
    from rfbulk.cluster.attempts import Attempt
    from rfbulk.cluster.probing import Sample
    from rfbulk.core.clusters import ClusterOptions

T = TypeVar("T")
CLOSE_SECONDS: Final = 10.0
Connect: TypeAlias = Callable[[], Awaitable[DaskClient]]


class Link:
    """A crew, as other threads see it. Made by `open_link`."""

    def __init__(self, crew: Crew, loop: asyncio.AbstractEventLoop) -> None:
        self.crew = crew
        self._loop = loop

    @property
    def interpreters(self) -> int:
        """How many processes share the work."""
        return max(1, len(self.crew.desk.fit))

    @property
    def threads(self) -> int:
        """How many attempts they make at once."""
        return max(1, sum(mate.threads for mate in self.crew.desk.fit))

    def cpu_seconds(self) -> float:
        """Return the processor time of all that they have done."""
        return self.crew.cpu_seconds

    async def carry(self, attempt: Attempt) -> object:
        """Have an attempt made, and return what it came to. Cancelling cuts it, and waits until it has ended.

        Raises:
            OverflowError: it cannot be told.
            RfbulkError: as its worker raised it, or no worker can be told anything.
        """
        self._say(self.crew.take, attempt)
        try:
            await asyncio.wait([attempt.ended])
        except asyncio.CancelledError:
            self._say(self.crew.call_off, attempt)
            with anyio.CancelScope(shield=True):
                done, _ = await asyncio.wait([attempt.ended], timeout=END_SECONDS)
            if done:
                attempt.ended.exception()
            else:
                attempt.move_rest()
            raise
        result = attempt.ended.result()
        if result is None:
            raise AssertionError("nobody called it off")
        return result

    def _say(self, work: Callable[[Attempt], None], attempt: Attempt) -> None:
        try:
            self._loop.call_soon_threadsafe(work, attempt)
        except RuntimeError:  # its loop has closed
            attempt.lose("the cluster's client has ended", may_have_arrived=True)


@asynccontextmanager
async def open_link(
    options: ClusterOptions,
    sample: Sample,
    warn: Callable[[str], None],
    *,
    wait_seconds: float,
    rate: int | None = None,
) -> AsyncIterator[Link]:
    """Connect to a cluster, look at its workers, and yield what gives them work.

    `warn` is called in the caller's loop. A local cluster is started, and ends with the context.

    Raises:
        UsageError: the cluster cannot be used, or none of its workers fits.
        TroublePassing: it cannot be reached, or nobody has joined it within `wait_seconds`.
    """
    host = asyncio.get_running_loop()

    def tell(text: str) -> None:
        with contextlib.suppress(RuntimeError):  # the host's loop has closed
            host.call_soon_threadsafe(warn, text)

    thread = _Thread(options, sample, tell, wait_seconds, rate)
    ended = start_thread(thread.work, name="rfbulk-cluster")
    try:
        opened = asyncio.wrap_future(thread.opened)
        either: list[asyncio.Future[Any]] = [opened, ended]
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not opened.done():
            opened.cancel()
            ended.result()
            raise AssertionError("it ends only after it was opened")
        yield opened.result()
    finally:
        thread.stop()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([ended], timeout=CLOSE_SECONDS)
        if ended.done() and not ended.cancelled():
            ended.exception()  # it was raised above, or its work is done


async def with_client(
    options: ClusterOptions, warn: Callable[[str], None], work: Callable[[DaskClient, str], Awaitable[T]]
) -> T:
    """Do some work with a client, in a thread of its own, and return what it came to. `warn` is called in there.

    Raises:
        UsageError, TroublePassing: the cluster cannot be used, or not be reached; and what the work raises.
    """
    main: list[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any] | None]] = []

    async def serve() -> T:
        main.append((asyncio.get_running_loop(), asyncio.current_task()))
        async with _client_maker(options, warn) as connect:
            client = await connect()
            try:
                return await work(client, options.address)
            finally:
                await client.close()

    def run() -> T:
        with asyncio.Runner() as runner:
            return runner.run(serve())

    ended = start_thread(run, name="rfbulk-cluster")
    try:
        await asyncio.wait([ended])
    except asyncio.CancelledError:
        for loop, task in main:
            if task is not None:
                loop.call_soon_threadsafe(task.cancel)
        with anyio.CancelScope(shield=True):
            await asyncio.wait([ended], timeout=CLOSE_SECONDS)
        raise
    return ended.result()


class _Thread:
    """What the thread does from its beginning to its end."""

    def __init__(
        self,
        options: ClusterOptions,
        sample: Sample,
        warn: Callable[[str], None],
        wait_seconds: float,
        rate: int | None,
    ) -> None:
        import concurrent.futures  # noqa: PLC0415 - for one future

        self.opened: concurrent.futures.Future[Link] = concurrent.futures.Future()
        self._options = options
        self._sample = sample
        self._warn = warn
        self._wait_seconds = wait_seconds
        self._rate = rate
        self._loop: asyncio.AbstractEventLoop | None = None
        self._main: asyncio.Task[None] | None = None
        self._is_stopped = threading.Event()

    def work(self) -> None:
        """Serve until stopped. Raises what kept it from being opened."""
        with asyncio.Runner() as runner, contextlib.suppress(asyncio.CancelledError):
            runner.run(self._serve())

    def stop(self) -> None:
        """End it, from any thread."""
        self._is_stopped.set()
        if self._loop is not None and self._main is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._main.cancel)

    async def _serve(self) -> None:
        self._loop, self._main = asyncio.get_running_loop(), asyncio.current_task()
        if self._is_stopped.is_set():
            return
        async with _client_maker(self._options, self._warn) as connect:
            crew = Crew(connect, self._sample, self._warn, rate=self._rate)
            try:
                await _opened(crew, self._wait_seconds, _expected(self._options))
                self.opened.set_result(Link(crew, self._loop))
                await crew.run()
            finally:
                await crew.close()


async def _opened(crew: Crew, wait_seconds: float, expected: int) -> None:
    try:
        await crew.open(wait_seconds, expected)
    except ClusterLost as lost:
        raise TroublePassing("use", "the cluster", cause=f"it was lost at once: {lost}", advice="try again") from None


def _expected(options: ClusterOptions) -> int:
    """How many workers are known to come: those that were started here."""
    return (options.local_workers or cores()) if options.is_local else 1


@asynccontextmanager
async def _client_maker(
    options: ClusterOptions, warn: Callable[[str], None]
) -> AsyncIterator[Callable[[], Awaitable[DaskClient]]]:
    """Yield what opens a client, as often as the scheduler is lost. Everything is checked before anything is said."""
    security = security_of(options)
    local: LocalCluster | None = None
    address = address_in(options.address) if options.is_file else options.address
    async with contextlib.AsyncExitStack() as stack:
        if options.is_local:
            local = await stack.enter_async_context(local_cluster(options.local_workers))
            security = local.security
        elif warning := options.check(address):
            warn(warning)

        async def connect() -> DaskClient:
            where = local.address if local else address_in(options.address) if options.is_file else options.address
            if local is None:
                options.check(where)
            return await open_client(options, where, security)

        yield connect


__all__ = ["Link", "open_link"]
