"""Threads of one interpreter send one after the other where the processor is what is slow, else beside each other."""

from __future__ import annotations

import threading
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from rfbulk.core.model import Entry, Outcome, ShardJob, ShardResult
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.transport import open_transport
from rfbulk.edge.turns import BUSY, IDLE, LOOK_SECONDS, Turns
from rfbulk.edge.uplink import Uplink
from rfbulk.senders.attempts import Attempts, Packer, pack_files
from tests.edge import conftest as edge
from tests.senders.test_inline import OPTIONS, ignore, job_of
from tests.support.load import Load

if TYPE_CHECKING:
    from pathlib import Path

    from tests.edge.conftest import Connection, MakeGrant, Serve

serve, grant = edge.serve, edge.grant  # fixtures


class Told:
    """A packer that tells when it begins and ends."""

    def __init__(self, inner: Packer, events: list[str]) -> None:
        self.inner = inner
        self.events = events
        events.append("begin")

    @property
    def crc32c(self) -> int:
        return self.inner.crc32c

    def __enter__(self) -> Told:
        self.inner.__enter__()
        return self

    def __exit__(self, *ended: object) -> None:
        self.inner.__exit__(*ended)

    def next_chunk(self) -> memoryview:
        chunk = self.inner.next_chunk()
        if not chunk:
            self.events.append("end")
        return chunk


def call() -> Call:
    return Call(ignore)


def must_wait(turns: Turns) -> bool:
    """Tell whether another must wait while somebody sends."""
    other = call()
    ended = threading.Event()

    def wait() -> None:
        try:
            turns.take(other).end()
        except CalledOff:
            return
        ended.set()

    with turns.take(call()):
        thread = threading.Thread(target=wait)
        thread.start()
        waits = not ended.wait(2 * LOOK_SECONDS)
        other.call_off()
        thread.join()
    return waits


def test_nobody_waits_before_anything_was_measured() -> None:
    assert not must_wait(Load().turns())


def test_whoever_needs_the_processor_waits_until_the_turn_before_has_ended() -> None:
    load, order = Load(), list[str]()
    turns = load.turns()
    load.go_on(1.0)
    first = turns.take(call())

    def second() -> None:
        turns.take(call())
        order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    order.append("first")
    first.end()
    thread.join(30)
    assert order == ["first", "second"]


@pytest.mark.parametrize(
    ("shares", "waits"),
    [
        ([BUSY - 0.01], False),
        ([BUSY + 0.01], True),
        ([BUSY + 0.01, IDLE + 0.01], True),
        ([BUSY + 0.01, IDLE - 0.01], False),
        ([BUSY + 0.01, IDLE - 0.01, BUSY - 0.01], False),
        ([BUSY + 0.01, IDLE - 0.01, BUSY + 0.01], True),
    ],
)
def test_there_are_turns_from_one_share_on_and_until_another(shares: list[float], waits: bool) -> None:
    load = Load()
    turns = load.turns()
    for share in shares:
        load.go_on(share)
        turns.take(call()).end()
    assert waits == must_wait(turns)


def test_a_moment_tells_nothing() -> None:
    load = Load()
    turns = load.turns()
    load.spent += LOOK_SECONDS
    load.seconds += LOOK_SECONDS / 2
    assert not must_wait(turns)


def test_one_that_hangs_holds_nobody_up() -> None:
    """A dead disk takes no time of the processor."""
    load = Load()
    turns = load.turns()
    load.go_on(1.0)
    turns.take(call())
    thread = threading.Thread(target=lambda: turns.take(call()))
    thread.start()
    load.go_on(0.0)
    thread.join(30)
    assert not thread.is_alive()


def test_a_turn_ends_once() -> None:
    load = Load()
    turns = load.turns()
    load.go_on(1.0)
    first = turns.take(call())
    first.end()
    second = turns.take(call())
    first.end()
    assert turns._lock.locked()
    second.end()
    assert not turns._lock.locked()


@pytest.mark.anyio
async def test_the_next_shard_is_sent_while_the_answer_of_the_one_before_is_awaited(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    """The store answers the first when it has the second, and the second begins behind the last byte of the first."""
    events: list[str] = []
    both = anyio.Event()

    async def store(connection: Connection) -> None:
        await connection.request()
        if events.count("end") == 2:
            both.set()
        await both.wait()
        await connection.answer("200 OK")

    def pack(job: ShardJob, buffer: bytearray, attempt: Call) -> Packer:
        return Told(pack_files(job, buffer, attempt), events)  # type: ignore[return-value]  # its crc32c is read alone

    (tmp_path / "a.jpg").write_bytes(bytes(1 << 20))
    status = (tmp_path / "a.jpg").stat()
    entry = Entry(0, b"a.jpg", "a.jpg", status.st_size, status.st_mtime_ns, status.st_ino)
    results: list[ShardResult] = []
    async with serve(store) as server, open_transport(OPTIONS) as transport:
        uplink = Uplink(transport.ways)
        attempts = Attempts(uplink, chunk_bytes=1 << 16, stall_seconds=30.0, pack=pack, takes_turns=True)
        load = Load()
        attempts._turns = load.turns()
        load.go_on(1.0)
        job = job_of(tmp_path, grant(server.port), entry)

        async def send() -> None:
            results.append(await anyio.to_thread.run_sync(partial(attempts.make, job, call())))

        async with anyio.create_task_group() as group:
            group.start_soon(send)
            group.start_soon(send)
        uplink.close()
    assert [result.outcome for result in results] == [Outcome.STORED] * 2
    assert events == ["begin", "end"] * 2
