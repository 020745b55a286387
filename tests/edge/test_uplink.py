from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import logging
import os
import random
import socket
import threading
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import anyio
import google_crc32c
import pytest

from rfbulk.core.model import Grant
from rfbulk.edge.blobs import BrokenKind, PutBroken, put_object
from rfbulk.edge.bodies import PIECE_BYTES, WrongLength
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import ServiceRefused

if TYPE_CHECKING:
    from tests.edge.conftest import Authority, Connection, MakeGrant, Serve

pytestmark = pytest.mark.anyio

SIGNATURE = "c4n4rysignature0123456789abcdef"
MIB = 1 << 20
OPTIONS = TransportOptions(connect_seconds=5.0, environment={})
XML_EXPIRED = b"<Error><Code>ExpiredToken</Code><Message>It has expired: %s</Message></Error>" % SIGNATURE.encode()


async def given(*chunks: bytes) -> AsyncGenerator[bytes, None]:
    for chunk in chunks:
        yield chunk


async def endless(chunk: bytes = bytes(MIB)) -> AsyncGenerator[bytes, None]:
    while True:
        yield chunk


async def stored(connection: Connection) -> None:
    """A store that keeps everything it is sent."""
    while True:
        await connection.request()
        await connection.answer("200 OK", b"", 'ETag: "abc"')


async def test_what_is_sent_is_exactly_the_grant_and_the_body(serve: Serve, grant: MakeGrant) -> None:
    """A header more than was signed, or a URL spelled in another way, breaks the signature."""
    seen: list[tuple[bytes, bytes]] = []

    async def store(connection: Connection) -> None:
        seen.append(await connection.request())
        await connection.answer("200 OK")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        granted = grant(server.port, **{"x-goog-content-length-range": "0,99", "X-Odd-Case": "as is"})
        await put_object(transport, granted, length=5, chunks=given(b"ab", b"", b"cde"), stall_seconds=5)
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


async def test_an_empty_object_is_sent(serve: Serve, grant: MakeGrant) -> None:
    async with serve(stored) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=0, chunks=given(), stall_seconds=5)
    assert (answer.status, answer.bytes_sent) == (200, 0)


async def test_what_the_store_says_of_the_object_is_read(serve: Serve, grant: MakeGrant) -> None:
    crc = google_crc32c.value(b"abc")
    said = base64.b64encode(crc.to_bytes(4, "big")).decode()

    async def store(connection: Connection) -> None:
        await connection.request()
        headers = (f"x-goog-hash: crc32c={said}", "x-goog-hash: md5=kAFQmDzST7DWlj99KOF/cg==", 'ETag: "e"')
        await connection.answer("200 OK", b"", *headers, "Date: Wed, 01 Jan 2025 12:00:00 GMT")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=3, chunks=given(b"abc"), stall_seconds=5)
    assert (answer.status, answer.crc32c, answer.md5, answer.etag) == (200, crc, "kAFQmDzST7DWlj99KOF/cg==", '"e"')
    assert (answer.server_date, answer.bytes_sent) == (1_735_732_800.0, 3)


@pytest.mark.parametrize(
    ("header", "crc32c"),
    [
        ("x-goog-hash: crc32c=AAAAAQ==,md5=kAFQmDzST7DWlj99KOF/cg==", 1),
        ("x-amz-checksum-crc32c: AAAAAg==", 2),
        ("x-goog-hash: crc32c=!!!", None),
        ("x-goog-hash: crc32c=AAAA", None),
        ("x-ms-content-crc64: AAAAAQ==", None),
    ],
)
async def test_hashes_are_read_from_each_store(serve: Serve, grant: MakeGrant, header: str, crc32c: int | None) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer("200 OK", b"", header)

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=1, chunks=given(b"a"), stall_seconds=5)
    assert answer.crc32c == crc32c


async def test_one_connection_serves_many_objects(serve: Serve, grant: MakeGrant) -> None:
    async with serve(stored) as server, open_transport(OPTIONS) as transport:
        for _ in range(5):
            await put_object(
                transport, grant(server.port), length=2 * MIB, chunks=given(bytes(2 * MIB)), stall_seconds=5
            )
            await asyncio.sleep(0)
    assert server.connections <= 2  # an answer that overtakes the writer's last step costs a connection


async def test_a_final_error_is_an_answer(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer("400 Bad Request", XML_EXPIRED, "Retry-After: 7")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=1, chunks=given(b"a"), stall_seconds=5)
    assert (answer.status, answer.error_code, answer.retry_after) == (400, "ExpiredToken", 7.0)
    assert answer.error_message == "It has expired: ‹redacted›"


async def test_interim_answers_are_passed_over(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        connection.writer.write(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
        assert await connection.reader.readexactly(2 * MIB) == bytes(2 * MIB)
        await connection.answer("201 Created")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        chunks = given(bytes(MIB), bytes(MIB))
        assert (
            await put_object(transport, grant(server.port), length=2 * MIB, chunks=chunks, stall_seconds=5)
        ).status == 201


@pytest.mark.parametrize("status", ["301 Moved", "307 Temporary Redirect", "308 Resume Incomplete"])
async def test_a_redirect_is_an_answer_and_is_not_followed(serve: Serve, grant: MakeGrant, status: str) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        await connection.answer(status, b"", "Location: /elsewhere")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=1, chunks=given(b"a"), stall_seconds=5)
    assert (answer.status, server.connections) == (int(status[:3]), 1)


# early answers


async def test_an_answer_before_the_body_was_read_is_that_answer(serve: Serve, grant: MakeGrant) -> None:
    """A store refuses an expired URL at once; the pipe that breaks behind it must not hide that."""

    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("400 Bad Request", XML_EXPIRED, "Connection: close")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        for _ in range(20):
            answer = await put_object(transport, grant(server.port), length=1 << 30, chunks=endless(), stall_seconds=5)
            assert (answer.status, answer.error_code) == (400, "ExpiredToken")
            assert answer.bytes_sent < 1 << 30


def rude_store(listening: socket.socket) -> None:
    """Answers each head and closes with the body unread, which resets the connection behind the answer."""
    with contextlib.suppress(OSError):
        while True:
            connection, _ = listening.accept()
            with connection:
                head = b""
                while b"\r\n\r\n" not in head:
                    head += connection.recv(1 << 16)
                answer = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
                connection.sendall(answer % len(XML_EXPIRED) + XML_EXPIRED)


async def test_an_answer_survives_the_reset_that_comes_behind_it(grant: MakeGrant) -> None:
    """Only a write that is under way at that very moment may lose it: one in a hundred, where it was nearly all."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=rude_store, args=(listening,), daemon=True).start()
        granted, answers = grant(listening.getsockname()[1]), 0
        async with open_transport(OPTIONS) as transport:
            for _ in range(20):
                with contextlib.suppress(PutBroken):
                    answer = await put_object(transport, granted, length=1 << 30, chunks=endless(), stall_seconds=5)
                    answers += (answer.status, answer.error_code) == (400, "ExpiredToken")
        listening.shutdown(socket.SHUT_RDWR)
    assert answers >= 15


async def test_an_early_answer_without_a_length_is_read_to_the_end_of_the_connection(
    serve: Serve, grant: MakeGrant
) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        connection.writer.write(b"HTTP/1.1 403 Forbidden\r\n\r\n<Error><Code>SignatureDoesNotMatch</Code></Error>")
        await connection.writer.drain()
        connection.writer.write_eof()
        await connection.reader.read()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=1 << 30, chunks=endless(), stall_seconds=5)
    assert (answer.status, answer.error_code) == (403, "SignatureDoesNotMatch")


async def test_success_before_the_body_was_sent_is_not_believed(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("200 OK")
        await connection.reader.read()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken) as broken:
            await put_object(transport, grant(server.port), length=1 << 30, chunks=endless(), stall_seconds=5)
    assert (broken.value.kind, broken.value.complete) == (BrokenKind.EARLY, False)


async def test_an_early_answer_interrupts_a_source_that_waits(serve: Serve, grant: MakeGrant) -> None:
    interrupted: list[bool] = []

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"a"
        try:
            await asyncio.Event().wait()
        finally:
            interrupted.append(True)

    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("403 Forbidden", b"", "Connection: close")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=2, chunks=slow(), stall_seconds=5)
        assert (answer.status, interrupted) == (403, [True])


# sources that fail


class SourceChangedError(Exception):
    pass


@pytest.mark.parametrize(
    "error", [SourceChangedError("x"), OSError(5, "EIO"), ValueError("y"), ConnectionResetError(104, "z")]
)
@pytest.mark.parametrize("before", [b"", b"abcd", bytes(3 * MIB)], ids=["nothing", "a little", "much"])
async def test_what_the_source_raises_comes_out_as_it_is_and_nothing_is_stored(
    serve: Serve, grant: MakeGrant, error: Exception, before: bytes
) -> None:
    async def failing() -> AsyncGenerator[bytes, None]:
        yield before
        raise error

    async with serve(stored) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(type(error)) as raised:
            await put_object(transport, grant(server.port), length=len(before) + 1, chunks=failing(), stall_seconds=5)
        assert raised.value is error
        await server.closed.wait()
        assert [type(end) for end in server.ended] == [asyncio.IncompleteReadError]
        answer = await put_object(transport, grant(server.port), length=1, chunks=given(b"a"), stall_seconds=5)
    assert (answer.status, server.connections) == (200, 2)


async def test_a_source_that_fails_behind_its_last_byte_stores_nothing(serve: Serve, grant: MakeGrant) -> None:
    """That a file changed can be known only after its last byte was read."""

    async def failing() -> AsyncGenerator[bytes, None]:
        yield b"abc"
        raise SourceChangedError

    async with serve(stored) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(SourceChangedError):
            await put_object(transport, grant(server.port), length=3, chunks=failing(), stall_seconds=5)
        await server.closed.wait()
    assert [type(end) for end in server.ended] == [asyncio.IncompleteReadError]


@pytest.mark.parametrize(
    ("chunks", "came"), [([b"ab"], 2), ([], 0), ([b"abc", b"d"], 4), ([b"abcd"], 4), ([b"ab", b"cd"], 4)]
)
async def test_too_few_and_too_many_bytes_store_nothing(
    serve: Serve, grant: MakeGrant, chunks: list[bytes], came: int
) -> None:
    told: list[int] = []
    async with serve(stored) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(WrongLength, match=f"3 bytes were announced, {came} came"):
            await put_object(
                transport, grant(server.port), length=3, chunks=given(*chunks), stall_seconds=5, on_bytes=told.append
            )
        await server.closed.wait()
    assert [type(end) for end in server.ended] == [asyncio.IncompleteReadError]
    assert sum(told) < 3


# lines that fail


async def test_a_reset_in_the_body_is_broken_and_incomplete(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.reader.readexactly(MIB)
        connection.reset()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken) as broken:
            await put_object(transport, grant(server.port), length=1 << 30, chunks=endless(), stall_seconds=5)
    assert (broken.value.kind, broken.value.complete) == (BrokenKind.BROKEN, False)
    assert MIB <= broken.value.bytes_sent < 1 << 30


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\nETag: x"], ids=["none", "cut short"])
async def test_an_answer_lost_behind_the_body_is_broken_and_complete(
    serve: Serve, grant: MakeGrant, answer: bytes
) -> None:
    """The object may exist: this is what keeps an image from being sent twice."""

    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(answer)
        await connection.writer.drain()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken) as broken:
            await put_object(transport, grant(server.port), length=3, chunks=given(b"abc"), stall_seconds=5)
    assert (broken.value.kind, broken.value.complete, broken.value.bytes_sent) == (BrokenKind.BROKEN, True, 3)
    assert server.connections == 1


async def test_a_broken_put_is_not_sent_again_behind_our_back(serve: Serve, grant: MakeGrant) -> None:
    """The library repeats a PUT on a pooled connection by itself; the repeat could store a second object."""
    requests: list[bytes] = []

    async def store(connection: Connection) -> None:
        while True:
            requests.append((await connection.request())[1])
            if len(requests) > 1:
                return
            await connection.answer("200 OK")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        await put_object(transport, grant(server.port), length=1, chunks=given(b"a"), stall_seconds=5)
        await asyncio.sleep(0)
        with pytest.raises(PutBroken):
            await put_object(transport, grant(server.port), length=1, chunks=given(b"b"), stall_seconds=5)
    assert requests == [b"a", b"b"]


async def test_what_is_not_http_is_garbled(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(b"SSH-2.0-OpenSSH_9.6\r\n\r\n")
        await connection.reader.read()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken) as broken:
            await put_object(transport, grant(server.port), length=3, chunks=given(b"abc"), stall_seconds=5)
    assert (broken.value.kind, broken.value.complete) == (BrokenKind.GARBLED, True)


async def test_a_refused_connection_is_told_with_host_and_port(grant: MakeGrant) -> None:
    listener = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    listener.close()
    await listener.wait_closed()
    async with open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken, match=f"no connection to 127.0.0.1:{port}: Connection refused") as broken:
            await put_object(transport, grant(port), length=1, chunks=given(b"a"), stall_seconds=5)
    assert (broken.value.kind, broken.value.complete, broken.value.bytes_sent) == (
        BrokenKind.CONNECT,
        False,
        0,
    )


# stalls


async def test_a_server_that_stops_reading_is_left(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # it reads too
        await asyncio.Event().wait()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken) as broken:
            await put_object(transport, grant(server.port), length=1 << 30, chunks=endless(), stall_seconds=0.1)
    assert (broken.value.kind, broken.value.complete) == (BrokenKind.STALLED, False)


@pytest.mark.parametrize("trickle", [b"", b"HTTP/1.1 200 OK\r\nx-slow: "], ids=["nothing", "a header without end"])
async def test_a_server_that_does_not_finish_its_answer_is_left(serve: Serve, grant: MakeGrant, trickle: bytes) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(trickle)
        while True:
            await asyncio.sleep(0.01)
            if trickle:
                connection.writer.write(b"x")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(PutBroken) as broken:
            await put_object(transport, grant(server.port), length=3, chunks=given(b"abc"), stall_seconds=0.1)
    assert (broken.value.kind, broken.value.complete) == (BrokenKind.STALLED, True)


async def test_a_status_counts_though_the_rest_of_the_answer_never_comes(
    serve: Serve, grant: MakeGrant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rfbulk.edge.blobs.REST_SECONDS", 0.05)

    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(b'HTTP/1.1 200 OK\r\nETag: "e"\r\nContent-Length: 10\r\n\r\nabc')
        await connection.reader.read()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=3, chunks=given(b"abc"), stall_seconds=5)
    assert (answer.status, answer.etag) == (200, '"e"')


async def test_an_answer_without_end_is_read_no_further_than_its_limit(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        while True:
            connection.writer.write(bytes(MIB))
            await connection.writer.drain()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=3, chunks=given(b"abc"), stall_seconds=5)
    assert (answer.status, answer.error_code) == (400, "")


@pytest.mark.slow
async def test_a_slow_line_that_moves_is_not_a_stall(serve: Serve, grant: MakeGrant) -> None:
    """The limit is for a wait without progress, never for the whole."""
    length = 100 * PIECE_BYTES  # loopback holds a third of it in its buffers

    async def store(connection: Connection) -> None:
        await connection.head()
        left = length
        while left:
            await asyncio.sleep(0.003)
            left -= len(await connection.reader.readexactly(min(left, PIECE_BYTES)))
        await connection.answer("200 OK")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        chunks = given(*[bytes(PIECE_BYTES)] * 100)
        answer = await put_object(transport, grant(server.port), length=length, chunks=chunks, stall_seconds=0.2)
    assert answer.status == 200


async def test_waiting_for_the_source_is_no_stall(serve: Serve, grant: MakeGrant) -> None:
    """A limited rate makes the source wait; the store is not to blame for it."""

    async def slow() -> AsyncGenerator[bytes, None]:
        yield b"a"
        await asyncio.sleep(0.1)
        yield b"b"

    async with serve(stored) as server, open_transport(OPTIONS) as transport:
        answer = await put_object(transport, grant(server.port), length=2, chunks=slow(), stall_seconds=0.02)
    assert answer.status == 200


# cancellation


async def test_cancelled_while_the_body_waits_closes_the_connection_and_ends_the_source(
    serve: Serve, grant: MakeGrant
) -> None:
    ended: list[str] = []
    full = anyio.Event()

    async def watched() -> AsyncGenerator[bytes, None]:
        try:
            async for chunk in endless():
                yield chunk
        finally:
            ended.append("source")

    async def store(connection: Connection) -> None:
        await connection.head()
        full.set()
        await asyncio.Event().wait()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        told: list[int] = []
        chunks = watched()
        async with anyio.create_task_group() as group:

            async def put() -> None:
                async with contextlib.aclosing(chunks):
                    await put_object(
                        transport,
                        grant(server.port),
                        length=1 << 30,
                        chunks=chunks,
                        stall_seconds=5,
                        on_bytes=told.append,
                    )

            group.start_soon(put)
            await full.wait()
            while sum(told) < MIB:  # noqa: ASYNC110 - the body tells a function, not an event
                await asyncio.sleep(0)
            group.cancel_scope.cancel()
        assert ended == ["source"]
        assert sum(told) < 1 << 30
        assert not transport._session.connector._acquired  # type: ignore[union-attr]  # nothing is left behind


@pytest.mark.parametrize("where", ["connecting", "source", "answer"])
async def test_cancelled_at_any_wait_leaves_nothing_behind(serve: Serve, grant: MakeGrant, where: str) -> None:
    reached = anyio.Event()

    async def waiting() -> AsyncGenerator[bytes, None]:
        yield b"a"
        if where == "source":
            reached.set()
            await asyncio.Event().wait()
        yield b"b"

    async def store(connection: Connection) -> None:
        await connection.request()
        reached.set()
        await connection.reader.read()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        async with anyio.create_task_group() as group:
            chunks = waiting()

            async def put() -> None:
                async with contextlib.aclosing(chunks):
                    await put_object(transport, grant(server.port), length=2, chunks=chunks, stall_seconds=5)

            group.start_soon(put)
            if where == "connecting":
                await asyncio.sleep(0)
            else:
                await reached.wait()
            group.cancel_scope.cancel()
        assert not transport._session.connector._acquired  # type: ignore[union-attr]  # nothing is left behind


async def test_fewer_told_bytes_than_the_length_mean_that_nothing_can_have_arrived(
    serve: Serve, grant: MakeGrant
) -> None:
    """`on_bytes` tells before it gives: the last piece is never on the wire untold."""
    arrived = 0
    told: list[int] = []

    async def store(connection: Connection) -> None:
        nonlocal arrived
        await connection.head()
        while chunk := await connection.reader.read(1 << 16):
            arrived += len(chunk)
            assert arrived <= sum(told)

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(WrongLength):
            await put_object(
                transport,
                grant(server.port),
                length=8 * MIB,
                chunks=given(*[bytes(MIB)] * 7),
                stall_seconds=5,
                on_bytes=told.append,
            )
    assert sum(told) == 7 * MIB


# TLS


async def test_a_body_arrives_over_tls(serve: Serve, grant: MakeGrant, authority: Authority) -> None:
    body = random.Random(1).randbytes(3 * MIB)  # noqa: S311 - data, no secret
    seen: list[bytes] = []

    async def store(connection: Connection) -> None:
        seen.append((await connection.request())[1])
        await connection.answer("200 OK")

    options = TransportOptions(ca_file=authority.ca_file, environment={})
    async with serve(store, authority.context("127.0.0.1")) as server, open_transport(options) as transport:
        granted = grant(server.port, scheme="https")
        answer = await put_object(transport, granted, length=len(body), chunks=given(body), stall_seconds=5)
    assert answer.status == 200
    assert seen == [body]


async def test_an_early_answer_over_tls_is_that_answer(serve: Serve, grant: MakeGrant, authority: Authority) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("400 Bad Request", XML_EXPIRED, "Connection: close")

    options = TransportOptions(ca_file=authority.ca_file, environment={})
    async with serve(store, authority.context("127.0.0.1")) as server, open_transport(options) as transport:
        granted = grant(server.port, scheme="https")
        for _ in range(5):
            answer = await put_object(transport, granted, length=1 << 30, chunks=endless(), stall_seconds=5)
            assert (answer.status, answer.error_code) == (400, "ExpiredToken")


async def test_a_store_that_cannot_prove_who_it_is_gets_nothing(
    serve: Serve, grant: MakeGrant, authority: Authority
) -> None:
    options = TransportOptions(ca_file=authority.ca_file, environment={})
    async with serve(stored, authority.context("other.example")) as server, open_transport(options) as transport:
        granted = grant(server.port, scheme="https")
        with pytest.raises(ServiceRefused, match="SSL_CERT_FILE or --ca-file"):
            await put_object(transport, granted, length=1, chunks=given(b"a"), stall_seconds=5)


# bytes and secrets


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
async def test_a_slow_reader_receives_every_byte_as_it_was_given(
    serve: Serve, grant: MakeGrant, authority: Authority, tls: bool
) -> None:
    """What uvloop is given it keeps a reference to: a buffer used again would arrive damaged, with every answer 200."""
    numbers = random.Random(7)  # noqa: S311 - data, no secret
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

    async def fresh(parts: list[bytes]) -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield bytes(bytearray(part))  # a buffer of its own that nobody else holds

    async def put(parts: list[bytes], granted: Grant) -> None:
        await put_object(transport, granted, length=sum(map(len, parts)), chunks=fresh(parts), stall_seconds=5)

    options = TransportOptions(ca_file=authority.ca_file, environment={})
    context = authority.context("127.0.0.1") if tls else None
    async with (
        serve(store, context) as server,
        open_transport(options) as transport,
        anyio.create_task_group() as group,
    ):
        for parts in bodies:
            group.start_soon(put, parts, grant(server.port, scheme="https" if tls else "http"))
    assert sorted(digests) == sorted(hashlib.sha256(b"".join(parts)).hexdigest() for parts in bodies)


async def test_no_signature_reaches_an_error_or_a_log(
    serve: Serve, grant: MakeGrant, caplog: pytest.LogCaptureFixture, authority: Authority
) -> None:
    caplog.set_level(logging.DEBUG)
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    ways = [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n" + SIGNATURE.encode()]
    errors: list[BaseException] = []

    async def store(connection: Connection) -> None:
        await connection.request()
        if not ways:
            connection.reset()
            return
        connection.writer.write(ways.pop())
        await connection.writer.drain()

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        for _ in range(4):
            try:
                await put_object(transport, grant(server.port), length=1, chunks=given(b"a"), stall_seconds=5)
            except PutBroken as error:
                errors.append(error)
    loop.set_debug(False)  # it would make the server's failed handshake a failure of the test
    async with serve(stored, authority.context("127.0.0.1")) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(ServiceRefused) as refused:
            await put_object(
                transport, grant(server.port, scheme="https"), length=1, chunks=given(b"a"), stall_seconds=5
            )
        errors.append(refused.value)
    assert len(errors) >= 4
    for met in errors:
        assert SIGNATURE not in f"{met} {met!r} {met.args}"
        assert met.__cause__ is None
        assert met.__context__ is None
    assert SIGNATURE not in caplog.text


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="counts open files the way of Linux")  # noqa: PTH112
async def test_many_failures_leave_no_open_file(serve: Serve, grant: MakeGrant) -> None:
    async def store(connection: Connection) -> None:
        await connection.head()
        await connection.answer("403 Forbidden", b"", "Connection: close")

    async with serve(store) as server, open_transport(OPTIONS) as transport:
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for _ in range(50):
            with contextlib.suppress(PutBroken):
                await put_object(transport, grant(server.port), length=1 << 30, chunks=endless(), stall_seconds=5)
        await asyncio.sleep(0.05)
        assert len(os.listdir("/proc/self/fd")) <= before + 2  # noqa: PTH208
