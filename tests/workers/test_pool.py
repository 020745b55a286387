"""Where shards are sent: here while the line is slow, in processes once this one is, and here again if those fail."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import anyio.lowlevel
import pytest

from rfbulk.core.model import Outcome, ShardJob, ShardResult
from rfbulk.senders.scaling import ScalingSender
from rfbulk.workers.pool import LOOK_SECONDS, MAX_RESTARTS, Pool
from rfbulk.workers.process import WorkerGone, WorkerProcess
from tests.edge import conftest as edge
from tests.senders.test_inline import ignore, until

if TYPE_CHECKING:
    from rfbulk.senders.inline import InlineSender

pytestmark = pytest.mark.anyio
serve, grant = edge.serve, edge.grant  # fixtures
HERE, THERE = ShardResult(Outcome.STORED, detail="here"), ShardResult(Outcome.STORED, detail="there")
JOB = cast("ShardJob", None)


class FakeInline:
    """Sends at once, and says what it cost."""

    interpreters = 1
    spent = 0.0

    async def send(self, _job: ShardJob, _on_bytes: Callable[[int], None]) -> ShardResult:
        return HERE

    def cpu_seconds(self) -> float:
        return self.spent

    def release(self) -> None:
        pass


class FakeProcess:
    """A sending process that dies when told to."""

    load = 0
    cpu_seconds = 1.0
    has_proved = True
    is_gone = False
    is_closed = False
    refuses: type[Exception] | None = None

    async def send(self, _job: ShardJob, _on_bytes: Callable[[int], None]) -> ShardResult:
        if self.is_gone:
            raise WorkerGone
        if self.refuses is not None:
            raise self.refuses
        return THERE

    def close(self) -> None:
        self.is_closed = True


class World:
    """A sender among fakes. `step` sends one shard after some time and work."""

    def __init__(self, *, most: int = 2, at_once: bool = False, running: int = 0) -> None:
        self.inline = FakeInline()
        self.started: list[FakeProcess] = []
        self.now = 0.0
        self.running = [FakeProcess() for _ in range(running)]
        self.pool = Pool(
            self.inline.cpu_seconds,
            self.start,
            most=most,
            at_once=at_once,
            running=cast("list[WorkerProcess]", self.running),
            now=lambda: self.now,
        )
        self.sender = ScalingSender(cast("InlineSender", self.inline), self.pool)

    def start(self, count: int) -> list[WorkerProcess]:
        fresh = [FakeProcess() for _ in range(count)]
        self.started += fresh
        return cast("list[WorkerProcess]", fresh)

    async def step(self, *, seconds: float = LOOK_SECONDS, cores: float = 1.0) -> str:
        self.now += seconds
        self.inline.spent += seconds * cores
        result = await self.sender.send(JOB, ignore)
        starting = self.pool._starting
        if starting is not None:
            await until(starting.done)
        return result.detail


@pytest.mark.parametrize("cores", [0.0, 0.3, 0.45])
async def test_a_line_that_is_slower_than_this_process_needs_no_other(cores: float) -> None:
    world = World()
    assert [await world.step(cores=cores) for _ in range(10)] == ["here"] * 10
    assert world.started == []
    assert world.sender.interpreters == 1


async def test_once_this_process_is_what_is_slow_others_take_over() -> None:
    world = World(most=3)
    assert [await world.step() for _ in range(4)] == ["here", "here", "there", "there"]
    assert len(world.started) == 3
    assert world.sender.interpreters == 3
    assert world.sender.cpu_seconds() == world.inline.spent + 3.0


async def test_a_moment_of_work_is_no_reason() -> None:
    world = World()
    assert [await world.step(seconds=LOOK_SECONDS / 10) for _ in range(8)] == ["here"] * 8
    assert world.started == []


async def test_processes_that_run_already_do_it_and_others_come_once_all_of_these_are_busy() -> None:
    world = World(most=4, running=2)
    assert [await world.step(cores=0.9) for _ in range(5)] == ["there"] * 5
    assert world.started == []
    assert [await world.step(cores=2.0) for _ in range(20)] == ["there"] * 20
    assert len(world.started) == 2


async def test_where_those_that_ran_already_are_gone_it_is_done_here() -> None:
    world = World(running=2)
    assert await world.step(cores=0.1) == "there"
    for each in world.running:
        each.is_gone = True
    assert [await world.step(cores=0.1) for _ in range(3)] == ["here"] * 3
    assert (world.sender.interpreters, world.started) == (1, [])


async def test_asked_for_processes_are_started_with_the_first_shard() -> None:
    world = World(at_once=True)
    assert [await world.step(cores=0.0) for _ in range(2)] == ["here", "there"]


async def test_one_core_alone_starts_none() -> None:
    world = World(most=0)
    assert {await world.step() for _ in range(9)} == {"here"}
    assert world.started == []


async def test_the_process_with_the_least_to_do_gets_the_shard() -> None:
    world = World(at_once=True)
    await world.step()
    world.started[0].load, world.started[1].is_gone = 5, False
    world.started[0].refuses = AssertionError
    assert await world.step() == "there"


async def test_a_process_that_died_is_replaced_a_few_times() -> None:
    world = World(at_once=True)
    await world.step()
    for _ in range(MAX_RESTARTS + 3):
        if alive := [each for each in world.started if not each.is_gone]:
            alive[0].is_gone = True
        await world.step()
    assert len(world.started) == 2 + MAX_RESTARTS
    while alive := [each for each in world.started if not each.is_gone]:
        alive[0].is_gone = True
    assert await world.step() == "here"


async def test_processes_that_cannot_work_here_are_tried_once() -> None:
    world = World(at_once=True)
    await world.step()
    for each in world.started:
        each.is_gone, each.has_proved = True, False
    assert {await world.step() for _ in range(5)} == {"here"}
    assert len(world.started) == 2


async def test_what_cannot_be_told_to_a_process_is_sent_here() -> None:
    world = World(at_once=True)
    await world.step()
    for each in world.started:
        each.refuses = OverflowError
    assert await world.step() == "here"


async def test_all_processes_end_with_the_sender_even_those_just_started() -> None:
    world = World(at_once=True)
    await world.sender.send(JOB, ignore)
    await world.pool.close()
    assert [each.is_closed for each in world.started] == [True, True]


@pytest.mark.parametrize("times", [1, 3])
async def test_processes_just_started_end_whoever_cancels_meanwhile(times: int) -> None:
    """A task's own cancel reaches through every shield, and cancels what it waits for."""
    world = World(at_once=True)
    may_start = threading.Event()

    def start(count: int) -> list[WorkerProcess]:
        may_start.wait(10)
        return world.start(count)

    world.pool._start = start
    world.pool.ready()
    closing = asyncio.ensure_future(world.pool.close())
    for _ in range(times):
        await anyio.lowlevel.checkpoint()
        closing.cancel()
    await anyio.lowlevel.checkpoint()
    may_start.set()
    with pytest.raises(asyncio.CancelledError):
        await closing
    assert [each.is_closed for each in world.started] == [True, True]
