from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from rfbulk.edge import threads
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.threads import call_in_thread, start_thread
from tests.crash.commands import until

pytestmark = pytest.mark.anyio

NAME = "rfbulk-test"


def a_call() -> Call:
    return Call(lambda _count: None)


def own_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == NAME]


async def test_what_the_work_returns_comes_back_and_what_it_raises_too() -> None:
    def fail() -> None:
        raise KeyError("why")

    assert await call_in_thread(lambda: threading.current_thread().name, a_call(), name=NAME) == NAME
    with pytest.raises(KeyError, match="why"):
        await call_in_thread(fail, a_call(), name=NAME)


async def test_cancelling_calls_the_work_off_and_waits_for_it() -> None:
    call, begun, ended = a_call(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        try:
            call.wait(60)
        except CalledOff:
            ended.set()
            raise

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: call_in_thread(work, call, name=NAME))
        await anyio.to_thread.run_sync(begun.wait)
        group.cancel_scope.cancel()
    assert ended.is_set()


async def test_work_that_does_not_hear_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "END_SECONDS", 0.02)
    begun, ends = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        ends.wait()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: call_in_thread(hang, a_call(), name=NAME))
            await anyio.to_thread.run_sync(begun.wait)
            group.cancel_scope.cancel()
    (thread,) = own_threads()
    assert thread.daemon
    ends.set()
    thread.join(5)


async def test_a_thread_that_outlives_its_loop_ends_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    ends = threading.Event()

    async def leave() -> None:
        start_thread(ends.wait, name=NAME)

    await anyio.to_thread.run_sync(lambda: asyncio.run(leave()))
    (thread,) = own_threads()
    ends.set()
    await anyio.to_thread.run_sync(thread.join)
    assert caplog.text == ""


LEAVING = """
import asyncio, threading
from rfbulk.edge.threads import start_thread

def hang():
    begun.set()
    threading.Event().wait()

async def main():
    global begun
    begun = threading.Event()
    attempt = start_thread(hang, name="rfbulk-test")
    await asyncio.to_thread(begun.wait)
    return attempt

asyncio.run(main())
print("left")
"""


@pytest.mark.slow
def test_a_thread_that_hangs_does_not_keep_the_host_from_its_exit() -> None:
    """Those of an executor are joined when the interpreter exits, for ever if need be."""
    ended = subprocess.run([sys.executable, "-c", LEAVING], capture_output=True, timeout=30, check=False, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "left\n", "")


async def test_what_comes_of_work_that_was_called_off_is_closed() -> None:
    """Open folders that nobody has would stay open."""
    begun, goes_on, closed = threading.Event(), threading.Event(), threading.Event()

    class Opened:
        def close(self) -> None:
            closed.set()

    def work() -> Opened:
        begun.set()
        goes_on.wait(10)
        return Opened()

    task = asyncio.ensure_future(call_in_thread(work, a_call(), name=NAME))
    await until(begun.is_set)
    task.cancel()
    await anyio.lowlevel.checkpoint()
    goes_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(closed.is_set)
