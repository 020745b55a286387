"""Processes keep the promise of threads: the same ends, the same counts, and nothing is left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import google_crc32c
import pytest
from blockbuster import blockbuster_ctx

from rfbulk.core.model import Entry, Grant, Outcome, RefusalReason, ShardResult
from rfbulk.core.secrets import SignedUrl
from rfbulk.edge import threads
from rfbulk.errors import ServiceRefused, SourceError
from rfbulk.workers import process as module
from rfbulk.workers.frames import SetUp
from rfbulk.workers.pool import Processes, pool_of
from rfbulk.workers.process import WorkerGone, WorkerProcess
from rfbulk.workers.starting import start_child, start_spares
from tests.edge import conftest as edge
from tests.senders.test_inline import (
    MIB,
    cancelled,
    entry_of,
    ignore,
    job_of,
    open_sender,
    stored,
    until,
)

if TYPE_CHECKING:
    from tests.edge.conftest import Authority, Connection, MakeGrant, Serve

pytestmark = pytest.mark.anyio
serve, grant, authority = edge.serve, edge.grant, edge.authority  # fixtures
KEY = "k3yc4n4ry"


@pytest.fixture(autouse=True)
def _no_blocking_on_the_loop() -> Iterator[None]:
    with blockbuster_ctx("rfbulk"):
        yield


@asynccontextmanager
async def a_process(*, ca_file: Path | None = None, stall_seconds: float = 5.0) -> AsyncIterator[WorkerProcess]:
    set_up = SetUp({}, 5.0, None if ca_file is None else str(ca_file), True, stall_seconds, 512 << 10)
    process = WorkerProcess(set_up, await anyio.to_thread.run_sync(start_child, "send"))
    await anyio.to_thread.run_sync(process.start)
    try:
        yield process
    finally:
        await anyio.to_thread.run_sync(process.close)
        assert process._child.returncode is not None


async def test_a_shard_arrives_as_its_thread_would_have_sent_it(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    bodies: list[bytes] = []
    told: list[int] = []

    async def store(connection: Connection) -> None:
        while True:
            bodies.append((await connection.request())[1])
            await connection.answer("200 OK", b"", 'ETag: "e"', "x-goog-hash: crc32c=AAAAAQ==")

    entries = [entry_of(tmp_path, f"{size}.jpg", size) for size in (1, 3 * MIB, 5000)]
    async with serve(store) as server, a_process() as process:
        job = job_of(tmp_path, grant(server.port), *entries, trailer=b"{}")
        results = [await process.send(job, told.append) for _ in range(2)]
        assert server.connections == 1
        async with open_sender() as threads_of_ours:
            results.append(await threads_of_ours.send(job, ignore))
    assert [results[2]] * 3 == results
    assert bodies[0] == bodies[1] == bodies[2]
    assert results[0].crc32c == google_crc32c.value(bodies[0])
    assert sum(told) == 2 * job.tar_bytes
    assert process.cpu_seconds > 0


@pytest.mark.parametrize("answer", ["503 Busy", "403 Forbidden", "413 Too Large", "reset", "lost"])
async def test_whatever_goes_wrong_is_told_as_a_thread_tells_it(
    serve: Serve, grant: MakeGrant, tmp_path: Path, answer: str
) -> None:
    async def store(connection: Connection) -> None:
        if answer == "reset":
            await connection.head()
            connection.reset()
            return
        await connection.request()
        if answer == "lost":
            connection.reset()
            return
        await connection.answer(answer, b"<Error><Code>Why</Code></Error>", "Retry-After: 7")

    size = 64 * MIB if answer == "reset" else 9
    async with serve(store) as server, a_process() as process, open_sender() as ours:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", size))
        pair = [await sender.send(job, ignore) for sender in (process, ours)]
    assert without_counts(pair[0]) == without_counts(pair[1])


def without_counts(result: ShardResult) -> tuple[object, ...]:
    return result.outcome, result.status, result.retry_after, result.may_have_arrived, result.crc32c, result.detail


async def test_a_file_that_changed_is_named(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    entries = [entry_of(tmp_path, "a.jpg", 5), entry_of(tmp_path, "b.jpg", 10)]
    (tmp_path / "b.jpg").write_bytes(b"x")
    async with serve(stored) as server, a_process() as process:
        result = await process.send(job_of(tmp_path, grant(server.port), *entries), ignore)
    assert (result.outcome, result.changed) == (Outcome.CHANGED, {1: RefusalReason.CHANGED})


async def test_errors_come_out_as_themselves(
    serve: Serve, grant: MakeGrant, tmp_path: Path, authority: Authority
) -> None:
    entry = entry_of(tmp_path, "a.jpg", 5)
    async with serve(stored, authority.context("127.0.0.1")) as server, a_process() as process:
        with pytest.raises(SourceError, match="check that its disk is there"):
            await process.send(job_of(tmp_path / "gone", grant(server.port), entry), ignore)
        with pytest.raises(ServiceRefused, match="is not to be trusted"):
            await process.send(job_of(tmp_path, grant(server.port, scheme="https"), entry), ignore)


async def test_it_trusts_whom_it_is_told_to(
    serve: Serve, grant: MakeGrant, tmp_path: Path, authority: Authority
) -> None:
    entry = entry_of(tmp_path, "a.jpg", 5)
    async with serve(stored, authority.context("127.0.0.1")) as server, a_process(ca_file=authority.ca_file) as process:
        result = await process.send(job_of(tmp_path, grant(server.port, scheme="https"), entry), ignore)
    assert result.outcome is Outcome.STORED


@pytest.mark.parametrize("where", ["sending", "answer"])
async def test_cancelled_at_any_wait_is_over_at_once_and_tells_exactly_what_was_sent(
    serve: Serve, grant: MakeGrant, tmp_path: Path, where: str
) -> None:
    """From the count follows whether the shard can have arrived."""
    reached = asyncio.Event()

    async def store(connection: Connection) -> None:
        await (connection.request() if where == "answer" else connection.head())
        reached.set()
        await (asyncio.Event().wait() if where == "sending" else connection.reader.read())

    async with serve(store) as server, a_process(stall_seconds=60) as process:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 200 * MIB if where == "sending" else 5))
        told = await cancelled(process, job, reached.is_set)
        assert process.load == 0
        if where == "answer":
            await server.closed.wait()
        assert not process.is_gone
    assert (sum(told) == job.tar_bytes) == (where == "answer")


async def test_a_process_that_dies_leaves_a_doubt_and_takes_no_more(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    reached = asyncio.Event()

    async def store(connection: Connection) -> None:
        await connection.head()
        reached.set()
        await connection.reader.read()

    told: list[int] = []
    async with serve(store) as server, a_process() as process:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        results: list[ShardResult] = []

        async def send() -> None:
            results.append(await process.send(job, told.append))

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            await reached.wait()
            os.kill(pid_of(process), signal.SIGKILL)
        with pytest.raises(WorkerGone):
            await process.send(job, ignore)
    assert (results[0].outcome, results[0].may_have_arrived) == (Outcome.BROKEN, True)
    assert "ended (-9)" in results[0].detail
    assert sum(told) == job.tar_bytes


async def test_one_that_hangs_is_ended_and_all_it_had_counts_as_sent(
    serve: Serve, grant: MakeGrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "END_SECONDS", 0.05)
    async with serve(stored) as server, a_process() as process:
        os.kill(pid_of(process), signal.SIGSTOP)
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        told = await cancelled(process, job, lambda: process.load)
        await until(lambda: process.is_gone)
    assert sum(told) == job.tar_bytes
    assert threads.END_SECONDS > 0.05


async def test_one_that_is_stopped_is_ended_within_the_stall_limit_and_leaves_a_doubt(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    """Stopped, it keeps its pipes and its connections: nothing ends but by a watch."""
    reached = asyncio.Event()

    async def store(connection: Connection) -> None:
        await connection.head()
        reached.set()
        await connection.reader.read()

    told: list[int] = []
    results: list[ShardResult] = []
    async with serve(store) as server, a_process(stall_seconds=2.0) as process:
        await until(lambda: process._heard >= 2)  # it says that it lives, unasked
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 200 * MIB))

        async def send() -> None:
            results.append(await process.send(job, told.append))

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(send)
            await reached.wait()
            os.kill(pid_of(process), signal.SIGSTOP)
            began = anyio.current_time()
        assert anyio.current_time() - began < 2 * 2.0
        with pytest.raises(WorkerGone):
            await process.send(job, ignore)
        await server.closed.wait()
    assert [(each.outcome, each.may_have_arrived) for each in results] == [(Outcome.BROKEN, True)] * 2
    assert "had said nothing for 2 s" in results[0].detail
    assert sum(told) == 2 * job.tar_bytes


async def test_a_pause_of_the_coordinator_ends_nobody(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    """After a laptop has slept nothing has been heard for long, and that is nobody's fault."""
    results: list[ShardResult] = []
    async with serve(stored) as server, a_process(stall_seconds=1.0) as process:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        await process.send(job, ignore)

        async def send() -> None:
            results.append(await process.send(job, ignore))

        async with anyio.create_task_group() as group:
            os.kill(pid_of(process), signal.SIGSTOP)
            group.start_soon(send)
            await until(lambda: process.load)
            time.sleep(2.0)  # noqa: ASYNC251 - the pause
            os.kill(pid_of(process), signal.SIGCONT)
    assert [each.outcome for each in results] == [Outcome.STORED]


async def test_a_time_beyond_all_clocks_is_refused_without_harm(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    entry = Entry(0, b"a.jpg", "a.jpg", 5, -(1 << 70), 1)
    async with serve(stored) as server, a_process() as process:
        with pytest.raises(OverflowError):
            await process.send(job_of(tmp_path, grant(server.port), entry), ignore)
        good = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "b.jpg", 5))
        assert (await process.send(good, ignore)).outcome is Outcome.STORED


async def test_an_interpreter_that_is_none_is_told_and_its_work_is_done_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with pytest.raises(OSError, match="nowhere"):
        await anyio.to_thread.run_sync(start_child, "send")
    pool = pool_of(Processes(2), SetUp({}, 5.0, None, True, 5.0, 1024), "send", lambda: 0.0)
    assert await anyio.to_thread.run_sync(pool._start, 2) == []


async def test_processes_that_were_started_early_are_taken_for_their_road_alone(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    set_up = SetUp({}, 5.0, None, True, 5.0, 1 << 19)
    spares = await anyio.to_thread.run_sync(partial(start_spares, "send", most=2))
    other = pool_of(Processes(2, spares), set_up, "fetch", lambda: 0.0)
    assert other.interpreters == 1
    pool = pool_of(Processes(2, spares), set_up, "send", lambda: 0.0)
    async with serve(stored) as server:
        (first, *_) = pool.ready()
        result = await first.send(job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5)), ignore)
    assert result.outcome is Outcome.STORED
    assert pool.interpreters == len(pool.ready())
    await pool.close()
    spares.close()


async def test_what_was_started_early_and_cannot_help_is_ended() -> None:
    spares = await anyio.to_thread.run_sync(partial(start_spares, "send", most=2))
    children = list(spares._children)
    await anyio.to_thread.run_sync(
        pool_of, Processes(1, spares), SetUp({}, 5.0, None, True, 5.0, 1), "send", lambda: 0.0
    )
    assert all(child.returncode is not None for child in children)


# what others see of it


async def test_it_is_given_no_key_and_shows_no_url(
    serve: Serve, grant: MakeGrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ROBOFLOW_API_KEY", "AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_KEY", "SOMEBODYS_TOKEN"):
        monkeypatch.setenv(name, KEY)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{KEY}@127.0.0.1:9")
    async with serve(stored) as server, a_process() as process:
        await process.send(job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5)), ignore)
        about = Path(f"/proc/{pid_of(process)}")
        shown = await anyio.to_thread.run_sync(lambda: [(about / name).read_bytes() for name in ("cmdline", "environ")])
    assert b"PATH=" in shown[1]
    assert not any(secret in text for text in shown for secret in (KEY.encode(), edge.SIGNATURE.encode()))


COORDINATOR = """
import asyncio, os, sys
from rfbulk.core.model import Entry, Grant, ShardJob
from rfbulk.core.secrets import SignedUrl
from rfbulk.workers.frames import SetUp
from rfbulk.workers.process import WorkerProcess
from rfbulk.workers.starting import start_child

async def main():
    folder, url = sys.argv[1:]
    status = os.stat(folder + "/a.jpg")
    entry = Entry(0, b"a.jpg", "a.jpg", status.st_size, status.st_mtime_ns, status.st_ino)
    grant = Grant(SignedUrl(url), {}, None, None, False)
    job = ShardJob(1, (folder.encode(),), (entry,), b"", status.st_size + 1536, grant)
    process = WorkerProcess(SetUp({}, 5.0, None, True, 60.0, 1 << 19), start_child("send"))
    process.start()
    print(process._child.pid, flush=True)
    await process.send(job, lambda count: None)

asyncio.run(main())
"""


@pytest.mark.slow
async def test_when_its_coordinator_is_killed_its_connection_ends_too(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    """Else the rest of a shard could arrive beside what the resumed upload sends."""
    reached = asyncio.Event()

    async def store(connection: Connection) -> None:
        await connection.head()
        reached.set()
        await connection.reader.read()

    size = 512 * 100
    entry_of(tmp_path, "a.jpg", size)
    async with serve(store) as server:
        url: Grant = grant(server.port)
        command = [sys.executable, "-c", COORDINATOR, str(tmp_path), SignedUrl.reveal(url.url)]
        coordinator = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
        assert coordinator.stdout is not None
        pid = int(await coordinator.stdout.readline())
        await reached.wait()
        coordinator.kill()
        await coordinator.wait()
        await server.closed.wait()
    await until(lambda: not Path(f"/proc/{pid}/status").exists() or "Z (zombie)" in status_of(pid))


def status_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return "Z (zombie)"


def pid_of(process: WorkerProcess) -> int:
    assert process._child is not None
    return process._child.pid
