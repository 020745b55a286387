"""A socket is waited for by what the system has: `poll`, or `select` where there is none."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from rfbulk.edge import polling
from rfbulk.edge.polling import READABLE, WRITABLE, Poller
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import TroublePassing
from tests.edge.test_transport import answering, exchange

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.edge.conftest import Authority, Serve


@pytest.fixture(autouse=True, params=[True, False], ids=["poll", "select"])
def has_poll(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(polling, "HAS_POLL", request.param)
    return bool(request.param)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_nothing_comes_in_time(pair: tuple[socket.socket, socket.socket]) -> None:
    assert Poller(pair[0]).wait(pair[0], READABLE, 0.01) == 0


def test_what_it_has_become_is_told(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    poller = Poller(ours)
    assert poller.wait(ours, WRITABLE, 0) == WRITABLE
    theirs.send(b"x")
    assert poller.wait(ours, READABLE, 1) == READABLE
    assert poller.wait(ours, READABLE | WRITABLE, 1) == READABLE | WRITABLE


def test_an_end_is_heard_while_room_is_waited_for(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.shutdown(socket.SHUT_WR)
    assert Poller(ours).wait(ours, READABLE | WRITABLE, 1) & ~WRITABLE


@pytest.mark.anyio
@pytest.mark.parametrize("is_secure", [False, True])
async def test_calls_are_made_over_either(serve: Serve, authority: Authority, is_secure: bool) -> None:
    options = TransportOptions(ca_file=authority.ca_file, environment={})
    context = authority.context("127.0.0.1") if is_secure else None
    async with serve(answering, context) as server, open_transport(options) as transport:
        url = f"{'https' if is_secure else 'http'}://127.0.0.1:{server.port}/a"
        for body in (None, bytes(3_000_000)):
            answer = await transport.exchange("POST", url, operation="ask", subject="it", max_bytes=1000, body=body)
            assert (answer.status, answer.body) == (200, b"{}")


@pytest.mark.anyio
async def test_a_refused_connection_is_told_by_either(serve: Serve) -> None:
    async with serve(answering) as server:
        pass
    async with open_transport(TransportOptions(environment={})) as transport:
        with pytest.raises(TroublePassing, match="Connection refused"):
            await exchange(transport, server.port, "GET")
