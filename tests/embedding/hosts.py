"""Programs that embed rfbulk, in small: event loops of their own, cancellation at any await, and what must not stay."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvloop

from rfbulk.emulator import Emulator, EmulatorOptions

T = TypeVar("T")
LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
SETTLE_SECONDS = 10.0


@contextmanager
def service(options: EmulatorOptions, prepare: Callable[[Emulator], Awaitable[None]]) -> Iterator[Emulator]:
    """An emulator in a thread and loop of its own, so that no task of it is among the host's."""
    emulator, ready, done = Emulator(options), threading.Event(), threading.Event()

    async def serve() -> None:
        async with emulator:
            await prepare(emulator)
            ready.set()
            while not done.is_set():  # noqa: ASYNC110 - what ends it is no task of this loop
                await asyncio.sleep(0.01)

    thread = threading.Thread(target=asyncio.run, args=(serve(),), name="service")
    thread.start()
    assert ready.wait(SETTLE_SECONDS)
    for new_loop in LOOPS.values():  # libuv keeps a pipe for signals, from the first loop on
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(asyncio.sleep(0))
    try:
        yield emulator
    finally:
        done.set()
        thread.join()


@dataclass(frozen=True, slots=True)
class Belongings:
    """What a process holds besides memory."""

    threads: frozenset[str]
    descriptors: frozenset[str]
    children: frozenset[int]

    @staticmethod
    def now() -> Belongings:
        """What this process holds, but for the service's connections, which end when their clients have."""
        threads = frozenset(f"{each.name} {each.ident}" for each in threading.enumerate() if not _is_of_service(each))
        return Belongings(threads, frozenset(_descriptors()), frozenset(_children()))

    def more_than(self, earlier: Belongings) -> list[str]:
        """Name what has come since."""
        found = [*(self.threads - earlier.threads), *map(str, self.children - earlier.children)]
        return [*found, *(self.descriptors - earlier.descriptors)]


def _is_of_service(thread: threading.Thread) -> bool:
    """Whether it is one of anyio's for a loop that runs: that of a host is closed when this is asked."""
    loop = getattr(thread, "loop", None)
    return isinstance(loop, asyncio.AbstractEventLoop) and loop.is_running()


def _descriptors() -> Iterator[str]:
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            yield f"{path.name} {path.readlink()}"


def _children() -> Iterator[int]:
    for thread in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            yield from map(int, thread.read_text().split())


@contextmanager
def nothing_stays() -> Iterator[None]:
    """Fail if a thread, a process, a file or a socket is there that was not there before."""
    gc.collect()
    before = Belongings.now()
    yield
    ends_at = time.monotonic() + SETTLE_SECONDS
    while (stays := Belongings.now().more_than(before)) and time.monotonic() < ends_at:
        time.sleep(0.01)  # the service's side of a connection, and a thread that has told its result, need a moment
        gc.collect()
    assert not stays, f"what stays: {stays}"


@dataclass(slots=True)
class Host:
    """One event loop, used once. `cancel_at` cancels the call when all its tasks together wait for the n-th time."""

    loop: str
    cancel_at: int = 0
    waits: int = 0
    problems: list[str] = field(default_factory=list)
    task: asyncio.Task[Any] | None = None

    def run(self, call: Callable[[], Awaitable[T]]) -> T | None:
        """Make a call to its end, close the loop at once, and return its result, None if it was cancelled."""
        with asyncio.Runner(loop_factory=LOOPS[self.loop]) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda _loop, context: self.problems.append(repr(context)))
            result = runner.run(self._make(call))
        gc.collect()
        assert self.problems == []
        return result

    async def _make(self, call: Callable[[], Awaitable[T]]) -> T | None:
        loop = asyncio.get_running_loop()
        before = asyncio.all_tasks()
        loop.set_task_factory(self._new_task)
        task: asyncio.Task[T] = loop.create_task(_called(call))
        self.task = task
        await asyncio.wait([task])
        loop.set_task_factory(None)
        assert asyncio.all_tasks() == before, "a task stays"
        return None if task.cancelled() else task.result()

    def _new_task(
        self, loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T] | Generator[Any, None, T], **named: Any
    ) -> asyncio.Task[T]:
        assert asyncio.iscoroutine(coroutine)
        task = asyncio.Task(self._counted(coroutine), loop=loop, **named)
        task.add_done_callback(lambda _task: coroutine.close())  # one that was cancelled before it began
        return task

    async def _counted(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return await _Counted(coroutine, self._on_wait)

    def _on_wait(self) -> None:
        self.waits += 1
        if self.waits == self.cancel_at and self.task is not None:
            asyncio.get_running_loop().call_soon(self.task.cancel)


async def _called(call: Callable[[], Awaitable[T]]) -> T:
    return await call()


@dataclass(slots=True)
class _Counted(Awaitable[T]):
    """A coroutine, of which each wait is told."""

    coroutine: Coroutine[Any, Any, T]
    on_wait: Callable[[], None]

    def __await__(self) -> Generator[Any, Any, T]:
        step: Callable[[], Any] = lambda: self.coroutine.send(None)  # noqa: E731 - the step changes
        while True:
            try:
                waited_for = step()
            except StopIteration as ended:
                result: T = ended.value
                return result
            self.on_wait()
            try:
                given = yield waited_for
            except GeneratorExit:
                self.coroutine.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on as it is
                step = _throwing(self.coroutine, error)
            else:
                step = _sending(self.coroutine, given)


def _throwing(coroutine: Coroutine[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: coroutine.throw(error)


def _sending(coroutine: Coroutine[Any, Any, Any], value: object) -> Callable[[], Any]:
    return lambda: coroutine.send(value)


def points(total: int, count: int) -> list[int]:
    """So many of the waits of a call, spread over all of it; RFBULK_EMBEDDING_POINTS asks for more."""
    wanted = int(os.environ.get("RFBULK_EMBEDDING_POINTS", str(count)))
    return sorted({1 + total * number // wanted for number in range(wanted)})
