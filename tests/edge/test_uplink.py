from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import os
import random
import resource
import socket
import ssl
import threading
import traceback
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import google_crc32c
import pytest

from rfbulk.core.model import Grant
from rfbulk.core.secrets import SignedUrl
from rfbulk.edge.answers import PutAnswer, PutBroken, WrongLength
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.edge.troubles import TroubleKind
from rfbulk.edge.uplink import PIECE_BYTES, Uplink
from rfbulk.errors import NotAuthorised, ServiceRefused, UsageError
from tests.edge.conftest import SIGNATURE, Proxy

if TYPE_CHECKING:
    from tests.edge.conftest import Authority, Connection, MakeGrant, Serve, Server

pytestmark = pytest.mark.anyio

MIB = 1 << 20
ENDLESS = 1 << 30
OPTIONS = TransportOptions(connect_seconds=5.0, environment={})
XML_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>It has expired: %s</Message></Error>" % SIGNATURE.encode()
Source = Callable[[], bytes]


def given(*chunks: bytes) -> Source:
    return partial(next, iter(chunks), b"")


def endless(chunk: bytes = bytes(MIB)) -> Source:
    return lambda: chunk


def a_call() -> Call:
    return Call(lambda _count: None)


@contextlib.asynccontextmanager
async def open_uplink(options: TransportOptions = OPTIONS) -> AsyncIterator[Uplink]:
    async with open_transport(options) as transport:
        uplink = Uplink(transport.ways)
        try:
            yield uplink
        finally:
            uplink.close()


async def put(
    uplink: Uplink, granted: Grant, length: int, source: Source, *, call: Call | None = None, stall_seconds: float = 5.0
) -> PutAnswer:
    work = partial(uplink.put, granted, length, source, call or a_call(), stall_seconds=stall_seconds)
    return await anyio.to_thread.run_sync(work)


async def stored(connection: Connection) -> None:
    """A store that keeps everything it is sent."""
    while True:
        await connection.request()
        await connection.answer("200 OK", b"", 'ETag: "abc"')


async def trickled(connection: Connection) -> None:
    """Say a letter now and then, until nobody hears."""
    with contextlib.suppress(RuntimeError):  # uvloop says so of a connection that has ended
        while not connection.writer.is_closing():
            await asyncio.sleep(0.01)
            connection.writer.write(b"x")


def trusting(authority: Authority) -> TransportOptions:
    return TransportOptions(connect_seconds=5.0, ca_file=authority.ca_file, environment={})


@pytest.fixture(params=["plain", "tls"])
def tls(request: pytest.FixtureRequest, authority: Authority) -> ssl.SSLContext | None:
    return authority.context("127.0.0.1") if request.param == "tls" else None


def scheme_of(tls: ssl.SSLContext | None) -> str:
    return "http" if tls is None else "https"


async def incomplete_at(server: Server) -> bool:
    """Tell whether the server's one connection ended with a body cut short."""
    await server.closed.wait()
    return [type(end) in (asyncio.IncompleteReadError, ConnectionResetError) for end in server.ended] == [True]


# what is sent


async def test_what_is_sent_is_exactly_the_grant_and_the_body(serve: Serve, grant: MakeGrant) -> None:
    """A header more than was signed, or a URL spelled in another way, breaks the signature."""
    seen: list[tuple[bytes, bytes]] = []

    async def store(connection: Connection) -> None:
        seen.append(await connection.request())
        await connection.answer("200 OK")

    async with serve(store) as server, open_uplink() as uplink:
        granted = grant(server.port, **{"x-goog-content-length-range": "0,99", "X-Odd-Case": "as is"})
        await put(uplink, granted, 5, given(b"ab", b"cde"))
    head, body = seen[0]
    assert head.decode().split("\r\n") == [
        f"PUT /bucket/a%2Fb.tar?X-Goog-Signature={SIGNATURE}&n=%2F HTTP/1.1",
        f"Host: 127.0.0.1:{server.port}",
        "x-goog-content-length-range: 0,99",
        "X-Odd-Case: as is",
        "Content-Length: 5",
        "",
        "",
    ]
    assert body == b"abcde"


async def test_a_url_is_sent_as_it_was_spelled(serve: Serve) -> None:
    heads: list[bytes] = []
    target = "/a+b%20c;x=1//d/%2e%2E/e?q=a+b%2B&sig=A%2FB%3D&e&x==&%zz=~!*'()"

    async def store(connection: Connection) -> None:
        heads.append((await connection.request())[0])
        await connection.answer("200 OK")

    async with serve(store) as server, open_uplink() as uplink:
        url = SignedUrl(f"http://127.0.0.1:{server.port}{target}")
        await put(uplink, Grant(url, {}, None, None, once_only=False), 0, given())
    assert heads[0].split(b"\r\n")[0].decode() == f"PUT {target} HTTP/1.1"


async def test_an_empty_object_is_sent(serve: Serve, grant: MakeGrant) -> None:
    async with serve(stored) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 0, given())
    assert (answer.status, answer.bytes_sent) == (200, 0)


async def test_what_the_store_says_of_the_object_is_read(serve: Serve, grant: MakeGrant) -> None:
    crc = google_crc32c.value(b"abc")
    said = base64.b64encode(crc.to_bytes(4, "big")).decode()

    async def store(connection: Connection) -> None:
        await connection.request()
        headers = (f"x-goog-hash: crc32c={said}", "x-goog-hash: md5=kAFQmDzST7DWlj99KOF/cg==", 'ETag: "e"')
        await connection.answer("200 OK", b"", *headers, "Date: Wed, 01 Jan 2025 12:00:00 GMT")

    async with serve(store) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 3, given(b"abc"))
    assert (answer.status, answer.crc32c, answer.md5, answer.etag) == (200, crc, "kAFQmDzST7DWlj99KOF/cg==", '"e"')
    assert answer.bytes_sent == 3


async def test_a_final_error_is_an_answer(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer("400 Bad Request", XML_EXPIRED, "Retry-After: 7")

    async with serve(store) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 1, given(b"a"))
    assert (answer.status, answer.error_code, answer.retry_after) == (400, "ExpiredToken", 7.0)
    assert answer.error_message == "It has expired: ‹redacted›"


async def test_interim_answers_are_passed_over(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority
) -> None:
    """They may come while the body is being sent, and must not be taken for its early end."""

    async def store(connection: Connection) -> None:
        await connection.head()
        connection.writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 10")
        assert await connection.reader.readexactly(2 * MIB) == bytes(2 * MIB)
        connection.writer.write(b"2 Processing\r\n\r\n")
        await connection.answer("201 Created")

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        granted = grant(server.port, scheme=scheme_of(tls))
        assert (await put(uplink, granted, 2 * MIB, given(*[bytes(PIECE_BYTES)] * 8))).status == 201


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary Redirect", "308 Resume Incomplete"])
async def test_a_redirect_is_an_answer_and_is_not_followed(serve: Serve, grant: MakeGrant, status: str) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer(status, b"", "Location: /elsewhere")

    async with serve(store) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 1, given(b"a"))
    assert (answer.status, server.connections) == (int(status[:3]), 1)


# connections that are used again


async def test_one_connection_serves_many_objects(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority
) -> None:
    """TLS says things of its own between answers, session tickets above all: they do not make a line stale."""
    async with serve(stored, tls) as server, open_uplink(trusting(authority)) as uplink:
        for _ in range(5):
            await put(uplink, grant(server.port, scheme=scheme_of(tls)), 2 * MIB, given(bytes(2 * MIB)))
    assert server.connections == 1


async def test_an_answer_in_chunks_keeps_its_connection(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        while True:
            await connection.request()
            connection.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")

    async with serve(store) as server, open_uplink() as uplink:
        for _ in range(3):
            await put(uplink, grant(server.port), 1, given(b"a"))
    assert server.connections == 1


@pytest.mark.parametrize("last_words", [b"", b"HTTP/1.1 408 Request Timeout\r\n\r\n"], ids=["nothing", "an answer"])
async def test_a_connection_that_was_closed_meanwhile_is_not_used(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority, last_words: bytes
) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer("200 OK")
        if last_words:
            connection.writer.write(last_words)
            await connection.writer.drain()

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        granted = grant(server.port, scheme=scheme_of(tls))
        for _ in range(3):
            server.closed.clear()
            assert (await put(uplink, granted, 1, given(b"a"))).status == 200
            await server.closed.wait()
            for _ in range(5):
                await asyncio.sleep(0)  # the end travels
    assert server.connections == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000),
    ],
    ids=["close", "1.0", "more than is read"],
)
async def test_a_connection_that_is_not_at_an_answers_end_is_not_used_again(
    serve: Serve, grant: MakeGrant, answer: bytes
) -> None:
    async def store(connection: Connection) -> None:
        while True:
            await connection.request()
            connection.writer.write(answer)

    async with serve(store) as server, open_uplink() as uplink:
        for _ in range(2):
            await put(uplink, grant(server.port), 1, given(b"a"))
    assert server.connections == 2


async def test_an_attempt_that_outlives_its_uplink_leaves_no_connection(serve: Serve, grant: MakeGrant) -> None:
    async with serve(stored) as server, open_uplink() as uplink:

        def closing() -> bytes:
            uplink.close()
            return b""

        steps = iter([given(b"a"), closing])

        def source() -> bytes:
            return next(steps)()

        answer = await put(uplink, grant(server.port), 1, source)
        assert answer.status == 200
        await server.closed.wait()


# early answers


@pytest.mark.parametrize("status", [403, 413, 503])
@pytest.mark.parametrize("then", ["closes", "waits", "reads on"])
async def test_an_answer_before_the_body_was_read_is_that_answer(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority, status: int, then: str
) -> None:
    """A store refuses an expired URL at once; neither a broken pipe nor a full one must hide that."""

    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer(f"{status} No", XML_EXPIRED, *["Connection: close"] * (then == "closes"))
        if then == "waits":
            await asyncio.Event().wait()
        elif then == "reads on":
            while await connection.reader.read(1 << 16):
                pass

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        granted = grant(server.port, scheme=scheme_of(tls))
        for _ in range(3):
            answer = await put(uplink, granted, ENDLESS, endless())
            assert (answer.status, answer.error_code) == (status, "ExpiredToken")
            assert answer.bytes_sent < ENDLESS
    assert server.connections == 3


def rude_store(listening: socket.socket, tls: ssl.SSLContext | None) -> None:
    """Answers each head and closes with the body unread, which resets the connection behind the answer."""
    with contextlib.suppress(OSError):
        while True:
            bare, _ = listening.accept()
            bare.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the answer waits behind a session ticket
            with bare if tls is None else tls.wrap_socket(bare, server_side=True) as connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1 << 16)
                answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(answer % len(XML_EXPIRED) + XML_EXPIRED)


async def test_an_answer_survives_the_reset_that_comes_behind_it(
    grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority
) -> None:
    answers = 0
    with socket.create_server(("127.0.0.1", 0)) as listening:
        store = threading.Thread(target=rude_store, args=(listening, tls))
        store.start()
        granted = grant(listening.getsockname()[1], scheme=scheme_of(tls))
        async with open_uplink(trusting(authority)) as uplink:
            for _ in range(10):
                with contextlib.suppress(PutBroken):
                    answer = await put(uplink, granted, ENDLESS, endless())
                    answers += (answer.status, answer.error_code) == (400, "ExpiredToken")
        listening.shutdown(socket.SHUT_RDWR)
        await anyio.to_thread.run_sync(store.join)
    assert answers >= 8


async def test_an_early_answer_without_a_length_is_read_to_the_end_of_the_connection(
    serve: Serve, grant: MakeGrant
) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        connection.writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>SignatureDoesNotMatch</Code></Error>")
        await connection.writer.drain()
        connection.writer.write_eof()
        await connection.reader.read()

    async with serve(store) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), ENDLESS, endless())
    assert (answer.status, answer.error_code) == (403, "SignatureDoesNotMatch")


async def test_success_before_the_body_was_sent_is_not_believed(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("200 OK")
        await connection.reader.read()

    async with serve(store) as server, open_uplink() as uplink:
        with pytest.raises(PutBroken, match="before all was sent") as broken:
            await put(uplink, grant(server.port), ENDLESS, endless())
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.BROKEN, False)


async def test_a_web_page_is_no_stores_success(serve: Serve, grant: MakeGrant) -> None:
    """A hotspot's login answers everything with 200. Whether the store got it behind that, nobody knows."""

    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer("200 OK", b"<html>Please log in", "Content-Type: text/html; charset=utf-8")

    async with serve(store) as server, open_uplink() as uplink:
        with pytest.raises(PutBroken, match="web page") as broken:
            await put(uplink, grant(server.port), 1, given(b"a"))
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.GARBLED, True)


# sources that fail


class SourceChangedError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [SourceChangedError("x"), OSError(5, "EIO"), TimeoutError("y"), ConnectionResetError(104, "z")]
)
@pytest.mark.parametrize("before", [b"", b"abcd", bytes(3 * MIB)], ids=["nothing", "a little", "much"])
async def test_what_the_source_raises_comes_out_as_it_is_and_nothing_is_stored(
    serve: Serve, grant: MakeGrant, error: Exception, before: bytes
) -> None:
    """Errors of the disk look like those of a line, and must not be blamed on the store."""
    chunks = iter([before] * bool(before))

    def failing() -> bytes:
        for chunk in chunks:
            return chunk
        raise error

    async with serve(stored) as server, open_uplink() as uplink:
        with pytest.raises(type(error)) as raised:
            await put(uplink, grant(server.port), len(before) + 1, failing)
        assert raised.value is error
        assert await incomplete_at(server)
        answer = await put(uplink, grant(server.port), 1, given(b"a"))
    assert (answer.status, server.connections) == (200, 2)


async def test_a_source_that_fails_behind_its_last_byte_stores_nothing(serve: Serve, grant: MakeGrant) -> None:
    """That a file changed can be known only after its last byte was read."""
    chunks = given(b"abc")

    def failing() -> bytes:
        chunk = chunks()
        if not chunk:
            raise SourceChangedError
        return chunk

    async with serve(stored) as server, open_uplink() as uplink:
        with pytest.raises(SourceChangedError):
            await put(uplink, grant(server.port), 3, failing)
        assert await incomplete_at(server)


@pytest.mark.parametrize(
    ("chunks", "came"), [([b"ab"], 2), ([], 0), ([b"abc", b"d"], 4), ([b"abcd"], 4), ([b"ab", b"cd"], 4)]
)
async def test_too_few_and_too_many_bytes_store_nothing(
    serve: Serve, grant: MakeGrant, chunks: list[bytes], came: int
) -> None:
    told: list[int] = []
    async with serve(stored) as server, open_uplink() as uplink:
        with pytest.raises(WrongLength, match=f"3 bytes were announced, {came} came"):
            await put(uplink, grant(server.port), 3, given(*chunks), call=Call(told.append))
        assert await incomplete_at(server)
    assert sum(told) < 3


# lines that fail


async def test_a_reset_in_the_body_is_broken_and_incomplete(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority
) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.reader.readexactly(MIB)
        connection.reset()

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        with pytest.raises(PutBroken, match=f"127.0.0.1:{server.port} closed the connection") as broken:
            await put(uplink, grant(server.port, scheme=scheme_of(tls)), ENDLESS, endless())
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.BROKEN, False)
    assert MIB <= broken.value.bytes_sent < ENDLESS


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 20", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nETag: x", b"HTTP/1.1 200 OK\r\nETag: x\r\n"],
)
async def test_an_answer_lost_behind_the_body_is_broken_and_complete(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority, answer: bytes
) -> None:
    """The object may exist: this is what keeps an image from being sent twice. A half head is no answer."""

    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(answer)
        await connection.writer.drain()

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        with pytest.raises(PutBroken) as broken:
            await put(uplink, grant(server.port, scheme=scheme_of(tls)), 3, given(b"abc"))
    assert (broken.value.kind, broken.value.complete, broken.value.bytes_sent) == (TroubleKind.BROKEN, True, 3)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02F",
        b"HTTP/1.1 2xx OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
    ],
    ids=["ssh", "TLS", "no status", "version", "an endless header"],
)
@pytest.mark.parametrize("unasked", [False, True])
async def test_what_is_not_http_is_told_at_once(serve: Serve, grant: MakeGrant, said: bytes, unasked: bool) -> None:
    async def store(connection: Connection) -> None:
        if unasked:
            await connection.head()
        else:
            await connection.request()
        connection.writer.write(said)
        await connection.reader.read()

    length, source = (ENDLESS, endless()) if unasked else (3, given(b"abc"))
    async with serve(store) as server, open_uplink() as uplink:
        with pytest.raises(PutBroken, match="does not speak HTTP") as broken:
            await put(uplink, grant(server.port), length, source)
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.GARBLED, not unasked)


@pytest.mark.parametrize("host", ["store.invalid", f"{'a' * 70}.invalid"], ids=["unknown", "no name at all"])
async def test_a_name_that_does_not_resolve_is_told(grant: MakeGrant, host: str) -> None:
    async with open_uplink() as uplink:
        with pytest.raises(PutBroken, match=rf"the name of {host}:80 cannot be resolved") as broken:
            await put(uplink, grant(80, host=host), 1, given(b"a"))
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.CONNECT, False)


async def test_a_refused_connection_is_told(serve: Serve, grant: MakeGrant) -> None:
    async with serve(stored) as server:
        pass
    async with open_uplink() as uplink:
        with pytest.raises(PutBroken, match=f"no connection to 127.0.0.1:{server.port}: Connection refused") as broken:
            await put(uplink, grant(server.port), 1, given(b"a"))
    assert (broken.value.kind, broken.value.complete, broken.value.bytes_sent) == (TroubleKind.CONNECT, False, 0)


async def test_a_host_is_reached_by_whichever_address_lets_us(serve: Serve, grant: MakeGrant) -> None:
    """`localhost` is ::1 first on most systems; the store listens on 127.0.0.1 alone."""
    async with serve(stored) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port, host="localhost"), 1, given(b"a"))
    assert answer.status == 200


async def test_a_process_without_descriptors_is_told_as_broken(grant: MakeGrant) -> None:
    async with open_uplink() as uplink:
        work = partial(uplink.put, grant(9), 1, given(b"a"), a_call(), stall_seconds=5)

        def starved() -> None:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
            try:
                with pytest.raises(PutBroken, match="Too many open files"):
                    work()
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        await anyio.to_thread.run_sync(starved)


# stalls


async def test_a_server_that_stops_reading_is_left(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority
) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await asyncio.Event().wait()

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        with pytest.raises(PutBroken, match=f"nothing moved to or from 127.0.0.1:{server.port}") as broken:
            await put(uplink, grant(server.port, scheme=scheme_of(tls)), ENDLESS, endless(), stall_seconds=0.1)
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.STALLED, False)


async def test_a_server_that_trickles_its_reading_is_left(grant: MakeGrant) -> None:
    """A little does move at times, but no piece within the limit."""
    ended = threading.Event()

    def trickle() -> None:
        connection, _ = listening.accept()
        with connection, contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            while connection.recv(500) and not ended.wait(0.002):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listening:
        store = threading.Thread(target=trickle)
        store.start()
        async with open_uplink() as uplink:
            with pytest.raises(PutBroken) as broken:
                await put(uplink, grant(listening.getsockname()[1]), ENDLESS, endless(), stall_seconds=0.1)
        ended.set()
        await anyio.to_thread.run_sync(store.join)
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.STALLED, False)


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.1 200 OK\r\nx-slow: "], ids=["nothing", "a header without end"])
async def test_a_server_that_does_not_finish_its_answer_is_left(serve: Serve, grant: MakeGrant, trickle: bytes) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(trickle)
        await (trickled(connection) if trickle else connection.reader.read())

    async with serve(store) as server, open_uplink() as uplink:
        with pytest.raises(PutBroken) as broken:
            await put(uplink, grant(server.port), 3, given(b"abc"), stall_seconds=0.1)
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.STALLED, True)


@pytest.mark.parametrize("trickle", [False, True])
async def test_a_status_counts_though_the_rest_of_the_answer_never_comes(
    serve: Serve, grant: MakeGrant, trickle: bool
) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 100000\r\n\r\nabc')
        await (trickled(connection) if trickle else connection.reader.read())

    async with serve(store) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 3, given(b"abc"), stall_seconds=0.1)
        await server.closed.wait()
    assert (answer.status, answer.etag) == (200, '"e"')


async def test_an_answer_without_end_is_read_no_further_than_its_limit(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while True:
            connection.writer.write(bytes(MIB))
            await connection.writer.drain()

    async with serve(store) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 3, given(b"abc"))
    assert (answer.status, answer.error_code) == (400, "")


@pytest.mark.slow
async def test_a_slow_line_that_moves_is_not_a_stall(serve: Serve, grant: MakeGrant) -> None:
    """The limit is for a piece, never for the whole."""
    length = 100 * PIECE_BYTES  # loopback holds a third of it in its buffers

    async def store(connection: Connection) -> None:
        await connection.head()
        left = length
        while left:
            await asyncio.sleep(0.005)
            left -= len(await connection.reader.readexactly(min(left, PIECE_BYTES)))
        await connection.answer("200 OK")

    async with serve(store) as server, open_uplink() as uplink:
        source = given(*[bytes(PIECE_BYTES)] * 100)
        answer = await put(uplink, grant(server.port), length, source, stall_seconds=0.4)
    assert answer.status == 200


async def test_waiting_for_the_source_is_no_stall(serve: Serve, grant: MakeGrant) -> None:
    """A limited rate makes the source wait; the store is not to blame for it."""
    call = a_call()
    chunks = given(b"a", b"b")

    def slow() -> bytes:
        call.wait(0.03)
        return chunks()

    async with serve(stored) as server, open_uplink() as uplink:
        answer = await put(uplink, grant(server.port), 2, slow, call=call, stall_seconds=0.02)
    assert answer.status == 200


@pytest.fixture
def deaf_port() -> Iterator[int]:
    """A port whose queue is full: connections to it are neither made nor refused."""
    with contextlib.ExitStack() as stack:
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listening.getsockname())
        yield listening.getsockname()[1]


async def test_a_host_that_does_not_answer_at_all_is_left(grant: MakeGrant, deaf_port: int) -> None:
    async with open_uplink(TransportOptions(connect_seconds=0.05, environment={})) as uplink:
        with pytest.raises(PutBroken, match=f"no connection to 127.0.0.1:{deaf_port} in time") as broken:
            await put(uplink, grant(deaf_port), 1, given(b"a"))
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.CONNECT, False)


async def test_a_handshake_that_does_not_end_is_left(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.reader.read()

    options = TransportOptions(connect_seconds=0.05, environment={})
    async with serve(store) as server, open_uplink(options) as uplink:
        with pytest.raises(PutBroken, match=f"no connection to 127.0.0.1:{server.port} in time") as broken:
            await put(uplink, grant(server.port, scheme="https"), 1, given(b"a"))
    assert (broken.value.kind, broken.value.complete) == (TroubleKind.CONNECT, False)


# called off


async def called_off(putting: Callable[[Call], object], reached: Callable[[Call], object]) -> None:
    """Begin, wait for a place, call off there: it must end with CalledOff, and soon."""
    call = a_call()

    async def attempt() -> None:
        with pytest.raises(CalledOff):
            await putting(call)  # type: ignore[misc]

    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:
            group.start_soon(attempt)
            await reached(call)  # type: ignore[misc]
            call.call_off()
    assert call._socket is None


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - a thread gets there, which tells no event
        await asyncio.sleep(0.001)


async def test_called_off_while_connecting(grant: MakeGrant, deaf_port: int) -> None:
    async with open_uplink() as uplink:
        await called_off(
            lambda call: put(uplink, grant(deaf_port), 1, given(b"a"), call=call),
            lambda call: until(lambda: call._socket is not None),
        )


async def test_called_off_before_it_began(serve: Serve, grant: MakeGrant) -> None:
    call = a_call()
    call.call_off()
    async with serve(stored) as server, open_uplink() as uplink:
        with pytest.raises(CalledOff):
            await put(uplink, grant(server.port), 1, given(b"a"), call=call)
        await put(uplink, grant(server.port), 1, given(b"a"))
        with pytest.raises(CalledOff):  # also with a connection that rested
            await put(uplink, grant(server.port), 1, given(b"a"), call=call)


@pytest.mark.parametrize("through", ["tls", "proxy"])
async def test_called_off_in_a_handshake(serve: Serve, grant: MakeGrant, through: str) -> None:
    reached = anyio.Event()

    async def silent(connection: Connection) -> None:
        await connection.reader.read(1)
        reached.set()
        await connection.reader.read()

    async with serve(silent) as server:
        environment = {"https_proxy": f"http://127.0.0.1:{server.port}"} if through == "proxy" else {}
        host = "store.example" if through == "proxy" else "127.0.0.1"
        async with open_uplink(TransportOptions(environment=environment)) as uplink:
            granted = grant(server.port, scheme="https", host=host)
            await called_off(lambda call: put(uplink, granted, 1, given(b"a"), call=call), lambda _call: reached.wait())
            await server.closed.wait()


@pytest.mark.parametrize("where", ["sending", "source", "answer", "rest"])
async def test_called_off_at_any_wait_leaves_nothing_behind(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority, where: str
) -> None:
    reached = anyio.Event()

    async def store(connection: Connection) -> None:
        if where in ("sending", "source"):
            await connection.head()
            reached.set()
            await (asyncio.Event().wait() if where == "sending" else connection.reader.read())
        await connection.request()
        reached.set()
        if where == "rest":
            connection.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
        await connection.reader.read()

    def putting(call: Call) -> object:
        source = endless() if where == "sending" else given(b"a", b"b")

        def waiting() -> bytes:
            chunk = source()
            if where == "source" and chunk == b"b":
                call.wait(60)
            return chunk

        granted = grant(server.port, scheme=scheme_of(tls))
        return put(uplink, granted, ENDLESS if where == "sending" else 2, waiting, call=call, stall_seconds=60)

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        await called_off(putting, lambda _call: reached.wait())
        assert not uplink._connections.has_resting()
        if where != "sending":
            await server.closed.wait()


async def test_a_body_that_was_called_off_is_not_delivered_to_its_end(
    serve: Serve, grant: MakeGrant, tls: ssl.SSLContext | None, authority: Authority
) -> None:
    """A source that hangs and wakes long after the attempt was given up must send nothing more."""
    asleep, awake = threading.Event(), threading.Event()
    chunks = given(bytes(MIB), bytes(MIB))

    def sleepy() -> bytes:
        chunk = chunks()
        if not chunk:
            asleep.set()
            awake.wait()
        return chunk

    async with serve(stored, tls) as server, open_uplink(trusting(authority)) as uplink:
        call = a_call()
        async with anyio.create_task_group() as group:

            async def attempt() -> None:
                with pytest.raises(CalledOff):
                    await put(uplink, grant(server.port, scheme=scheme_of(tls)), 2 * MIB, sleepy, call=call)

            group.start_soon(attempt)
            await until(asleep.is_set)
            call.call_off()
            awake.set()
        assert await incomplete_at(server)
    assert call.bytes_sent == MIB


async def test_a_cut_connection_does_not_forget_its_encryption(
    serve: Serve, grant: MakeGrant, authority: Authority
) -> None:
    """`SSLSocket.shutdown` does, and what the thread sends at that moment would go out in clear."""
    protocols: list[str | None] = []

    def cut(_count: int) -> None:
        secured = call._socket
        assert isinstance(secured, ssl.SSLSocket)
        call.call_off()
        protocols.append(secured.version())

    call = Call(cut)
    async with serve(stored, authority.context("127.0.0.1")) as server, open_uplink(trusting(authority)) as uplink:
        with pytest.raises(CalledOff):
            await put(uplink, grant(server.port, scheme="https"), ENDLESS, endless(), call=call)
    assert protocols == ["TLSv1.3"]


# TLS


async def test_ssl_cert_file_is_honoured(serve: Serve, grant: MakeGrant, authority: Authority) -> None:
    options = TransportOptions(environment={"SSL_CERT_FILE": str(authority.ca_file)})
    async with serve(stored, authority.context("127.0.0.1")) as server, open_uplink(options) as uplink:
        assert (await put(uplink, grant(server.port, scheme="https"), 1, given(b"a"))).status == 200


@pytest.mark.parametrize(
    ("name", "trusted"), [("other.example", True), ("127.0.0.1", False)], ids=["wrong host", "self-signed"]
)
async def test_a_store_that_cannot_prove_who_it_is_gets_nothing(
    serve: Serve, grant: MakeGrant, authority: Authority, name: str, trusted: bool
) -> None:
    options = trusting(authority) if trusted else OPTIONS
    async with serve(stored, authority.context(name)) as server, open_uplink(options) as uplink:
        with pytest.raises(ServiceRefused, match="SSL_CERT_FILE or --ca-file"):
            await put(uplink, grant(server.port, scheme="https"), 1, given(b"a"))


async def test_plain_http_at_an_https_address_is_told(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.answer("400 Bad Request")
        await connection.reader.read()

    async with serve(store) as server, open_uplink() as uplink:
        with pytest.raises(PutBroken, match=f"no connection to 127.0.0.1:{server.port}") as broken:
            await put(uplink, grant(server.port, scheme="https"), 1, given(b"a"))
    assert broken.value.kind is TroubleKind.CONNECT


# proxies


def behind(gate: Server, authority: Authority, credentials: str = "", scheme: str = "https") -> TransportOptions:
    environment = {f"{scheme}_proxy": f"http://{credentials}127.0.0.1:{gate.port}"}
    return TransportOptions(connect_seconds=5.0, ca_file=authority.ca_file, environment=environment)


@pytest.mark.parametrize("credentials", ["", "user:pa%40ss@"])
async def test_an_object_goes_through_a_tunnel(
    serve: Serve, grant: MakeGrant, authority: Authority, credentials: str
) -> None:
    proxy = Proxy()
    body = bytes(range(256)) * 4096
    seen: list[tuple[bytes, bytes]] = []

    async def store(connection: Connection) -> None:
        for _ in range(2):
            seen.append(await connection.request())
            await connection.answer("200 OK")

    async with serve(store, authority.context("store.example")) as server, serve(proxy) as gate:
        proxy.target = server.port
        granted = grant(443, scheme="https", host="store.example", **{"x-a": "b"})
        async with open_uplink(behind(gate, authority, credentials)) as uplink:
            for _ in range(2):
                assert (await put(uplink, granted, len(body), given(body))).status == 200
    said = base64.b64encode(b"user:pa@ss").decode()
    wanted = ["CONNECT store.example:443 HTTP/1.1", "Host: store.example:443"]
    assert proxy.heads[0].split("\r\n") == [
        *wanted,
        *[f"Proxy-Authorization: Basic {said}"] * bool(credentials),
        "",
        "",
    ]
    assert seen[0][1] == body
    assert seen[0][0].decode().split("\r\n")[1:-2] == [
        "Host: store.example",
        "x-a: b",
        f"Content-Length: {len(body)}",
    ]
    assert (len(proxy.heads), server.connections) == (1, 1)


async def test_a_tunnel_leads_to_nobody_else(serve: Serve, grant: MakeGrant, authority: Authority) -> None:
    proxy = Proxy()
    async with serve(stored, authority.context("store.example")) as server, serve(proxy) as gate:
        proxy.target = server.port
        async with open_uplink(behind(gate, authority)) as uplink:
            with pytest.raises(ServiceRefused, match=r"certificate of wrong\.example"):
                await put(uplink, grant(443, scheme="https", host="wrong.example"), 1, given(b"a"))


@pytest.mark.parametrize("credentials", ["", "user:@"])
async def test_plain_http_is_forwarded(serve: Serve, grant: MakeGrant, authority: Authority, credentials: str) -> None:
    heads: list[str] = []

    async def gate_of(connection: Connection) -> None:
        heads.append((await connection.request())[0].decode())
        await connection.answer("200 OK")

    async with serve(gate_of) as gate, open_uplink(behind(gate, authority, credentials, "http")) as uplink:
        granted = grant(80, host="store.example", **{"x-a": "b"})
        assert (await put(uplink, granted, 1, given(b"a"))).status == 200
    assert heads[0].split("\r\n") == [
        f"PUT http://store.example:80/bucket/a%2Fb.tar?X-Goog-Signature={SIGNATURE}&n=%2F HTTP/1.1",
        "Host: store.example",
        *["Proxy-Authorization: Basic dXNlcjo="] * bool(credentials),
        "x-a: b",
        "Content-Length: 1",
        "",
        "",
    ]


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [
        ("407 Proxy Authentication Required", NotAuthorised, "the proxy answered 407 .*user and password"),
        ("403 Forbidden", NotAuthorised, "the proxy answered 403 .*NO_PROXY"),
        ("502 Bad Gateway", PutBroken, "the proxy answered 502"),
    ],
)
async def test_what_a_proxy_refuses_is_told(
    serve: Serve, grant: MakeGrant, authority: Authority, status: str, error: type[Exception], match: str
) -> None:
    proxy = Proxy(refuse_with=status)
    async with serve(proxy) as gate, open_uplink(behind(gate, authority, f"user:{SIGNATURE}@")) as uplink:
        with pytest.raises(error, match=match) as refused:
            await put(uplink, grant(443, scheme="https", host="store.example"), 1, given(b"a"))
    assert SIGNATURE not in f"{refused.value} {refused.value!r}"


async def test_a_proxy_that_does_not_speak_http_is_told(serve: Serve, grant: MakeGrant, authority: Authority) -> None:
    async def socks(connection: Connection) -> None:
        await connection.head()
        connection.writer.write(b"\x05\xff")
        await connection.reader.read()

    async with serve(socks) as gate, open_uplink(behind(gate, authority)) as uplink:
        with pytest.raises(PutBroken, match=f"through the proxy 127.0.0.1:{gate.port} does not speak HTTP"):
            await put(uplink, grant(443, scheme="https", host="store.example"), 1, given(b"a"))


async def test_a_proxy_that_is_not_there_is_told(serve: Serve, grant: MakeGrant, authority: Authority) -> None:
    async with serve(stored) as gate:
        pass
    async with open_uplink(behind(gate, authority)) as uplink:
        with pytest.raises(PutBroken, match=f"through the proxy 127.0.0.1:{gate.port}: Connection refused"):
            await put(uplink, grant(443, scheme="https", host="store.example"), 1, given(b"a"))


async def test_a_proxy_whose_name_does_not_resolve_is_told(grant: MakeGrant) -> None:
    options = TransportOptions(environment={"https_proxy": "http://gate.invalid:3128"})
    async with open_uplink(options) as uplink:
        with pytest.raises(PutBroken, match=r"the name of the proxy gate\.invalid:3128 cannot be resolved"):
            await put(uplink, grant(443, scheme="https", host="store.example"), 1, given(b"a"))


async def test_a_proxy_that_speaks_tls_itself_is_refused_in_words(grant: MakeGrant) -> None:
    options = TransportOptions(environment={"https_proxy": "https://gate.example:3128"})
    async with open_uplink(options) as uplink:
        with pytest.raises(UsageError, match="only http:// proxies carry transfers"):
            await put(uplink, grant(443, scheme="https", host="store.example"), 1, given(b"a"))


# bytes and secrets


async def test_a_slow_reader_receives_every_byte_as_it_was_given(
    serve: Serve, grant: MakeGrant, authority: Authority, tls: ssl.SSLContext | None
) -> None:
    numbers = random.Random(7)
    bodies = [[numbers.randbytes(numbers.choice([1, 1000, PIECE_BYTES, MIB + 3])) for _ in range(5)] for _ in range(3)]
    digests: list[str] = []

    async def store(connection: Connection) -> None:
        head = await connection.head()
        left = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        digest = hashlib.sha256()
        while left:
            await asyncio.sleep(0)
            part = await connection.reader.read(min(left, 60_000))
            digest.update(part)
            left -= len(part)
        digests.append(digest.hexdigest())
        await connection.answer("200 OK")

    async def send(parts: list[bytes]) -> None:
        granted = grant(server.port, scheme=scheme_of(tls))
        await put(uplink, granted, sum(map(len, parts)), given(*parts))

    async with (
        serve(store, tls) as server,
        open_uplink(trusting(authority)) as uplink,
        anyio.create_task_group() as group,
    ):
        for parts in bodies:
            group.start_soon(send, parts)
    assert sorted(digests) == sorted(hashlib.sha256(b"".join(parts)).hexdigest() for parts in bodies)


async def test_no_signature_reaches_an_error_or_a_log(
    serve: Serve,
    grant: MakeGrant,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    authority: Authority,
) -> None:
    """Neither ours nor one of `http.client`: a store may put back into its answer what it was sent."""
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    canary = SIGNATURE.encode()
    ways = [
        b"",
        b"%s\r\n\r\n" % canary,
        b"HTTP/1.1 %s\r\n\r\n" % canary,
        b"HTTP/1.1 2 %s\r\n\r\n" % canary,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 999\r\n\r\n%s" % canary,
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nz%s\r\n" % canary,
        b"HTTP/1.1 200 OK\r\n%s: x\r\n" % canary,
    ]
    errors: list[Exception] = []

    async def store(connection: Connection) -> None:
        await connection.request()
        if len(errors) == len(ways):
            connection.reset()
            return
        connection.writer.write(ways[len(errors)])
        await connection.writer.drain()

    async with serve(store) as server, open_uplink() as uplink:
        for _ in range(len(ways) + 1):
            with pytest.raises(PutBroken) as broken:
                await put(uplink, grant(server.port), 1, given(b"a"))
            errors.append(broken.value)
        with pytest.raises(PutBroken) as broken:
            await put(uplink, grant(80, host="store.invalid"), 1, given(b"a"))
        errors.append(broken.value)
    loop.set_debug(False)  # it would make the server's failed handshake a failure of the test
    async with serve(stored, authority.context("127.0.0.1")) as server, open_uplink() as uplink:
        with pytest.raises(ServiceRefused) as refused:
            await put(uplink, grant(server.port, scheme="https"), 1, given(b"a"))
        errors.append(refused.value)
    for met in errors:
        assert SIGNATURE not in f"{met} {met!r} {met.args} {''.join(traceback.format_exception(met))}"
        assert met.__cause__ is None
        assert met.__context__ is None
    assert SIGNATURE not in caplog.text + "".join(capfd.readouterr())


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts open files the way of Linux")
async def test_many_failures_leave_no_open_file(
    serve: Serve, grant: MakeGrant, authority: Authority, tls: ssl.SSLContext | None
) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("403 Forbidden", b"", "Connection: close")

    def open_files() -> int:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a count, not paths

    async with serve(store, tls) as server, open_uplink(trusting(authority)) as uplink:
        await put(uplink, grant(server.port, scheme=scheme_of(tls)), ENDLESS, endless())
        before = open_files()
        for _ in range(10):
            await put(uplink, grant(server.port, scheme=scheme_of(tls)), ENDLESS, endless())
        await until(lambda: open_files() <= before + 1)
