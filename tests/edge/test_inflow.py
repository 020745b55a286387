from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.heads import HeadFault
from rfbulk.edge.inflow import Inflow
from rfbulk.edge.lines import Call, Line
from rfbulk.edge.troubles import LINE_ERRORS


@contextlib.contextmanager
def an_inflow(said: bytes, *, buffer_bytes: int = 1 << 17) -> Iterator[Inflow]:
    """Where all that comes has been said, and the other side has gone."""
    ours, theirs = socket.socketpair()
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    line = Line(ours)
    try:
        line.serve(Call(lambda _count: None))
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        yield Inflow(line, bytearray(buffer_bytes), stall_seconds=60)
    finally:
        line.close()
        theirs.close()


def answers(inflow: Inflow, count: int) -> list[bytes]:
    return [b"".join(map(bytes, inflow.body(inflow.ask(b"GET / HTTP/1.1\r\n\r\n")))) for _ in range(count)]


BODIES = st.lists(st.tuples(st.binary(max_size=3000), st.sampled_from(["length", "chunked"])), min_size=1, max_size=5)


def framed(body: bytes, framing: str, chunk: int) -> bytes:
    if framing == "length":
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    pieces = [body[start : start + chunk] for start in range(0, len(body), chunk)]
    chunks = b"".join(b"%x;name=value\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%b0\r\nTrailer: x\r\n\r\n" % chunks


@given(BODIES, st.integers(1, 2000), st.integers(1100, 5000))
def test_answers_are_told_apart_whatever_their_framing_and_the_buffer(
    bodies: list[tuple[bytes, str]], chunk: int, buffer_bytes: int
) -> None:
    said = b"".join(framed(body, framing, chunk) for body, framing in bodies)
    with an_inflow(said, buffer_bytes=buffer_bytes) as inflow:
        assert answers(inflow, len(bodies)) == [body for body, _ in bodies]


def test_interim_answers_are_passed_over() -> None:
    said = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + framed(b"abc", "length", 1)
    with an_inflow(said) as inflow:
        assert answers(inflow, 1) == [b"abc"]
        assert inflow.is_at_start


@pytest.mark.parametrize(
    ("said", "is_at_start"),
    [
        (framed(b"abc", "length", 1), True),
        (framed(b"abc", "chunked", 2), True),
        (framed(b"", "length", 1), True),
        (framed(b"abc", "length", 1) + b"H", False),
        (framed(b"", "length", 1) + b"H", False),
        (b"HTTP/1.1 200 OK\r\n\r\nabc", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc", False),
    ],
    ids=["length", "chunks", "empty", "more than asked for", "more behind nothing", "to the end", "close"],
)
def test_another_request_goes_only_where_an_answer_has_plainly_ended(said: bytes, is_at_start: bool) -> None:
    with an_inflow(said) as inflow:
        answers(inflow, 1)
        assert inflow.is_at_start is is_at_start


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_an_answer_that_is_cut_short_anywhere_is_never_whole(framing: str) -> None:
    said = framed(b"abcdef", framing, 4)
    for cut in range(len(said)):
        with an_inflow(said[:cut]) as inflow:
            with pytest.raises((ConnectionError, HeadFault)):
                answers(inflow, 1)
            assert not inflow.is_at_start
            assert inflow.is_silent == (cut == 0)


PARTS = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.0 403\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: -9\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"\r\n",
        b"abc",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"fffffffffffffff\r\n",
        b"\x00\xff",
    ]
)


@given(st.one_of(st.binary(max_size=200), st.lists(PARTS, max_size=12).map(b"".join)))
def test_whatever_is_said_is_an_answer_or_an_error_of_the_line(said: bytes) -> None:
    with an_inflow(said) as inflow, contextlib.suppress(*LINE_ERRORS):
        answers(inflow, 3)


def test_what_has_no_end_is_read_no_further_than_its_limit() -> None:
    with an_inflow(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000) as inflow, pytest.raises(HeadFault):
        answers(inflow, 1)
    endless = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"0" * 100_000
    with an_inflow(endless) as inflow, pytest.raises(HeadFault):
        answers(inflow, 1)
