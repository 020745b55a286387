from __future__ import annotations

import contextlib
import select
import socket
import ssl
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rfbulk.core.heads import HeadFault
from rfbulk.edge.answers import read_answer
from rfbulk.edge.lines import MAX_HEAD_BYTES, Call, CalledOff, Line, open_line
from rfbulk.edge.troubles import LINE_ERRORS

STORE = "http://store.example/o"


def a_call() -> Call:
    return Call(lambda _count: None)


@contextlib.contextmanager
def a_line(call: Call | None = None) -> Iterator[tuple[Line, socket.socket]]:
    """A line that serves an attempt, and its other end."""
    ours, theirs = socket.socketpair()
    line = Line(ours)
    with theirs:
        try:
            line.serve(call or a_call())
            line.limit(1)
            yield line, theirs
        finally:
            line.close()


PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 403\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: -9\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"x-goog-hash: crc32c=AAAAAQ==\r\n",
        b"Date: yesterday\r\nRetry-After: \xff\r\n",
        b" folded\r\n",
        b": nothing\r\n",
        b"\r\n",
        b"\n",
        b"abc",
        b"3\r\nabc\r\n0\r\n",
        b"\x00\xff",
    ]
)


@given(said=st.one_of(st.binary(max_size=200), st.lists(PARTS, max_size=12).map(b"".join)))
@example(said=b"HTTP/1.1 200 OK\r\n\r\n")
@example(said=b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
def test_whatever_is_said_is_an_answer_or_an_error_of_the_line(said: bytes) -> None:
    with a_line() as (line, theirs):
        theirs.sendall(said)
        theirs.close()
        line.limit(60)  # the end of the connection ends it, not the clock
        with contextlib.suppress(*LINE_ERRORS):
            answer, _ = read_answer(line, STORE, 0)
            assert 200 <= answer.status < 600


@pytest.mark.parametrize("cut", range(len(b"HTTP/1.1 200 OK\r\nETag: x\r\n\r\n")))
def test_a_head_that_is_cut_short_anywhere_is_no_answer(cut: int) -> None:
    with a_line() as (line, theirs):
        theirs.sendall(b"HTTP/1.1 200 OK\r\nETag: x\r\n\r\n"[:cut])
        theirs.close()
        with pytest.raises(ConnectionResetError):
            line.head()


def test_a_head_without_end_is_read_no_further_than_its_limit() -> None:
    with a_line() as (line, theirs):
        theirs.setblocking(False)
        said = b"HTTP/1.1 200 OK\r\nx: " + b"y" * (2 * MAX_HEAD_BYTES)
        theirs.send(said)
        with pytest.raises(HeadFault):
            line.head()


def test_an_answer_that_comes_while_sending_ends_the_sending() -> None:
    sent: list[int] = []
    with a_line() as (line, theirs):
        theirs.sendall(b"HTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 4")
        assert line.send(b"abc", sent.append)
        theirs.sendall(b"03 Forbidden\r\n\r\n")
        assert not line.send(b"def", sent.append)
        assert line.head().status == 403
        assert theirs.recv(100) == b"abc"
    assert sent == [3]


def test_what_is_told_as_sent_is_what_was_sent_and_never_nothing() -> None:
    sent: list[int] = []
    with a_line() as (line, theirs):
        line.limit(0.01)
        with pytest.raises(TimeoutError):
            line.send(bytes(8 << 20), sent.append)
        theirs.setblocking(False)
        arrived = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                arrived += len(theirs.recv(1 << 20))
    assert 0 not in sent
    assert sum(sent) == arrived


def test_a_line_is_quiet_until_something_comes_unasked() -> None:
    with a_line() as (line, theirs):
        assert line.is_quiet()
        theirs.sendall(b"x")
        assert not line.is_quiet()
    with a_line() as (line, theirs):
        theirs.close()
        assert not line.is_quiet()


def test_a_line_that_was_let_go_is_not_cut_by_its_former_attempt() -> None:
    call = a_call()
    with a_line(call) as (line, theirs):
        line.rest()
        call.call_off()
        line.serve(a_call())
        assert line.send(b"abc")
        assert theirs.recv(10) == b"abc"


def test_a_line_that_was_called_off_is_cut_and_used_no_more() -> None:
    call = a_call()
    with a_line(call) as (line, theirs):
        call.call_off()
        assert theirs.recv(1) == b""
        for use in (lambda: line.send(b"a"), line.head, lambda: call.wait(60)):
            with pytest.raises(CalledOff):
                use()


def test_what_waits_to_be_sent_is_thrown_away_at_the_close() -> None:
    """A mere close would deliver it; the peer sees a reset instead of an orderly end."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        call = a_call()
        line = open_line("127.0.0.1", listening.getsockname()[1], call, ends_at=float("inf"))
        theirs, _ = listening.accept()
        with theirs:
            line.send(b"abc")
            line.close()
            poller = select.poll()
            poller.register(theirs, select.POLLIN)
            assert poller.poll(1000)[0][1] & select.POLLHUP
    assert call._socket is None


@pytest.mark.parametrize(("host", "family"), [("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)])
def test_little_waits_in_the_system_for_a_reader_on_this_machine(host: str, family: socket.AddressFamily) -> None:
    """Megabytes would have left the cache before they are read. Linux doubles the number, for what it writes itself."""
    try:
        server = socket.create_server((host, 0), family=family)
    except OSError as error:
        pytest.skip(f"no {family.name} here: {error}")
    with server as listening:
        call = a_call()
        line = open_line(host, listening.getsockname()[1], call, ends_at=float("inf"))
        assert call._socket is not None
        assert 160 << 10 <= call._socket.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 320 << 10
        line.close()


def test_a_handshake_with_who_is_gone_sends_nothing_in_clear() -> None:
    with a_line() as (line, theirs):
        theirs.close()
        with pytest.raises((ConnectionError, ssl.SSLError)):
            line.secure(ssl.create_default_context(), "store.example")
