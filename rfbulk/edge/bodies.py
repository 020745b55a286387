"""The body of a PUT: gives chunks to a connection, counts them, and holds the last one back until the source is done.

aiohttp would wrap whatever an iterator raises and resend other kinds of bodies by itself; this one does neither.
"""

from __future__ import annotations

import asyncio
import select
from typing import TYPE_CHECKING, Final, Protocol

import aiohttp
import anyio
from aiohttp.payload import Payload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aiohttp.abc import AbstractStreamWriter

PIECE_BYTES: Final = 256 << 10
"""What is handed over at once. The watchdog sees a line move piece by piece, so that 5 KiB/s still is alive."""


_TURNS_TO_READ: Final = 4
"""Turns of the loop from readable to read: the transport's callback, aiohttp's wake-up, its cancelling of the body."""


class WrongLength(Exception):
    """The chunks were not as many bytes as was announced. Nothing was stored."""

    def __init__(self, announced: int, given: int) -> None:
        super().__init__(announced, given)
        self.announced = announced
        self.given = given

    def __str__(self) -> str:
        return f"{self.announced} bytes were announced, {self.given} came"


class _StreamWriter(Protocol):
    """What is used of aiohttp's writer beyond its abstract one."""

    @property
    def transport(self) -> asyncio.Transport | None: ...
    def send_headers(self) -> None: ...
    async def write(self, chunk: bytes | memoryview) -> None: ...


class Watchdog:
    """Ends a wait that lasts too long without progress. It watches the line, never the source."""

    def __init__(self, timeout: asyncio.Timeout, seconds: float) -> None:
        self._timeout: asyncio.Timeout | None = timeout
        self._seconds = seconds
        self._now = asyncio.get_running_loop().time

    def moved(self) -> None:
        """Take note of progress: the wait begins anew."""
        self._set(self._now() + self._seconds)

    def rest(self) -> None:
        """Watch nothing until the line moves again."""
        self._set(None)

    def retire(self) -> None:
        """Watch nothing any more, and leave the timeout as it is."""
        self._timeout = None

    def _set(self, when: float | None) -> None:
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(when)


class StreamedBody(Payload):
    """Gives `length` bytes of chunks to a connection, once.

    aiohttp runs `write_with_length` in a task of its own. What goes wrong there is kept as `failure`; the reading
    side learns of it by the connection's end, and so an answer that came before that is still read.
    """

    _autoclose = True
    _consumed = True  # aiohttp never sends it again: trying again is decided elsewhere

    def __init__(
        self, chunks: AsyncIterator[bytes], length: int, on_bytes: Callable[[int], None] | None, watchdog: Watchdog
    ) -> None:
        super().__init__(None)
        self._chunks = chunks
        self._size = length
        self._length = length
        self._on_bytes = on_bytes
        self._watchdog = watchdog
        self._connection: asyncio.Transport | None = None
        self._has_input: Callable[[], bool] = bool
        self._ended: anyio.Event | None = None
        self.bytes_sent = 0
        self.failure: BaseException | None = None

    @property
    def is_complete(self) -> bool:
        """Whether all bytes were given to the connection."""
        return self._ended is not None and self.bytes_sent == self._length

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Refuse: the body is never text."""
        raise TypeError(f"a stream of chunks is no text in {encoding}, {errors}")

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Write all."""
        await self.write_with_length(writer, None)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:  # noqa: ARG002
        """Write all, and keep what goes wrong."""
        stream: _StreamWriter = writer  # type: ignore[assignment]  # aiohttp gives no other
        self._connection = stream.transport
        self._has_input = _input_of(stream.transport)
        self._ended = anyio.Event()
        try:
            await self._pump(stream)
        except asyncio.CancelledError:
            raise
        except BaseException as failure:  # noqa: BLE001 - kept, and raised to the caller of put_object
            self.failure = failure
            self._abort()
        finally:
            self._ended.set()

    async def wind_up(self, *, keep_connection: bool) -> None:
        """Wait until the source is no longer asked. Tear the connection down unless it may be kept."""
        self._watchdog.retire()
        if self._ended is None:
            return
        if not keep_connection or (self._connection is not None and self._connection.is_closing()):
            self._abort()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    def _abort(self) -> None:
        """Close at once, throwing away what waits to be sent: a mere close waits for a peer that may never read.

        asyncio falls over when a connection is aborted that had been closed with data still to send, and has ended.
        """
        if self._connection is None:
            return
        socket = self._connection.get_extra_info("socket")
        if socket is None or socket.fileno() >= 0:
            self._connection.abort()

    async def _pump(self, stream: _StreamWriter) -> None:
        """Give all chunks. The one that completes the length goes only when the source has ended well."""
        given, last = 0, b""
        stream.send_headers()
        self._watchdog.rest()
        async for chunk in self._chunks:
            given += len(chunk)
            if given > self._length:
                break
            if given == self._length:
                last = last or chunk
            elif not await self._give(stream, chunk):
                return
        if given != self._length:
            raise WrongLength(self._length, given)
        await self._give(stream, last)
        self._watchdog.moved()

    async def _give(self, stream: _StreamWriter, chunk: bytes) -> bool:
        """Give a chunk piece by piece. False if the connection is gone: the reading side knows why."""
        view = memoryview(chunk)
        for start in range(0, len(chunk), PIECE_BYTES):
            piece = view[start : start + PIECE_BYTES]
            self._watchdog.moved()
            if self._has_input():
                await self._let_read()
            self.bytes_sent += len(piece)
            if self._on_bytes is not None:
                self._on_bytes(len(piece))
            try:
                await stream.write(piece)
            except (aiohttp.ClientError, OSError):
                return False
        self._watchdog.rest()
        return True

    async def _let_read(self) -> None:
        """Give way to an answer that came early: a write into a connection that was reset behind it would lose it."""
        for _ in range(_TURNS_TO_READ):
            await asyncio.sleep(0)


def _input_of(connection: asyncio.Transport | None) -> Callable[[], bool]:
    """Return a function that tells whether a connection has something to read; it takes half a microsecond."""
    socket = None if connection is None else connection.get_extra_info("socket")
    if socket is None or not hasattr(select, "poll"):
        return bool
    poller = select.poll()
    poller.register(socket.fileno(), select.POLLIN)
    return lambda: bool(poller.poll(0))
