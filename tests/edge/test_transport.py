from __future__ import annotations

import asyncio
import base64
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from rfbulk.edge.lines import Call
from rfbulk.edge.transport import USER_AGENT, Exchanged, Streamed, Transport, TransportOptions, open_transport
from rfbulk.errors import (
    NotAuthorised,
    ProtocolError,
    RfbulkError,
    ServiceRefused,
    TroublePassing,
    UsageError,
)
from tests.edge.conftest import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.edge.conftest import Authority, Connection, Serve

pytestmark = pytest.mark.anyio

CANARY = "k3yc4n4ry0123456789"
OPTIONS = TransportOptions(connect_seconds=5.0, answer_seconds=5.0, environment={})


async def get(transport: Transport, port: int, *, scheme: str = "http", host: str = "127.0.0.1") -> Exchanged:
    url = f"{scheme}://{host}:{port}/a%2Fb?api_key={CANARY}"
    return await transport.exchange("GET", url, operation="ask", subject="it", max_bytes=1000)


async def answering(connection: Connection) -> None:
    while True:
        await connection.request()
        await connection.answer("200 OK", b"{}", "X-A: b", "Set-Cookie: a=b")


async def test_a_request_carries_our_name_and_nothing_that_was_not_meant(serve: Serve) -> None:
    """Cookies of one answer never go into the next request."""
    heads: list[list[str]] = []

    async def server_of(connection: Connection) -> None:
        for _ in range(2):
            heads.append((await connection.head()).decode().split("\r\n"))
            await connection.answer("200 OK", b"{}", "Set-Cookie: a=b")

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        await get(transport, server.port)
        await get(transport, server.port)
    wanted = [f"GET /a%2Fb?api_key={CANARY} HTTP/1.1", f"Host: 127.0.0.1:{server.port}", f"User-Agent: {USER_AGENT}"]
    assert heads == [[*wanted, "", ""]] * 2
    assert server.connections == 1


async def test_a_whole_answer_comes_back_whatever_its_status(serve: Serve) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.request()
        await connection.answer("302 Found", b"there", "Location: /elsewhere")

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        answer = await get(transport, server.port)
    assert (answer.status, answer.body, answer.headers["location"]) == (302, b"there", "/elsewhere")
    assert server.connections == 1


@pytest.mark.parametrize("framing", ["length", "chunked", "until the end"])
async def test_an_answer_beyond_its_limit_is_not_read(serve: Serve, framing: str) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.request()
        line = {"length": b"Content-Length: 1000000000\r\n", "chunked": b"Transfer-Encoding: chunked\r\n"}.get(
            framing, b""
        )
        connection.writer.write(b"HTTP/1.1 200 OK\r\n" + line + b"\r\n")
        while True:
            connection.writer.write(b"400\r\n" + bytes(1024) + b"\r\n" if framing == "chunked" else bytes(1024))
            await connection.writer.drain()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(ProtocolError, match="more than 1000 bytes"):
            await get(transport, server.port)


@pytest.mark.parametrize(
    ("said", "error", "match"),
    [
        (b"", TroublePassing, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", TroublePassing, "closed the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab", TroublePassing, "cut short"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", TroublePassing, "cut short"),
        (b"\x15\x03\x01\x00\x02\x02F\r\n\r\n", ProtocolError, "does not speak HTTP"),
        (b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n", ProtocolError, "does not speak HTTP"),
    ],
    ids=["nothing", "half a head", "half a body", "half a chunk", "not HTTP", "an endless header"],
)
async def test_answers_that_break_off_may_come_again_and_others_not(
    serve: Serve, said: bytes, error: type[RfbulkError], match: str
) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(said)
        await connection.writer.drain()
        connection.writer.write_eof()
        await connection.reader.read()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(error, match=match):
            await get(transport, server.port)


@pytest.mark.parametrize("said", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"], ids=["no answer", "a trickle"])
async def test_an_exchange_ends_in_time(serve: Serve, said: bytes) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.request()
        connection.writer.write(said)
        await connection.reader.read()

    for options in (
        TransportOptions(answer_seconds=0.05, environment={}),
        TransportOptions(answer_seconds=60.0, stall_seconds=0.05, environment={}),
    ):
        async with serve(server_of) as server, open_transport(options) as transport:
            with pytest.raises(TroublePassing, match=f"127.0.0.1:{server.port} did not answer in time"):
                await get(transport, server.port)


async def test_a_name_that_does_not_resolve_is_told_and_may_be_tried_again() -> None:
    async with open_transport(OPTIONS) as transport:
        with pytest.raises(TroublePassing, match=r"store\.invalid:80 cannot be resolved"):
            await get(transport, 80, host="store.invalid")


async def test_a_refused_connection_is_told_and_may_be_tried_again(serve: Serve) -> None:
    async with serve(answering) as server:
        pass
    async with open_transport(OPTIONS) as transport:
        with pytest.raises(TroublePassing, match=f"no connection to 127.0.0.1:{server.port}: Connection refused"):
            await get(transport, server.port)


async def test_cancelled_while_waiting_leaves_no_connection(serve: Serve) -> None:
    asked = anyio.Event()

    async def server_of(connection: Connection) -> None:
        await connection.request()
        asked.set()
        await connection.reader.read()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        async with anyio.create_task_group() as group:
            group.start_soon(get, transport, server.port)
            await asked.wait()
            group.cancel_scope.cancel()
        await server.closed.wait()


# bodies


@pytest.mark.parametrize(
    ("method", "body", "fields"),
    [
        ("GET", None, []),
        ("POST", None, ["Content-Length: 0"]),
        ("POST", b"{}", ["Content-Type: application/json", "Content-Length: 2"]),
        ("POST", bytes(3_000_000), ["Content-Type: application/json", "Content-Length: 3000000"]),
    ],
    ids=["GET", "POST of nothing", "POST", "long POST"],
)
async def test_a_body_arrives_with_its_length(serve: Serve, method: str, body: bytes | None, fields: list[str]) -> None:
    asked: list[tuple[bytes, bytes]] = []

    async def server_of(connection: Connection) -> None:
        asked.append(await connection.request())
        await connection.answer("200 OK")

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        await exchange(transport, server.port, method, body)
    head = asked[0][0].decode().split("\r\n")
    assert [f"{method} /a HTTP/1.1", *fields, "", ""] == [head[0], *head[3:]]
    assert (body or b"") == asked[0][1]


async def exchange(transport: Transport, port: int, method: str, body: bytes | Streamed | None = None) -> Exchanged:
    url = f"http://127.0.0.1:{port}/a"
    return await transport.exchange(method, url, operation="ask", subject="it", max_bytes=1000, body=body)


def streamed(*chunks: bytes, failure: Exception | None = None) -> Streamed:
    def made() -> Iterator[bytes]:
        yield from chunks
        if failure is not None:
            raise failure

    length = sum(map(len, chunks)) + (0 if failure is None else 1)
    return Streamed("text/plain", length, made, Call(lambda _count: None))


async def test_a_body_that_is_made_meanwhile_arrives_whole(serve: Serve) -> None:
    asked: list[tuple[bytes, bytes]] = []

    async def server_of(connection: Connection) -> None:
        asked.append(await connection.request())
        await connection.answer("200 OK")

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        await exchange(transport, server.port, "POST", streamed(b"a" * 100_000, b"b"))
    assert asked[0][1] == b"a" * 100_000 + b"b"
    assert b"Content-Type: text/plain\r\nContent-Length: 100001\r\n" in asked[0][0]


@pytest.mark.parametrize("failure", [ValueError("x"), ConnectionResetError("of the source, not of the line")])
async def test_what_a_body_fails_with_comes_out_as_it_was(serve: Serve, failure: Exception) -> None:
    async with serve(answering) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(type(failure)) as met:
            await exchange(transport, server.port, "POST", streamed(b"a", failure=failure))
        await server.closed.wait()
    assert met.value is failure
    assert [ConnectionResetError] == [type(error) for error in server.ended]  # cut, not ended


async def test_an_answer_before_the_body_is_whole_counts(serve: Serve) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.head()
        await connection.answer("413 Too Large")
        await connection.reader.read()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        for _ in range(2):
            assert (await exchange(transport, server.port, "POST", bytes(30_000_000))).status == 413
    assert server.connections == 2  # the rest of a body would be taken for another request


# connections that rested


async def closing_after_one(connection: Connection) -> None:
    """Answer once, and hang up when the next request has come: as a server whose patience ends just then."""
    await connection.request()
    await connection.answer("200 OK")
    await connection.head()


async def test_a_get_over_a_connection_that_died_while_it_rested_goes_out_again(serve: Serve) -> None:
    async with serve(closing_after_one) as server, open_transport(OPTIONS) as transport:
        for _ in range(3):
            assert (await exchange(transport, server.port, "GET")).status == 200
    assert server.connections == 3


async def test_a_post_never_goes_out_twice_by_itself(serve: Serve) -> None:
    async with serve(closing_after_one) as server, open_transport(OPTIONS) as transport:
        assert (await exchange(transport, server.port, "POST")).status == 200
        with pytest.raises(TroublePassing, match="closed the connection"):
            await exchange(transport, server.port, "POST")
    assert server.connections == 1


async def test_a_fresh_connection_that_dies_is_trouble(serve: Serve) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.head()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(TroublePassing, match="closed the connection"):
            await exchange(transport, server.port, "GET")
    assert server.connections == 1


async def test_no_more_calls_than_allowed_are_made_at_once(serve: Serve) -> None:
    underway = most = 0

    async def server_of(connection: Connection) -> None:
        nonlocal underway, most
        while True:
            await connection.request()
            underway += 1
            most = max(most, underway)
            await asyncio.sleep(0.01)
            underway -= 1
            await connection.answer("200 OK")

    options = TransportOptions(max_connections=2, environment={})
    async with (
        serve(server_of) as server,
        open_transport(options) as transport,
        anyio.create_task_group() as group,
    ):
        for _ in range(6):
            group.start_soon(exchange, transport, server.port, "GET")
    assert most == 2
    assert server.connections == 2


# TLS


async def test_an_added_authority_is_trusted(serve: Serve, authority: Authority) -> None:
    options = TransportOptions(ca_file=authority.ca_file, environment={})
    async with serve(answering, authority.context("127.0.0.1")) as server, open_transport(options) as transport:
        assert (await get(transport, server.port, scheme="https")).status == 200


async def test_ssl_cert_file_is_honoured(serve: Serve, authority: Authority) -> None:
    options = TransportOptions(environment={"SSL_CERT_FILE": str(authority.ca_file)})
    async with serve(answering, authority.context("127.0.0.1")) as server, open_transport(options) as transport:
        assert (await get(transport, server.port, scheme="https")).status == 200


@pytest.mark.parametrize(
    ("name", "trusted"), [("127.0.0.1", False), ("other.example", True)], ids=["stranger", "wrong host"]
)
async def test_whom_nobody_vouches_for_is_refused_for_good(
    serve: Serve, authority: Authority, name: str, trusted: bool
) -> None:
    options = TransportOptions(ca_file=authority.ca_file if trusted else None, environment={})
    async with serve(answering, authority.context(name)) as server, open_transport(options) as transport:
        with pytest.raises(ServiceRefused, match=r"certificate of 127\.0\.0\.1.*SSL_CERT_FILE or --ca-file"):
            await get(transport, server.port, scheme="https")


async def test_plain_http_at_an_https_address_is_told(serve: Serve) -> None:
    async def server_of(connection: Connection) -> None:
        await connection.answer("400 Bad Request")
        await connection.reader.read()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        with pytest.raises(TroublePassing, match=r"no connection to 127\.0\.0\.1"):
            await get(transport, server.port, scheme="https")


@pytest.mark.parametrize("content", [None, "no certificate\n"], ids=["absent", "no certificate"])
@pytest.mark.parametrize("by_option", [True, False])
async def test_an_authority_that_cannot_be_read_is_an_error_before_anything_is_sent(
    tmp_path: Path, content: str | None, by_option: bool
) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    options = TransportOptions(
        ca_file=path if by_option else None, environment={} if by_option else {"SSL_CERT_FILE": str(path)}
    )
    with pytest.raises(UsageError, match=r"ca\.pem"):
        async with open_transport(options):
            pass


# proxies


async def test_https_goes_through_a_tunnel_and_stays_verified(serve: Serve, authority: Authority) -> None:
    proxy = Proxy()
    async with serve(answering, authority.context("store.example")) as server, serve(proxy) as gate:
        proxy.target = server.port
        environment = {"HTTPS_PROXY": f"http://user:pa%40ss@127.0.0.1:{gate.port}"}
        async with open_transport(TransportOptions(ca_file=authority.ca_file, environment=environment)) as transport:
            assert (await get(transport, 443, scheme="https", host="store.example")).body == b"{}"
            with pytest.raises(ServiceRefused, match=r"certificate of wrong\.example"):
                await get(transport, 443, scheme="https", host="wrong.example")
    credentials = base64.b64encode(b"user:pa@ss").decode()
    assert proxy.heads[0].startswith("CONNECT store.example:443 HTTP/1.1\r\n")
    assert f"Proxy-Authorization: Basic {credentials}\r\n" in proxy.heads[0]
    assert CANARY not in "".join(proxy.heads)


async def test_plain_http_is_forwarded(serve: Serve) -> None:
    proxy = Proxy()
    async with serve(answering) as server, serve(proxy) as gate:
        proxy.target = server.port
        environment = {"http_proxy": f"http://127.0.0.1:{gate.port}"}
        async with open_transport(TransportOptions(allow_http=True, environment=environment)) as transport:
            assert (await get(transport, 80, host="store.example")).status == 200
    assert proxy.heads[0].startswith("GET http://store.example/a%2Fb?api_key=")


@pytest.mark.parametrize(
    ("status", "error", "match"),
    [
        ("407 Proxy Authentication Required", NotAuthorised, "the proxy answered 407 .*user and password"),
        ("403 Forbidden", NotAuthorised, "the proxy answered 403 .*NO_PROXY"),
        ("502 Bad Gateway", TroublePassing, "the proxy answered 502"),
    ],
)
async def test_what_a_proxy_refuses_is_told(serve: Serve, status: str, error: type[RfbulkError], match: str) -> None:
    async with serve(Proxy(refuse_with=status)) as gate:
        environment = {"https_proxy": f"http://user:{CANARY}@127.0.0.1:{gate.port}"}
        async with open_transport(TransportOptions(environment=environment)) as transport:
            with pytest.raises(error, match=match) as refused:
                await get(transport, 443, scheme="https", host="store.example")
    assert CANARY not in f"{refused.value} {refused.value!r}"


async def test_a_proxy_that_is_not_there_is_told(serve: Serve) -> None:
    async with serve(answering) as server:
        pass
    environment = {"https_proxy": f"http://127.0.0.1:{server.port}"}
    async with open_transport(TransportOptions(environment=environment)) as transport:
        with pytest.raises(
            TroublePassing, match=f"no connection to .* the proxy 127.0.0.1:{server.port}: Connection refused"
        ):
            await get(transport, 443, scheme="https", host="store.example")


async def test_netrc_is_never_read(serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login me password c4n4ry\n")
    monkeypatch.setenv("NETRC", str(netrc))
    heads: list[bytes] = []

    async def server_of(connection: Connection) -> None:
        heads.append(await connection.head())
        await connection.answer("200 OK")

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        await get(transport, server.port)
    assert b"uthorization" not in heads[0]


async def test_no_key_reaches_an_error_or_a_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(True)
    ways = [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n" + bytes(2000),
    ]
    errors: list[RfbulkError] = []

    async def server_of(connection: Connection) -> None:
        await connection.request()
        if ways:
            connection.writer.write(ways[0])
            await connection.writer.drain()
        else:
            connection.reset()

    async with serve(server_of) as server, open_transport(OPTIONS) as transport:
        while len(errors) < 5:
            try:
                await get(transport, server.port)
            except RfbulkError as error:
                errors.append(error)
                ways[:1] = []
        try:
            await get(transport, 1)
        except RfbulkError as error:
            errors.append(error)
    for met in errors:
        assert CANARY not in f"{met} {met!r} {met.args}"
        assert met.__cause__ is None
        assert met.__context__ is None
    assert CANARY not in caplog.text
