"""Where shards are sent: here while the line is slow, in processes once this one is, and here again if those fail."""

from __future__ import annotations

import hashlib
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import anyio
import pytest

from rfbulk.core.model import Entry, Outcome, ShardJob, ShardResult
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.transport import open_transport
from rfbulk.senders.processes import SendingProcess, WorkerGone
from rfbulk.senders.scaling import LOOK_SECONDS, MAX_RESTARTS, ScalingSender, open_scaling_sender
from tests.edge import conftest as edge
from tests.senders.test_inline import OPTIONS, ignore, job_of, until

if TYPE_CHECKING:
    from rfbulk.senders.inline import InlineSender
    from tests.edge.conftest import Connection, MakeGrant, Serve

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

    def __init__(self, *, most: int = 2, at_once: bool = False) -> None:
        self.inline = FakeInline()
        self.started: list[FakeProcess] = []
        self.now = 0.0
        self.sender = ScalingSender(
            cast("InlineSender", self.inline), self.start, most=most, at_once=at_once, now=lambda: self.now
        )

    def start(self, count: int) -> list[SendingProcess]:
        fresh = [FakeProcess() for _ in range(count)]
        self.started += fresh
        return cast("list[SendingProcess]", fresh)

    async def step(self, *, seconds: float = LOOK_SECONDS, cores: float = 1.0) -> str:
        self.now += seconds
        self.inline.spent += seconds * cores
        result = await self.sender.send(JOB, ignore)
        starting = self.sender._starting
        if starting is not None:
            await until(starting.done)
        return result.detail


@pytest.mark.parametrize("cores", [0.0, 0.3, 0.55])
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
    await world.sender.close()
    assert [each.is_closed for each in world.started] == [True, True]


# for real


@pytest.mark.slow
async def test_shards_sent_from_processes_arrive_whole_though_one_is_killed(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    bodies: list[str] = []

    async def store(connection: Connection) -> None:
        while True:
            bodies.append(hashlib.sha256((await connection.request())[1]).hexdigest())
            await connection.answer("200 OK")

    (tmp_path / "a.jpg").write_bytes(os.urandom(3 << 20))
    status = (tmp_path / "a.jpg").stat()
    entry = Entry(0, b"a.jpg", "a.jpg", status.st_size, status.st_mtime_ns, status.st_ino)
    results: list[ShardResult] = []
    async with serve(store) as server, open_transport(OPTIONS) as transport:
        settings = {"chunk_bytes": 1 << 19, "stall_seconds": 5.0, "most_at_once": 4}
        async with open_scaling_sender(transport.ways, rate=None, processes=2, **settings) as sender:  # type: ignore[arg-type]  # of one kind each
            job = job_of(tmp_path, grant(server.port), entry)

            async def send() -> None:
                results.append(await sender.send(job, ignore))

            await send()
            await until(lambda: sender._starting is None or sender._starting.done())
            for round_number in range(4):
                async with anyio.create_task_group() as group:
                    for _ in range(4):
                        group.start_soon(send)
                if round_number == 1:
                    child = sender._processes[0]._child
                    assert child is not None
                    os.kill(child.pid, signal.SIGKILL)
            await until(lambda: sender._starting is None or sender._starting.done())
            sender._take_in()
            assert sender.interpreters == 2
    assert {result.outcome for result in results} <= {Outcome.STORED, Outcome.BROKEN}
    assert sum(result.outcome is Outcome.STORED for result in results) >= 15
    assert len(set(bodies)) == 1


async def test_a_limited_rate_is_kept_by_one_process(serve: Serve) -> None:
    async with open_transport(OPTIONS) as transport:
        settings = {"chunk_bytes": 1 << 19, "stall_seconds": 5.0, "most_at_once": 4}
        async with open_scaling_sender(transport.ways, rate=RateLimit(1 << 20), processes=4, **settings) as sender:  # type: ignore[arg-type]  # of one kind each
            assert sender._most == 0
            sender._take_in()
            assert sender._starting is None
