"""A checkpoint that was entered is left, whoever cancels, and however often."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from types import TracebackType

import anyio
import anyio.lowlevel
import pytest

from rfbulk.client.context import entered_in_thread
from tests.crash.commands import until

pytestmark = pytest.mark.anyio


@dataclass(slots=True)
class Slow:
    """Enters and leaves when it is let."""

    may_enter: threading.Event = field(default_factory=threading.Event)
    may_leave: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    said: list[str] = field(default_factory=list)
    fails: bool = False

    def __enter__(self) -> str:
        self.begun.set()
        assert self.may_enter.wait(10)
        if self.fails:
            raise LookupError("it cannot be entered")
        self.said.append("entered")
        return "inside"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self.may_leave.wait(10)
        self.said.append("left")


async def use(manager: Slow) -> str:
    async with entered_in_thread(manager) as entered:
        return entered


async def begun(manager: Slow) -> asyncio.Task[str]:
    task = asyncio.ensure_future(use(manager))
    await until(manager.begun.is_set)
    return task


async def test_it_is_entered_and_left() -> None:
    manager = Slow()
    manager.may_enter.set()
    manager.may_leave.set()
    assert await use(manager) == "inside"
    assert manager.said == ["entered", "left"]


@pytest.mark.parametrize("times", [1, 3])
async def test_a_task_that_is_cancelled_while_it_enters_leaves_what_it_entered(times: int) -> None:
    """`Task.cancel` reaches through shields, again and again."""
    manager = Slow()
    task = await begun(manager)
    for _ in range(times):
        task.cancel()
        await anyio.lowlevel.checkpoint()
    assert not task.done()
    manager.may_enter.set()
    await anyio.sleep(0.02)
    task.cancel()
    manager.may_leave.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert manager.said == ["entered", "left"]


async def test_what_could_not_be_entered_is_not_left() -> None:
    manager = Slow(fails=True)
    task = await begun(manager)
    task.cancel()
    await anyio.lowlevel.checkpoint()
    manager.may_enter.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert manager.said == []
    with pytest.raises(LookupError):
        await use(manager)


async def test_a_scope_that_is_cancelled_is_heard_behind_the_entering() -> None:
    manager = Slow()
    manager.may_leave.set()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(use, manager)
        await until(manager.begun.is_set)
        tasks.cancel_scope.cancel()
        manager.may_enter.set()
    assert manager.said == ["entered", "left"]
