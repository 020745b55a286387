from __future__ import annotations

import asyncio
import hashlib
import io
import os
import resource
import socket
import tarfile
import threading
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import google_crc32c
import pytest
from blockbuster import blockbuster_ctx

from rfbulk.core.model import Entry, Grant, Outcome, RefusalReason, ShardJob
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.edge import threads
from rfbulk.edge.threads import Rate
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import NotAuthorised, ServiceRefused, SourceError
from rfbulk.senders.inline import InlineSender, open_inline_sender
from rfbulk.settings import CHUNK_BYTES, SHARD_MEMORY_BYTES
from rfbulk.workers.process import WorkerProcess
from tests.edge import conftest as edge

if TYPE_CHECKING:
    from tests.edge.conftest import Authority, Connection, MakeGrant, Serve

pytestmark = pytest.mark.anyio
serve, grant, authority = edge.serve, edge.grant, edge.authority  # fixtures

MIB = 1 << 20
OPTIONS = TransportOptions(connect_seconds=5.0, environment={})


class Unlimited:
    """A rate that never makes anybody wait, and counts."""

    def __init__(self) -> None:
        self.counted: list[int] = []

    def due(self, count: int) -> float:
        self.counted.append(count)
        return 0.0


class Stuck(Unlimited):
    """A wait that hears nothing, as a read of a dead disk."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.ends = threading.Event()

    def due(self, count: int) -> float:
        self.begun.set()
        self.ends.wait()
        return super().due(count)


class Slow(Unlimited):
    """A rate of next to nothing."""

    def due(self, count: int) -> float:
        return super().due(count) + 3600


@pytest.fixture(autouse=True)
def _no_blocking_on_the_loop() -> Iterator[None]:
    with blockbuster_ctx("rfbulk"):
        yield


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    assert have_ended(sending_threads())


def have_ended(threads: list[threading.Thread]) -> bool:
    """Tell whether they have; a thread that has told what came of it needs another moment."""
    for thread in threads:
        thread.join(1)
    return not any(thread.is_alive() for thread in threads)


def sending_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rfbulk-send")]


def entry_of(folder: Path, name: str, size: int, *, member: str = "") -> Entry:
    """An image of zeros, sparse where the file system can."""
    with (folder / name).open("wb") as file:
        file.truncate(size)
    status = (folder / name).stat()
    return Entry(0, name.encode(), member or name, size, status.st_mtime_ns, status.st_ino)


def job_of(folder: Path, granted: Grant, *entries: Entry, trailer: bytes = b"") -> ShardJob:
    return ShardJob(1, (os.fsencode(folder),), entries, trailer, tar_bytes(entries, trailer), granted)


@asynccontextmanager
async def open_sender(
    *,
    options: TransportOptions = OPTIONS,
    rate: Rate | None = None,
    stall_seconds: float = 5.0,
    chunk_bytes: int = CHUNK_BYTES,
    most_at_once: int = 4,
) -> AsyncIterator[InlineSender]:
    async with (
        open_transport(options) as transport,
        open_inline_sender(
            transport.ways,
            chunk_bytes=chunk_bytes,
            stall_seconds=stall_seconds,
            rate=rate,
            most_at_once=most_at_once,
        ) as sender,
    ):
        yield sender


async def stored(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.answer("200 OK", b"", 'ETag: "e"', "x-goog-hash: crc32c=AAAAAQ==")


def ignore(_count: int) -> None:
    pass


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():  # noqa: ASYNC110 - a thread gets there, which tells no event
        await asyncio.sleep(0.001)


# what comes of an attempt


async def test_a_shard_arrives_as_the_tar_that_was_planned(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    bodies: list[bytes] = []
    told: list[int] = []

    async def store(connection: Connection) -> None:
        bodies.append((await connection.request())[1])
        await connection.answer("200 OK", b"", 'ETag: "e"', "x-goog-hash: crc32c=AAAAAQ==")

    entries = [entry_of(tmp_path, f"{size}.jpg", size) for size in (1, 3 * CHUNK_BYTES, 5000)]
    async with serve(store) as server, open_sender() as sender:
        job = job_of(tmp_path, grant(server.port), *entries, trailer=b"{}")
        result = await sender.send(job, told.append)
    assert (result.outcome, result.status, result.etag) == (Outcome.STORED, 200, '"e"')
    assert result.bytes_sent == sum(told) == job.tar_bytes == len(bodies[0])
    assert (result.crc32c, result.stored_crc32c) == (google_crc32c.value(bodies[0]), 1)
    with tarfile.open(fileobj=io.BytesIO(bodies[0])) as archive:
        sizes = [member.size for member in archive.getmembers()]
    assert sizes == [1, 3 * CHUNK_BYTES, 5000, 2]


@pytest.mark.parametrize(
    ("status", "outcome", "may_have_arrived"),
    [
        ("503 Busy", Outcome.BUSY, True),
        ("403 Forbidden", Outcome.FORBIDDEN, False),
        ("413 Too Large", Outcome.TOO_LARGE, False),
        ("307 Elsewhere", Outcome.REFUSED, False),
    ],
)
async def test_an_answer_is_told_with_what_it_means(
    serve: Serve, grant: MakeGrant, tmp_path: Path, status: str, outcome: Outcome, may_have_arrived: bool
) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer(status, b"<Error><Code>Why</Code></Error>", "Retry-After: 7")

    async with serve(store) as server, open_sender() as sender:
        result = await sender.send(job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 9)), ignore)
    assert (result.outcome, result.may_have_arrived, result.retry_after) == (outcome, may_have_arrived, 7.0)
    assert result.detail == f"the store answered {status[:3]} Why"
    assert result.crc32c is not None


async def test_an_early_answer_tells_no_hash_and_leaves_no_doubt(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("503 Busy", b"", "Connection: close")

    async with serve(store) as server, open_sender() as sender:
        result = await sender.send(job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 64 * MIB)), ignore)
    assert (result.outcome, result.crc32c, result.may_have_arrived) == (Outcome.BUSY, None, False)
    assert result.bytes_sent < 64 * MIB


@pytest.mark.parametrize("whole", [False, True])
async def test_a_lost_answer_leaves_doubt_only_behind_a_whole_body(
    serve: Serve, grant: MakeGrant, tmp_path: Path, whole: bool
) -> None:
    async def store(connection: Connection) -> None:
        await (connection.request() if whole else connection.head())
        connection.reset()

    size = 1 if whole else 64 * MIB
    async with serve(store) as server, open_sender() as sender:
        result = await sender.send(job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", size)), ignore)
    assert (result.outcome, result.may_have_arrived) == (Outcome.BROKEN, whole)
    assert "closed the connection" in result.detail


@pytest.mark.parametrize("size", [10, 2 * MIB], ids=["small", "large"])
async def test_a_file_that_changed_is_named_and_nothing_is_stored(
    serve: Serve, grant: MakeGrant, tmp_path: Path, size: int
) -> None:
    entries = [entry_of(tmp_path, "a.jpg", 5), entry_of(tmp_path, "b.jpg", size)]
    (tmp_path / "b.jpg").write_bytes(b"x" * (size - 1))
    async with serve(stored) as server, open_sender() as sender:
        job = job_of(tmp_path, grant(server.port), *entries)
        result = await sender.send(job, ignore)
        await server.closed.wait()
    assert (result.outcome, result.changed) == (Outcome.CHANGED, {1: RefusalReason.CHANGED})
    assert result.bytes_sent < job.tar_bytes
    assert [type(end) in (asyncio.IncompleteReadError, ConnectionResetError) for end in server.ended] == [True]


async def test_a_root_that_is_gone_ends_the_upload(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    entry = entry_of(tmp_path, "a.jpg", 5)
    async with serve(stored) as server, open_sender() as sender:
        with pytest.raises(SourceError, match="check that its disk is there"):
            await sender.send(job_of(tmp_path / "gone", grant(server.port), entry), ignore)


async def test_a_store_that_cannot_prove_who_it_is_ends_the_upload(
    serve: Serve, grant: MakeGrant, tmp_path: Path, authority: Authority
) -> None:
    async with serve(stored, authority.context("127.0.0.1")) as server, open_sender() as sender:
        job = job_of(tmp_path, grant(server.port, scheme="https"), entry_of(tmp_path, "a.jpg", 5))
        with pytest.raises(ServiceRefused):
            await sender.send(job, ignore)


async def test_a_proxy_that_refuses_ends_the_upload(serve: Serve, tmp_path: Path) -> None:
    async with serve(edge.Proxy(refuse_with="403 No")) as gate:
        options = TransportOptions(environment={"https_proxy": f"http://127.0.0.1:{gate.port}"})
        granted = Grant(SignedUrl("https://store.example/o"), {}, None, None, once_only=False)
        async with open_sender(options=options) as sender:
            with pytest.raises(NotAuthorised):
                await sender.send(job_of(tmp_path, granted, entry_of(tmp_path, "a.jpg", 5)), ignore)


@contextmanager
def no_descriptor_left() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_descriptors_that_ran_out_are_not_blamed_on_the_entry(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    async with serve(stored) as server, open_sender() as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        assert (await sender.send(job, ignore)).outcome is Outcome.STORED
        with no_descriptor_left():
            by_file = await sender.send(job, ignore)  # its connection is there already
            by_line = await sender.send(job, ignore)
    assert (by_file.outcome, by_file.changed, by_file.may_have_arrived) == (Outcome.BROKEN, {}, False)
    assert by_file.detail == "no further file can be opened: Too many open files"
    assert (by_line.outcome, by_line.changed, by_line.may_have_arrived) == (Outcome.BROKEN, {}, False)
    assert "Too many open files" in by_line.detail


async def test_what_on_bytes_raises_comes_out(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    def kill(_count: int) -> None:
        raise KilledError

    async with serve(stored) as server, open_sender() as sender:
        with pytest.raises(KilledError):
            await sender.send(job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5)), kill)
        await server.closed.wait()


# many at once


async def test_no_more_shards_are_in_flight_than_there_is_room_for(
    serve: Serve, grant: MakeGrant, tmp_path: Path
) -> None:
    most = now = 0

    async def store(connection: Connection) -> None:
        nonlocal most, now
        while True:
            await connection.request()
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.005)
            now -= 1
            await connection.answer("200 OK")

    async with serve(store) as server, open_sender(most_at_once=2) as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(sender.send, job, ignore)
    assert (most, server.connections) == (2, 2)


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_shards_sent_at_once_arrive_as_they_were_hashed(
    serve: Serve, grant: MakeGrant, tmp_path: Path, authority: Authority, scheme: str
) -> None:
    numbers = [os.urandom(size) for size in (10, 70_000, MIB + 3, 300_000)]
    digests: set[str] = set()

    async def store(connection: Connection) -> None:
        while True:
            head = await connection.head()
            left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = io.BytesIO()
            while left:
                await asyncio.sleep(0)
                left -= body.write(await connection.reader.read(min(left, 60_000)))
            digests.add(hashlib.sha256(body.getvalue()[512 : 512 + 10]).hexdigest())
            crc = google_crc32c.value(body.getvalue())
            await connection.answer("200 OK", b"", f'ETag: "{crc}"')

    entries = []
    for place, data in enumerate(numbers):
        (tmp_path / f"{place}.jpg").write_bytes(data)
        status = (tmp_path / f"{place}.jpg").stat()
        entries.append(Entry(0, b"%d.jpg" % place, f"{place}.jpg", len(data), status.st_mtime_ns, status.st_ino))
    context = authority.context("127.0.0.1") if scheme == "https" else None
    options = TransportOptions(connect_seconds=5.0, ca_file=authority.ca_file, environment={})
    results = []
    async with serve(store, context) as server, open_sender(options=options, chunk_bytes=64 << 10) as sender:

        async def send(start: int) -> None:
            job = job_of(tmp_path, grant(server.port, scheme=scheme), *entries[start:], *entries[:start])
            results.append(await sender.send(job, ignore))

        async with anyio.create_task_group() as group:
            for start in range(4):
                group.start_soon(send, start)
    assert [result.etag for result in results] == [f'"{result.crc32c}"' for result in results]
    assert digests == {hashlib.sha256(data[:10]).hexdigest() for data in numbers}


async def test_every_byte_is_booked_with_the_rate(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    rate = Unlimited()
    async with serve(stored) as server, open_sender(rate=rate, chunk_bytes=8192) as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 100_000))
        await sender.send(job, ignore)
    assert sum(rate.counted) == job.tar_bytes
    assert max(rate.counted) <= 2 * 8192


async def test_nothing_leaves_before_its_rate_lets_it(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    told: list[int] = []

    class Paced(Unlimited):
        def due(self, count: int) -> float:
            sent_before.append(sum(told))
            return super().due(count) + 0.001

    rate = Paced()
    sent_before: list[int] = []
    async with serve(stored) as server, open_sender(rate=rate, chunk_bytes=8192, stall_seconds=0.5) as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 60_000))
        assert (await sender.send(job, told.append)).outcome is Outcome.STORED
    booked = 0
    for sent, count in zip(sent_before, rate.counted, strict=True):
        assert sent <= booked
        booked += count


# cancellation


async def cancelled(sender: InlineSender | WorkerProcess, job: ShardJob, reached: Callable[[], object]) -> list[int]:
    """Send, cancel at a place, and tell what was sent: it must be over at once, with nothing left behind."""
    told: list[int] = []
    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:
            group.start_soon(sender.send, job, told.append)
            await until(reached)
            group.cancel_scope.cancel()
    return told


@pytest.mark.parametrize("where", ["sending", "rate", "answer"])
async def test_cancelled_at_any_wait_is_over_at_once(
    serve: Serve, grant: MakeGrant, tmp_path: Path, where: str
) -> None:
    reached = threading.Event()

    async def store(connection: Connection) -> None:
        await (connection.request() if where == "answer" else connection.head())
        reached.set()
        await (asyncio.Event().wait() if where == "sending" else connection.reader.read())

    rate = Slow() if where == "rate" else Unlimited()
    size = 200 * MIB if where == "sending" else 5
    async with serve(store) as server, open_sender(rate=rate, stall_seconds=60) as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", size))
        told = await cancelled(sender, job, reached.is_set)
        assert have_ended(sending_threads())
        assert not sender._attempts._uplink._connections.has_resting()
        if where != "sending":
            await server.closed.wait()
    assert (sum(told) == job.tar_bytes) == (where == "answer")


async def test_cancelled_while_connecting_is_over_at_once(grant: MakeGrant, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listening:
        others = [socket.socket() for _ in range(4)]
        for other in others:
            other.setblocking(False)
            other.connect_ex(listening.getsockname())
        async with open_sender() as sender:
            job = job_of(tmp_path, grant(listening.getsockname()[1]), entry_of(tmp_path, "a.jpg", 5))
            assert await cancelled(sender, job, sending_threads) == []
            assert have_ended(sending_threads())
        for other in others:
            other.close()


async def test_cancelled_before_there_was_room_sends_nothing(serve: Serve, grant: MakeGrant, tmp_path: Path) -> None:
    async with serve(stored) as server, open_sender(most_at_once=1) as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        async with sender._room:
            assert await cancelled(sender, job, lambda: sender._room.statistics().tasks_waiting) == []
        assert (await sender.send(job, ignore)).outcome is Outcome.STORED
    assert server.connections == 1


async def test_a_thread_that_hangs_is_left_behind_and_sends_nothing_when_it_wakes(
    serve: Serve, grant: MakeGrant, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "END_SECONDS", 0.02)
    rate = Stuck()
    async with serve(stored) as server, open_sender(rate=rate, most_at_once=1) as sender:
        job = job_of(tmp_path, grant(server.port), entry_of(tmp_path, "a.jpg", 5))
        told = await cancelled(sender, job, rate.begun.is_set)
        assert [thread.daemon for thread in sending_threads()] == [True]
        await server.closed.wait()  # its connection was cut, though it hangs
        assert sender._room.available_tokens == 1
        rate.ends.set()
        await until(lambda: not sending_threads())
    assert told == []
    assert [type(end) in (asyncio.IncompleteReadError, ConnectionResetError) for end in server.ended] == [True]


# memory


@contextmanager
def a_store_that_keeps_nothing() -> Iterator[int]:
    """Reads bodies into one buffer, in a thread."""

    def read() -> None:
        connection, _ = listening.accept()
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                head += connection.recv(4096)
            left = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            left -= len(head.partition(b"\r\n\r\n")[2])
            while left:
                left -= connection.recv_into(buffer, min(left, len(buffer)))
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    buffer = bytearray(MIB)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        reading = threading.Thread(target=read)
        reading.start()
        yield listening.getsockname()[1]
        reading.join()


@pytest.mark.slow
@pytest.mark.parametrize(
    "sizes",
    [[200 * MIB], [CHUNK_BYTES // 2] * 1600, [CHUNK_BYTES - 100] * 800],
    ids=["one huge file", "files read whole", "files read in pieces"],
)
async def test_a_shard_in_flight_holds_one_chunk(grant: MakeGrant, tmp_path: Path, sizes: list[int]) -> None:
    entry = entry_of(tmp_path, "a.jpg", sizes[0])
    entries = [
        Entry(0, entry.path, f"{place}.jpg", size, entry.mtime_ns, entry.inode) for place, size in enumerate(sizes)
    ]
    with a_store_that_keeps_nothing() as port:
        async with open_sender() as sender:
            job = job_of(tmp_path, grant(port), *entries)
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                result = await sender.send(job, ignore)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert (result.outcome, result.bytes_sent) == (Outcome.STORED, job.tar_bytes)
    assert CHUNK_BYTES <= peak - before <= SHARD_MEMORY_BYTES
