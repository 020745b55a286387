"""Loopback servers for the tests of the edge: some behave, most do not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
import trustme

from rfbulk.core.model import Grant
from rfbulk.core.secrets import SignedUrl

Handler: TypeAlias = "Callable[[Connection], Awaitable[None]]"
Serve: TypeAlias = "Callable[..., AbstractAsyncContextManager[Server]]"
MakeGrant: TypeAlias = Callable[..., Grant]

SIGNATURE = "c4n4rysignature0123456789abcdef"
KEY = "k3yc4n4ry0123456789"


@dataclass
class Connection:
    """One connection as the server sees it."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def head(self) -> bytes:
        """The request line and headers, up to the empty line."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> tuple[bytes, bytes]:
        """A whole request: its head and its body."""
        head = await self.head()
        length = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        return head, await self.reader.readexactly(int(length[0].split(b":")[1]) if length else 0)

    async def answer(self, status: str, body: bytes = b"", *headers: str) -> None:
        """A whole answer."""
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.writer.write("\r\n".join(lines).encode() + body)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection with a reset, as a crashed peer does."""
        linger_not = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_not)
        self.writer.transport.abort()


class Proxy:
    """A proxy that leads every host to one port of loopback, and remembers what it was asked."""

    def __init__(self, target: int = 0, *, refuse_with: str = "") -> None:
        self.target = target
        self.refuse_with = refuse_with
        self.heads: list[str] = []

    async def __call__(self, connection: Connection) -> None:
        head = await connection.head()
        self.heads.append(head.decode())
        if self.refuse_with:
            await connection.answer(self.refuse_with)
            return
        reader, writer = await asyncio.open_connection("127.0.0.1", self.target)
        if head.startswith(b"CONNECT "):
            connection.writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            writer.write(head)
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._pass_on, connection.reader, writer)
                await self._pass_on(reader, connection.writer)
                group.cancel_scope.cancel()
        finally:
            writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(1 << 16):
                writer.write(chunk)
                await writer.drain()


@dataclass
class Server:
    """A server on loopback. `ended` holds the exceptions that its handlers met, such as a body cut short."""

    port: int
    connections: int = 0
    ended: list[BaseException] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)


@pytest.fixture
def serve() -> Serve:
    """Serve connections with a coroutine function, plain or over TLS."""

    @asynccontextmanager
    async def start(handler: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
        tasks: set[asyncio.Task[object]] = set()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            server.connections += 1
            try:
                await handler(Connection(reader, writer))
            except (OSError, EOFError) as error:
                server.ended.append(error)
            except asyncio.CancelledError:
                pass  # the test is over; asyncio's streams of Python 3.11 would log it
            finally:
                writer.transport.abort()
                server.closed.set()

        listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls, limit=1 << 20)
        server = Server(listening.sockets[0].getsockname()[1])
        try:
            yield server
        finally:
            listening.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return start


@dataclass(frozen=True)
class Authority:
    """A certificate authority, its file, and a server's context for some names."""

    ca: trustme.CA
    ca_file: Path

    def context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    ca = trustme.CA()
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    ca.cert_pem.write_to_path(str(path))
    return Authority(ca, path)


@pytest.fixture
def grant() -> MakeGrant:
    """Make a grant for an object of a loopback server."""

    def make(port: int, *, scheme: str = "http", host: str = "127.0.0.1", **headers: str) -> Grant:
        url = f"{scheme}://{host}:{port}/bucket/a%2Fb.tar?X-Goog-Signature={SIGNATURE}&n=%2F"
        return Grant(SignedUrl(url), headers or {"x-goog-content-length-range": "0,99"}, None, None, once_only=False)

    return make
