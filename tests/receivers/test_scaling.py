"""What processes receive is what a thread would have received, and nothing is lost with one that dies."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from rfbulk.core.fetching import FetchKind, FetchOutcome, FetchResult
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.downlink import Downlink
from rfbulk.edge.lines import Call
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.edge.ways import ways_of
from rfbulk.receivers.groups import Groups
from rfbulk.receivers.scaling import ScalingReceiver, open_scaling_receiver
from rfbulk.workers.child import _Child
from rfbulk.workers.frames import FrameWriter
from rfbulk.workers.pool import Processes
from tests.receivers.conftest import LIMITS
from tests.support.archives import packed, tar_of
from tests.support.load import Load
from tests.support.stores import Asked, Talk, head_of, honest, open_store

if TYPE_CHECKING:
    from tests.edge.conftest import Authority
    from tests.receivers.conftest import Open, Target

pytestmark = pytest.mark.anyio
OPTIONS = TransportOptions(connect_seconds=5.0, environment={})
MIB = 1 << 20


def ignore(_count: int) -> None:
    pass


@asynccontextmanager
async def two_processes(
    target: Target, options: TransportOptions = OPTIONS, rate: RateLimit | None = None
) -> AsyncIterator[ScalingReceiver]:
    """A receiver whose processes are ready."""
    async with (
        open_transport(options) as transport,
        open_scaling_receiver(
            transport, target.folders, stall_seconds=5.0, rate=rate, most_at_once=4, processes=Processes(2)
        ) as receiver,
    ):
        assert receiver._pool.ready() == []
        while receiver._pool._starting is not None and not receiver._pool._starting.done():  # noqa: ASYNC110 - a thread
            await asyncio.sleep(0.001)
        yield receiver


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_files_and_archives_come_as_a_thread_would_bring_them(
    target: Target, open_receiver: Open, authority: Authority, scheme: str
) -> None:
    plain = {f"{n}.bin": os.urandom(size) for n, size in enumerate([0, 10, 70_000, 3 * MIB])}
    objects = plain | {"a.tar.gz": packed(tar_of({"x.txt": b"x", "d/y.txt": b"y" * 5000}))}
    context = authority.context("127.0.0.1") if scheme == "https" else None
    options = TransportOptions(connect_seconds=5.0, ca_file=authority.ca_file, environment={})
    told: list[int] = []
    with open_store(honest(objects), context) as store:
        jobs = [target.job(store.url(name), n, name) for n, name in enumerate(plain)]
        jobs.append(target.job(store.url("a.tar.gz"), 9, "a.tar.gz", kind=FetchKind.TAR_GZ))
        async with two_processes(target, options) as receiver:
            assert receiver._pool.ready()
            theirs = await receiver.fetch(jobs, told.append)
            await receiver.land([target.move(member) for member in theirs[-1].members])
            assert receiver.interpreters == 2
            assert receiver.cpu_seconds() > 0
        async with open_receiver(options=options) as ours:
            again = await ours.fetch(jobs, ignore)
    assert [told_of(result) for result in theirs] == [told_of(result) for result in again]
    assert sum(told) == sum(map(len, objects.values()))
    assert target.landed() == plain | {"x.txt": b"x", "d/y.txt": b"y" * 5000}


def told_of(result: FetchResult) -> tuple[object, ...]:
    members = [(member.name, member.size, member.crc32c) for member in result.members]
    return result.outcome, result.size, result.crc32c, result.check, members


async def test_a_process_that_dies_breaks_its_group_alone_and_another_takes_over(target: Target) -> None:
    reached = threading.Event()
    objects = {"b.bin": os.urandom(300_000)}

    def handle(asked: Asked, talk: Talk) -> None:
        if asked.name == "a.bin":
            talk.say(head_of("200 OK", "Content-Length: 10"), b"12345")
            reached.set()
            talk.wait()
        honest(objects)(asked, talk)

    results: list[FetchResult] = []
    with open_store(handle) as store:
        async with two_processes(target) as receiver:

            async def fetch() -> None:
                results.extend(await receiver.fetch([target.job(store.url("a.bin"), 1, "a.bin")], ignore))

            async with anyio.create_task_group() as group:
                group.start_soon(fetch)
                while not reached.is_set():  # noqa: ASYNC110 - a thread sets it
                    await asyncio.sleep(0.001)
                busy = next(each for each in receiver._pool._processes if each.load)
                assert busy._child is not None
                os.kill(busy._child.pid, signal.SIGKILL)
            again = await receiver.fetch([target.job(store.url("b.bin"), 2, "b.bin")], ignore)
    assert [result.outcome for result in results + again] == [FetchOutcome.BROKEN, FetchOutcome.FETCHED]
    assert "ended (-9)" in results[0].detail
    assert target.landed() == objects


async def test_cancelled_a_group_is_over_at_once_and_leaves_nothing_in_place(target: Target) -> None:
    reached = threading.Event()

    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(head_of("200 OK", "Content-Length: 10"), b"12345")
        reached.set()
        talk.wait()

    with open_store(handle) as store:
        async with two_processes(target) as receiver:
            with anyio.fail_after(5):
                async with anyio.create_task_group() as group:
                    group.start_soon(receiver.fetch, [target.job(store.url())], ignore)
                    while not reached.is_set():  # noqa: ASYNC110 - a thread sets it
                        await asyncio.sleep(0.001)
                    group.cancel_scope.cancel()
            assert all(process.load == 0 and not process.is_gone for process in receiver._pool._processes)
    assert target.landed() == {}


async def test_a_limited_rate_is_kept_by_one_process(target: Target) -> None:
    async with open_transport(OPTIONS) as transport:
        opened = open_scaling_receiver(
            transport,
            target.folders,
            stall_seconds=5.0,
            rate=RateLimit(1 << 20),
            most_at_once=4,
            processes=Processes(4),
        )
        async with opened as receiver:
            assert (receiver._pool.ready(), receiver._pool.most) == ([], 0)


@pytest.mark.parametrize(("cores", "takes_turns"), [(2, True), (3, False)])
async def test_threads_take_turns_where_processes_have_all_the_cores(
    target: Target, monkeypatch: pytest.MonkeyPatch, cores: int, takes_turns: bool
) -> None:
    monkeypatch.setattr("rfbulk.workers.starting.cores", lambda: cores)
    async with two_processes(target) as receiver:
        receiver._pool.ready()
        set_up = receiver._pool._processes[0]._set_up
    groups = _Child(set_up, FrameWriter(io.BytesIO()))._new_groups()
    assert takes_turns == (groups._turns is not None)


async def test_groups_wait_for_their_turn_and_what_comes_alone_does_not(target: Target) -> None:
    files = {f"{number}.bin": bytes([number]) * 1000 for number in range(4)}
    downlink = Downlink(ways_of({}, connect_seconds=5.0, ca_file=None))
    groups = Groups(
        downlink, stall_seconds=5.0, rate=RateLimit(None), limits=LIMITS, reach=lambda _: None, takes_turns=True
    )
    load = Load()
    groups._turns = load.turns()
    load.go_on(1.0)
    with open_store(honest(files)) as store:
        jobs = [target.job(store.url(name), number, name) for number, name in enumerate(files)]
        held = groups._turns.take(Call(ignore))
        thread = threading.Thread(target=groups.fetch, args=(jobs[:3], Call(ignore)))
        thread.start()
        await anyio.to_thread.run_sync(groups.fetch, jobs[3:], Call(ignore))
        assert target.landed() == {"3.bin": files["3.bin"]}
        held.end()
        await anyio.to_thread.run_sync(thread.join)
    downlink.close()
    assert target.landed() == files
