"""The receiver over real connections: who is let in, what is kept, and that 2xx means durable."""

from __future__ import annotations

import asyncio
import io
import json
import random
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import anyio
import pytest
from aiohttp import web

from rfbulk.core.notices import Notice
from rfbulk.core.secrets import ApiKey
from rfbulk.edge.notices_store import Delivery, Inbox
from rfbulk.edge.webhook import ReceiverOptions, receiver_app, serve_app
from rfbulk.errors import NoRoom, UsageError
from tests.edge.test_notices_store import inbox_of, job_event

pytestmark = pytest.mark.anyio

KEY = "rf_c4n4ry"
OTHER = "rf_next"
GOOD = {"Authorization": f"Bearer {KEY}"}
PATH = "/hook-7f3a"


@dataclass
class FakeInbox:
    """Keeps in memory, or fails."""

    kept: list[bytes] = field(default_factory=list)
    full: bool = False

    async def store(self, body: bytes, notice: Notice) -> Delivery:  # noqa: ARG002 - the port's shape
        if self.full:
            raise NoRoom("write", "the checkpoint", cause="the disk is full")
        self.kept.append(body)
        return Delivery.NEW


@dataclass
class Receiver:
    """A receiver that listens, and what it has told."""

    url: str
    inbox: FakeInbox
    session: aiohttp.ClientSession
    told: list[tuple[Notice, Delivery]]

    async def post(
        self,
        body: bytes | io.BytesIO | AsyncIterator[bytes] = b"",
        headers: dict[str, str] | None = None,
        path: str = PATH,
    ) -> tuple[int, bytes]:
        given = GOOD if headers is None else headers
        async with self.session.post(self.url + path, data=body, headers=given) as response:
            return response.status, await response.read()


@asynccontextmanager
async def receiver_of(*, body_seconds: float = 5.0, under: str = "") -> AsyncIterator[Receiver]:
    inbox = FakeInbox()
    told: list[tuple[Notice, Delivery]] = []
    options = ReceiverOptions((ApiKey(KEY), ApiKey(OTHER)), (PATH, "/base" + PATH), body_seconds=body_seconds)
    app = receiver_app(options, inbox, lambda notice, delivery: told.append((notice, delivery)))
    if under:
        outer = web.Application()
        outer.add_subapp(under, app)
        app = outer
    async with serve_app(app, "127.0.0.1", 0) as url, aiohttp.ClientSession() as session:
        yield Receiver(url + under, inbox, session, told)


@pytest.mark.parametrize("authorization", [f"Bearer {KEY}", f"bearer  {KEY} ", KEY, OTHER, f"Bearer {OTHER}"])
async def test_each_key_is_taken_bare_or_as_a_bearer(authorization: str) -> None:
    async with receiver_of() as receiver:
        assert await receiver.post(job_event(), {"Authorization": authorization}) == (200, b"")
        assert receiver.inbox.kept == [job_event()]
        ((notice, delivery),) = receiver.told
    assert (notice.event_id, delivery) == ("e-1", Delivery.NEW)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer "},
        {"Authorization": f"Bearer {KEY}x"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY.upper()},
        {"Authorization": "ä"},
        {"X-Authorization": KEY},
    ],
)
async def test_anybody_else_gets_an_empty_401(headers: dict[str, str]) -> None:
    async with receiver_of() as receiver:
        assert await receiver.post(job_event(), headers) == (401, b"")
        assert (receiver.inbox.kept, receiver.told) == ([], [])


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD", "OPTIONS"])
async def test_other_methods_are_refused_before_anything_else(method: str) -> None:
    async with receiver_of() as receiver, receiver.session.request(method, receiver.url + PATH) as response:
        assert (response.status, response.headers["Allow"]) == (405, "POST")


@pytest.mark.parametrize("path", ["/", "/hook", PATH + "/", PATH + "x", "/x" + PATH])
async def test_no_other_path_is_answered(path: str) -> None:
    async with receiver_of() as receiver:
        assert (await receiver.post(job_event(), path=path))[0] == 404


async def test_each_of_its_paths_is_answered() -> None:
    """A proxy in front may hand on its own path, or not."""
    async with receiver_of() as receiver:
        assert (await receiver.post(job_event(), path="/base" + PATH))[0] == 200


async def test_it_serves_below_an_application_of_somebody_else() -> None:
    async with receiver_of(under="/roboflow") as receiver:
        assert await receiver.post(job_event()) == (200, b"")
        assert (await receiver.post(job_event(), path="/else"))[0] == 404


async def test_a_large_body_is_refused_by_what_it_announces_before_authorization() -> None:
    async with receiver_of() as receiver:
        assert (await receiver.post(io.BytesIO(b" " * ((1 << 20) + 1)), {}))[0] == 413


async def test_a_large_body_that_announces_nothing_is_refused_too() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * (1 << 16)

    async with receiver_of() as receiver:
        assert (await receiver.post(chunks()))[0] == 413
        assert receiver.inbox.kept == []


async def test_a_body_may_be_as_large_as_is_allowed() -> None:
    body = job_event() + b" " * ((1 << 20) - len(job_event()))
    async with receiver_of() as receiver:
        assert (await receiver.post(body))[0] == 200


async def test_a_body_that_trickles_is_not_waited_for() -> None:
    async with receiver_of(body_seconds=0.1) as receiver:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(receiver.url.rpartition(":")[2]))
        head = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nAuthorization: {KEY}\r\nContent-Length: 99\r\n\r\n{{"
        writer.write(head.encode())
        with anyio.fail_after(5.0):
            assert (await reader.readline()).startswith(b"HTTP/1.1 408 ")
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"type": "roboflow-batch-job-notification-v1"}'])
async def test_what_is_no_notification_is_refused(body: bytes) -> None:
    async with receiver_of() as receiver:
        assert await receiver.post(body) == (400, b"")
        assert receiver.inbox.kept == []


async def test_what_cannot_be_kept_is_asked_for_again() -> None:
    """503 and not 2xx: the sender delivers again, and nothing is lost."""
    async with receiver_of() as receiver:
        receiver.inbox.full = True
        assert await receiver.post(job_event()) == (503, b"")
        assert receiver.told == []
        receiver.inbox.full = False
        assert await receiver.post(job_event()) == (200, b"")


async def test_the_key_is_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with receiver_of() as receiver:
        await receiver.post(b"nonsense " + KEY.encode())
        await receiver.post(job_event(), {"Authorization": f"{KEY}x"})
    assert KEY not in caplog.text
    assert KEY not in repr(ReceiverOptions((ApiKey(KEY),)))


@pytest.mark.parametrize("paths", [(), ("hook",), ("/", "hook")])
def test_a_path_that_is_none_is_refused(paths: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="begins with /"):
        ReceiverOptions((ApiKey(KEY),), paths)


def test_a_receiver_without_a_key_is_refused() -> None:
    with pytest.raises(UsageError, match="no key"):
        ReceiverOptions(())
    with pytest.raises(UsageError, match="no key"):
        ReceiverOptions((ApiKey(""),))


async def test_an_address_that_is_taken_is_told() -> None:
    async with serve_app(web.Application(), "127.0.0.1", 0) as url:
        with pytest.raises(UsageError, match="listen at"):
            async with serve_app(web.Application(), "127.0.0.1", int(url.rpartition(":")[2])):
                pass


# the storm

EVENTS = 10_000
AT_ONCE = 100


@dataclass
class Storm:
    """Deliveries of many events in a wild order; each is sent until it is answered 2xx, and some more often."""

    left: list[bytes]
    answered: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)

    async def blow(self, url: str, count: int) -> None:
        """Send so many deliveries, some together. One that is not answered 2xx is sent again later."""
        connector = aiohttp.TCPConnector(limit=AT_ONCE)
        taken = [self.left.pop() for _ in range(min(count, len(self.left)))]
        async with aiohttp.ClientSession(connector=connector) as session, anyio.create_task_group() as tasks:
            for worker in range(AT_ONCE):
                tasks.start_soon(self._send, session, url, taken[worker::AT_ONCE])

    async def _send(self, session: aiohttp.ClientSession, url: str, bodies: list[bytes]) -> None:
        for body in bodies:
            began = time.perf_counter()
            async with session.post(url, data=body, headers=GOOD) as response:
                self.answered[response.status] += 1
            self.seconds.append(time.perf_counter() - began)


def storm_of(events: int, seed: int = 1) -> tuple[Storm, int]:
    """Every event once, a third of them again and one in fifty with another content, all shuffled."""
    chance = random.Random(seed)
    deliveries = [job_event(f"e-{number}") for number in range(events)]
    deliveries += [job_event(f"e-{chance.randrange(events)}", attempt=2) for _ in range(events // 3)]
    conflicting = chance.sample(range(events), events // 50)
    deliveries += [job_event(f"e-{number}", state="fail") for number in conflicting]
    chance.shuffle(deliveries)
    return Storm(deliveries), len(conflicting)


@pytest.mark.slow
async def test_a_storm_is_kept_once_each_and_answered_after_the_commit(
    tmp_path: Path, anyio_backend: tuple[str, dict[str, bool]]
) -> None:
    """Ten thousand events with duplicates, conflicts and a restart in the middle, as a service in trouble sends."""
    count = EVENTS if anyio_backend[1]["use_uvloop"] else EVENTS // 10  # one storm of full strength is enough
    storm, conflicting = storm_of(count)
    total = len(storm.left)
    durable: set[str] = set()

    def on_kept(notice: Notice, delivery: Delivery) -> None:
        durable.add(notice.event_id)

    options = ReceiverOptions((ApiKey(KEY),))
    for part in (total // 2, total):
        async with inbox_of(tmp_path) as inbox:
            async with serve_app(receiver_app(options, inbox, on_kept), "127.0.0.1", 0) as url:
                await storm.blow(url, part)
            events, deliveries, _ = await inbox.counts()
            others = await inbox._run(lambda db: db.execute("SELECT count(*) FROM conflicts").fetchone()[0])
    assert storm.answered == {200: total}
    assert (events, deliveries, others) == (count, total, conflicting)
    assert len(durable) == count
    p99 = statistics.quantiles(storm.seconds, n=100)[98]
    assert p99 < 5.0  # well within any sender's patience, on the slowest machine


async def test_no_answer_comes_before_the_commit(tmp_path: Path) -> None:
    """While the disk is busy, the sender waits."""
    async with inbox_of(tmp_path) as inbox:
        holding = anyio.Event()
        release = asyncio.get_running_loop().create_future()

        class Slow:
            async def store(self, body: bytes, notice: Notice) -> Delivery:
                delivery = await inbox.store(body, notice)
                holding.set()
                await release
                return delivery

        app = receiver_app(ReceiverOptions((ApiKey(KEY),)), Slow(), lambda _notice, _delivery: None)
        async with serve_app(app, "127.0.0.1", 0) as url, aiohttp.ClientSession() as session:
            sending = asyncio.ensure_future(session.post(url, data=job_event(), headers=GOOD))
            await holding.wait()
            await asyncio.sleep(0)
            assert not sending.done()
            assert await _kept(inbox) == ["e-1"]
            release.set_result(None)
            assert (await sending).status == 200


async def _kept(inbox: Inbox) -> list[str]:
    return [json.loads(kept.body)["event_id"] for kept in await inbox.to_follow(9)]
