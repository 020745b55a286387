"""Shards sent from this process and from others arrive whole, though one of those is killed."""

from __future__ import annotations

import hashlib
import io
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from rfbulk.core.model import Entry, Outcome, ShardResult
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.transport import open_transport
from rfbulk.senders.scaling import open_scaling_sender
from rfbulk.workers.child import _Child
from rfbulk.workers.frames import FrameWriter
from rfbulk.workers.pool import Processes
from tests.edge import conftest as edge
from tests.senders.test_inline import OPTIONS, ignore, job_of, until

if TYPE_CHECKING:
    from tests.edge.conftest import Connection, MakeGrant, Serve

pytestmark = pytest.mark.anyio
serve, grant = edge.serve, edge.grant  # fixtures


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
        async with open_scaling_sender(transport.ways, rate=None, processes=Processes(2), **settings) as sender:  # type: ignore[arg-type]  # of one kind each
            job = job_of(tmp_path, grant(server.port), entry)

            async def send() -> None:
                results.append(await sender.send(job, ignore))

            await send()
            await until(lambda: sender._pool._starting is None or sender._pool._starting.done())
            for round_number in range(4):
                async with anyio.create_task_group() as group:
                    for _ in range(4):
                        group.start_soon(send)
                if round_number == 1:
                    child = sender._pool._processes[0]._child
                    assert child is not None
                    os.kill(child.pid, signal.SIGKILL)
            await until(lambda: sender._pool._starting is None or sender._pool._starting.done())
            sender._pool._take_in()
            assert sender.interpreters == 2
    assert {result.outcome for result in results} <= {Outcome.STORED, Outcome.BROKEN}
    assert sum(result.outcome is Outcome.STORED for result in results) >= 15
    assert len(set(bodies)) == 1


async def test_a_limited_rate_is_kept_by_one_process(serve: Serve) -> None:
    async with open_transport(OPTIONS) as transport:
        settings = {"chunk_bytes": 1 << 19, "stall_seconds": 5.0, "most_at_once": 4}
        four = Processes(4)
        async with open_scaling_sender(transport.ways, rate=RateLimit(1 << 20), processes=four, **settings) as sender:  # type: ignore[arg-type]  # of one kind each
            assert sender._pool.most == 0
            sender._pool._take_in()
            assert sender._pool._starting is None


@pytest.mark.parametrize(("cores", "takes_turns"), [(2, True), (3, False)])
async def test_threads_take_turns_where_processes_have_all_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, takes_turns: bool
) -> None:
    monkeypatch.setattr("rfbulk.workers.starting.cores", lambda: cores)
    async with open_transport(OPTIONS) as transport:
        settings = {"chunk_bytes": 1 << 19, "stall_seconds": 5.0, "most_at_once": 4}
        async with open_scaling_sender(transport.ways, rate=None, processes=Processes(2), **settings) as sender:  # type: ignore[arg-type]  # of one kind each
            sender._pool._take_in()
            await until(lambda: sender._pool._starting is None or sender._pool._starting.done())
            sender._pool._take_in()
            set_up = sender._pool._processes[0]._set_up
    child = _Child(set_up, FrameWriter(io.BytesIO()))
    assert takes_turns == (child._new_attempts()._turns is not None)
