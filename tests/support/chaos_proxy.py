"""A line that goes wrong on purpose: between real processes, byte by byte, over TCP and over TLS.

    async with ChaosProxy(Trouble("reset", "up", after=70_000, match=b"PUT /")) as proxy:
        proxy.to("127.0.0.1", emulator_port)
        ...  # talk to 127.0.0.1:proxy.port
        assert proxy.unmet() == []

Each trouble meets one connection, once, at a byte of one direction, counted from where `match` passed upwards (from the
connection's first byte where there is none). It is entered into `met` at the moment when it is done to real bytes, so
that a test can tell that it was.

| kind | what is done at that byte |
| --- | --- |
| reset | both sides are reset, as by a router that forgot them |
| cut | both sides are closed in order: what came before looks like all there is |
| stall | nothing further passes this way, and nothing is read; the connection stays open |
| trickle | what follows passes at `bytes_per_second`, for `seconds`, then as fast as it comes |
| flip | one bit is another one |
| swallow | what follows is read and thrown away, and the connection reset once it ends or `seconds` are over |
| delay | nothing passes for `seconds`, then all goes on |

With `server_tls` the proxy ends TLS itself and sees requests; without, TLS passes through it as bytes like any others.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final, Literal, Self

Kind = Literal["reset", "cut", "stall", "trickle", "flip", "swallow", "delay"]
Way = Literal["up", "down"]
_LINGER_NOT: Final = struct.pack("ii", 1, 0)
_PIECE_BYTES: Final = 32 << 10
_TRICKLE_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class Trouble:
    """One thing to go wrong with one connection. `skip` lets so many matching requests pass before."""

    kind: Kind
    way: Way
    after: int = 0
    match: bytes = b""
    skip: int = 0
    seconds: float = 0.3
    bytes_per_second: int = 2000


class _Ended(Exception):
    """The connection is to end: in order, or with a reset."""

    def __init__(self, *, with_reset: bool) -> None:
        super().__init__()
        self.with_reset = with_reset


@dataclass(slots=True)
class _Planned:
    trouble: Trouble
    skipped: int = 0
    is_armed: bool = False


class ChaosProxy:
    """Passes connections on, and does to them what was planned. Enter it, then say where it leads.

    `next_trouble`, if given, is asked for each connection by its number: for chance instead of a plan.
    """

    def __init__(
        self,
        *troubles: Trouble,
        server_tls: ssl.SSLContext | None = None,
        next_trouble: Callable[[int], Trouble | None] | None = None,
    ) -> None:
        self.met: list[Trouble] = []
        self.connections = 0
        self.port = 0
        self.is_down = False
        """While it is, connections are refused by being reset, and not one more byte passes over open ones."""

        self._planned = [_Planned(trouble) for trouble in troubles]
        self._tls = server_tls
        self._next_trouble = next_trouble
        self._target = ("127.0.0.1", 0)
        self._links: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def to(self, host: str, port: int) -> None:
        """Say where it leads."""
        self._target = (host, port)

    def plan(self, *troubles: Trouble) -> None:
        """Plan further troubles."""
        self._planned += [_Planned(trouble) for trouble in troubles]

    def unmet(self) -> list[Trouble]:
        """Return what was planned and has not happened."""
        left = list(self.met)
        unmet = []
        for planned in self._planned:
            if planned.trouble in left:
                left.remove(planned.trouble)
            else:
                unmet.append(planned.trouble)
        return unmet

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=_PIECE_BYTES, backlog=200, ssl=self._tls
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for link in list(self._links):
            link.cancel()
        await asyncio.gather(*self._links, return_exceptions=True)

    # connections

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._links.add(task)
            task.add_done_callback(self._links.discard)
        self.connections += 1
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._link(reader, writer, self.connections)
        _end(writer, with_reset=True)

    async def _link(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        if self.is_down:
            return
        to_reader, to_writer = await asyncio.open_connection(*self._target, limit=_PIECE_BYTES)
        link = _Link(self, self._next_trouble(number) if self._next_trouble else None)
        ways = [
            asyncio.ensure_future(link.pass_on("up", reader, to_writer)),
            asyncio.ensure_future(link.pass_on("down", to_reader, writer)),
        ]
        with_reset = False
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_EXCEPTION)
            ended = [way.exception() for way in done]
            with_reset = any(not isinstance(error, _Ended) or error.with_reset for error in ended if error)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            for each in (to_writer, writer):
                _end(each, with_reset=with_reset)

    # troubles

    def clear(self) -> None:
        """Forget what was planned."""
        self._planned.clear()

    def arm(self, data: bytes, held: Trouble | None) -> Trouble | None:
        """Return the trouble that bytes going up call for, if the connection has none yet."""
        if held is not None:
            return None
        for planned in self._planned:
            if planned.is_armed or planned.trouble.match not in data:
                continue
            if planned.skipped < planned.trouble.skip:
                planned.skipped += 1
                continue
            planned.is_armed = True
            return planned.trouble
        return None

    def note(self, trouble: Trouble) -> None:
        """Enter a trouble that has happened."""
        self.met.append(trouble)

    def disarm(self, trouble: Trouble) -> None:
        """Let a trouble whose byte did not come meet another connection."""
        for planned in self._planned:
            if planned.trouble is trouble:
                planned.is_armed = False


@dataclass(slots=True)
class _Link:
    """One connection: what is to happen to it, and how far both directions have come since."""

    proxy: ChaosProxy
    trouble: Trouble | None
    moved: dict[Way, int] = field(default_factory=lambda: {"up": 0, "down": 0})
    is_over: bool = False

    async def pass_on(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction to its end."""
        try:
            while data := await reader.read(_PIECE_BYTES):
                if way == "up":
                    self._look_at(data)
                await self._take(way, data, reader, writer)
            with contextlib.suppress(OSError):
                if writer.can_write_eof():
                    writer.write_eof()
        finally:
            if self.trouble is not None and not self.is_over:
                self.proxy.disarm(self.trouble)
                self.trouble = None

    def _look_at(self, data: bytes) -> None:
        if self.trouble is None and (found := self.proxy.arm(data, self.trouble)) is not None:
            self.trouble, self.is_over = found, False
            self.moved = {"up": -data.find(found.match), "down": 0}

    def _go_on(self) -> None:
        if self.proxy.is_down:
            raise _Ended(with_reset=True)

    async def _take(self, way: Way, data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._go_on()
        trouble = self.trouble
        before = self.moved[way]
        self.moved[way] += len(data)
        if trouble is None or self.is_over or trouble.way != way or self.moved[way] <= trouble.after:
            await _write(writer, data)
            return
        place = max(0, trouble.after - before)
        self.is_over = True
        self.proxy.note(trouble)
        await self._happen(trouble, data[:place], data[place:], reader, writer)
        self.trouble = None  # the connection may meet the next one

    async def _happen(
        self,
        trouble: Trouble,
        before: bytes,
        behind: bytes,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        if trouble.kind != "flip":
            await _write(writer, before)
        match trouble.kind:
            case "reset":
                raise _Ended(with_reset=True)
            case "cut":
                raise _Ended(with_reset=False)
            case "stall":
                await asyncio.sleep(3600)
            case "trickle":
                await _trickle(behind, reader, writer, trouble)
            case "flip":
                await _write(writer, before + bytes([behind[0] ^ 0x10]) + behind[1:])
            case "swallow":
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(trouble.seconds):
                        while await reader.read(_PIECE_BYTES):
                            pass
                raise _Ended(with_reset=True)
            case "delay":
                await asyncio.sleep(trouble.seconds)
                await _write(writer, behind)


async def _write(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(data)
        await writer.drain()


async def _trickle(data: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trouble: Trouble) -> None:
    piece = max(1, int(trouble.bytes_per_second * _TRICKLE_SECONDS))
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + trouble.seconds
    while data:
        while data and loop.time() < ends_at:
            await _write(writer, data[:piece])
            data = data[piece:]
            await asyncio.sleep(_TRICKLE_SECONDS)
        await _write(writer, data)
        data = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(ends_at):
                data = await reader.read(_PIECE_BYTES)


def _end(writer: asyncio.StreamWriter, *, with_reset: bool) -> None:
    with contextlib.suppress(OSError, RuntimeError, AttributeError):  # a TLS connection may have come apart
        if with_reset and (found := writer.get_extra_info("socket")) is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()
        writer.close()
