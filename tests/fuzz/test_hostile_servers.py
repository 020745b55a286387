"""Servers that answer with anything at all, real sockets and the real client: a record, or an error of ours, in time.

Whatever comes where an answer of the API, of a PUT or of a GET should be, and however long it goes on.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.fetching import FetchJob, FetchKind, FetchOutcome, UnpackLimits
from rfbulk.core.model import BatchId, Entry, Grant, Outcome, ShardJob
from rfbulk.core.secrets import ApiKey, SignedUrl
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.edge.api import ServiceApi
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import RfbulkError
from rfbulk.receivers.inline import Folders, open_inline_receiver
from rfbulk.senders.inline import open_inline_sender
from tests.fuzz.budget import EXAMPLES, profile
from tests.fuzz.readers import BY_NAME
from tests.fuzz.spoiling import NASTY, foreign
from tests.support.archives import END, member, packed

pytestmark = [pytest.mark.slow]
STALL_SECONDS = 1.0
MOST_SECONDS = 20.0
"""On a busy machine; endless answers would go on for ever."""

BATCH = BatchId("b")
ENTRY_BYTES = 3000


@dataclass
class Unlimited:
    """A rate that nobody waits for."""

    def due(self, _count: int) -> float:
        return 0.0


@dataclass
class Hostile:
    """A server that says `said`, then `endless` until nobody listens any more, and hangs up."""

    said: bytes = b""
    endless: bytes = b""
    asked: int = 0
    port: int = 0
    _threads: list[threading.Thread] = field(default_factory=list)

    def accept(self, listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connected, _ = listening.accept()
                thread = threading.Thread(target=self._serve, args=(connected,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self, connected: socket.socket) -> None:
        with contextlib.suppress(OSError), connected:
            connected.settimeout(MOST_SECONDS)
            _read_request(connected)
            self.asked += 1
            connected.sendall(self.said)
            while self.endless:
                connected.sendall(self.endless)
            connected.shutdown(socket.SHUT_WR)
            while connected.recv(1 << 16):
                pass


def _read_request(connected: socket.socket) -> None:
    data = b""
    while b"\r\n\r\n" not in data:
        data += connected.recv(1 << 16)
    head, _, body = data.partition(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            left = int(line.partition(b":")[2]) - len(body)
            while left > 0:
                left -= len(connected.recv(1 << 16))


@contextmanager
def hostile() -> Iterator[Hostile]:
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        server = Hostile(port=listening.getsockname()[1])
        threading.Thread(target=server.accept, args=(listening,), daemon=True).start()
        yield server
        listening.shutdown(socket.SHUT_RDWR)


@dataclass
class Asking:
    """What asks: a call of the API, a PUT, a GET of a file and of an archive."""

    server: Hostile
    portal: BlockingPortal
    api: ServiceApi
    sender: Any
    receiver: Any
    folder: Path

    @property
    def url(self) -> SignedUrl:
        return SignedUrl(f"http://127.0.0.1:{self.server.port}/o?X-Goog-Signature=c4n4ry")

    def call(self) -> object:
        return self.portal.call(self.api.count, BATCH)

    def list(self) -> object:
        return self.portal.call(self.api.files_page, BATCH)

    def ask_for_grant(self) -> object:
        return self.portal.call(self.api.request_shard_grant, BATCH, "b")

    def put(self) -> object:
        status = (self.folder / "a.jpg").stat()
        entries = (Entry(0, b"a.jpg", "a.jpg", ENTRY_BYTES, status.st_mtime_ns, status.st_ino),)
        grant = Grant(self.url, {}, None, None, once_only=False)
        job = ShardJob(1, (os.fsencode(self.folder),), entries, b"", tar_bytes(entries, b""), grant)
        result = self.portal.call(self.sender.send, job, _ignore)
        assert isinstance(result.outcome, Outcome)
        assert "c4n4ry" not in repr(result)
        return result

    def get(self, kind: FetchKind = FetchKind.PLAIN) -> object:
        target = self.folder / "target"
        job = FetchJob(1, self.url, os.fsencode(target), os.fsencode(target / ".s"), "a.jpg", kind=kind)
        (result,) = self.portal.call(self.receiver.fetch, [job], _ignore)
        assert isinstance(result.outcome, FetchOutcome)
        assert "c4n4ry" not in repr(result)
        assert all(path.is_relative_to(target) for path in target.rglob("*"))
        assert sorted(path.name for path in self.folder.iterdir()) == ["a.jpg", "target"]
        return result

    def get_archive(self) -> object:
        return self.get(FetchKind.TAR_GZ)


def _ignore(_count: int) -> None:
    pass


@pytest.fixture(scope="module")
def asking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "a.jpg").write_bytes(b"x" * ENTRY_BYTES)
    (folder / "target").mkdir()
    options = TransportOptions(connect_seconds=5.0, answer_seconds=1.5, environment={})
    folders = Folders(os.fsencode(folder / "target"), os.fsencode(folder / "target" / ".s"))
    with ExitStack() as stack:
        server = stack.enter_context(hostile())
        portal = stack.enter_context(start_blocking_portal())
        transport = stack.enter_context(portal.wrap_async_context_manager(open_transport(options)))
        sending = open_inline_sender(
            transport.ways, chunk_bytes=1 << 16, stall_seconds=STALL_SECONDS, rate=None, most_at_once=2
        )
        receiving = open_inline_receiver(
            transport,
            folders,
            stall_seconds=STALL_SECONDS,
            rate=Unlimited(),
            most_at_once=2,
            limits=UnpackLimits(reserve_bytes=0, most_bytes=32 << 20, ratio_from_bytes=1 << 20),
        )
        sender = stack.enter_context(portal.wrap_async_context_manager(sending))
        receiver = stack.enter_context(portal.wrap_async_context_manager(receiving))
        api = ServiceApi(transport, f"http://127.0.0.1:{server.port}", ApiKey("c4n4ry"), "w")
        yield Asking(server, portal, api, sender, receiver, folder)


ROADS: dict[str, Callable[[Asking], object]] = {
    "call": Asking.call,
    "listing": Asking.list,
    "grant": Asking.ask_for_grant,
    "put": Asking.put,
    "get": Asking.get,
    "archive": Asking.get_archive,
}
BODIES = {
    "call": "count",
    "listing": "files",
    "grant": "grant",
    "put": "store-error",
    "get": "image",
    "archive": "archive",
}


def ask(asking: Asking, road: str, said: bytes, endless: bytes = b"") -> None:
    """Ask once, and let nothing but a result or an error of ours come out."""
    asking.server.said, asking.server.endless = said, endless
    before, began = asking.server.asked, time.monotonic()
    for _ in range(3):  # the first may go over a connection that the last answer has just ended
        with contextlib.suppress(RfbulkError):
            ROADS[road](asking)
        if asking.server.asked > before:
            break
    assert asking.server.asked > before
    assert time.monotonic() - began < MOST_SECONDS


def whole(body: bytes, *, status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)


@pytest.mark.parametrize("road", ROADS)
def test_any_body_and_any_head_may_come(asking: Asking, road: str) -> None:
    reader = BY_NAME[BODIES[road]]
    heads = BY_NAME["head"].samples

    @profile(EXAMPLES)
    @given(
        st.one_of(
            st.tuples(
                foreign(reader.samples, is_json=reader.is_json).map(lambda body: body[:100_000]),
                st.sampled_from([b"200 OK", b"204 None", b"206 Part", b"302 Found", b"400 Bad", b"403 No", b"500 Oh"]),
            ).map(lambda pair: whole(pair[0], status=pair[1])),
            foreign(heads, is_json=False),
            foreign(tuple(map(whole, reader.samples)), is_json=False),
        )
    )
    def try_one(said: bytes) -> None:
        ask(asking, road, said)

    try_one()


ENDLESS = {
    "interim answers": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 500),
    "early hints": (b"", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" * 500),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-More: y\r\n" * 1000),
    "one header": (b"HTTP/1.1 200 OK\r\nX-More: ", b"y" * 20_000),
    "a status": (b"HTTP/1.1 200 ", b"y" * 20_000),
    "noise": (b"", os.urandom(20_000)),
    "zeros": (b"", bytes(20_000)),
    "trailers": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X-More: y\r\n" * 1000),
    "a size of a chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1" * 10_000),
    "an error": (b"HTTP/1.1 500 Oh\r\n\r\n", b"<Error>" * 3000),
    "an error in chunks": (b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nabcde\r\n" * 2000),
    "redirects": (b"HTTP/1.1 302 Found\r\nLocation: /next\r\nContent-Length: 0\r\n\r\n", b""),
}


@pytest.mark.parametrize("what", ENDLESS)
@pytest.mark.parametrize("road", ["call", "put", "get", "archive"])
def test_what_has_no_end_is_ended(asking: Asking, road: str, what: str) -> None:
    ask(asking, road, *ENDLESS[what])


@pytest.mark.parametrize("road", ["call", "listing"])
def test_an_endless_body_of_the_api_is_not_read_to_its_end(asking: Asking, road: str) -> None:
    ask(asking, road, b"HTTP/1.1 200 OK\r\n\r\n", b" " * 100_000)


def test_an_archive_that_expands_without_end_is_ended_at_its_limit(asking: Asking) -> None:
    bomb = packed(member("a", b"\0" * (24 << 20)) + END)
    ask(asking, "archive", whole(bomb))
    ask(asking, "archive", whole(bomb)[:-40], bomb)


@pytest.mark.parametrize("nasty", NASTY[:30])
def test_bytes_in_the_place_of_a_whole_answer(asking: Asking, nasty: bytes) -> None:
    for road in ROADS:
        ask(asking, road, nasty)
