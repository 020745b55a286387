"""Calls of the API over blocking lines, each in a thread of its own: how they are made, verified and limited.

The third beside uplink and downlink, over connections of the same kind. TLS is always verified, redirects are never
followed, netrc is never read, nothing waits without a limit, and no error of a connection comes out with its URL.

A library's client would serve too, but importing one takes a tenth of a second and 13 MB before the first byte of any
command, and would meet proxies, certificates and answers that are none in a second way.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from rfbulk import __version__
from rfbulk.core.urls import Url, url_of
from rfbulk.edge.connections import Connections, Origin, authorization
from rfbulk.edge.idle_threads import IdleThreads
from rfbulk.edge.inflow import Inflow
from rfbulk.edge.lines import MAX_HEAD_BYTES, Call, LineEnded
from rfbulk.edge.threads import call_in_thread
from rfbulk.edge.troubles import LINE_ERRORS, Trouble, TroubleKind, line_trouble_of
from rfbulk.edge.ways import Ways, ways_of
from rfbulk.errors import ProtocolError, RfbulkError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
    from pathlib import Path

    from rfbulk.core.heads import Head
    from rfbulk.edge.lines import Line

USER_AGENT: Final = f"rfbulk/{__version__}"
_JSON: Final = "application/json"
_PIECE_BYTES: Final = 64 << 10
_BUFFER_BYTES: Final = 2 * MAX_HEAD_BYTES


@dataclass(frozen=True, slots=True)
class TransportOptions:
    """How to reach the outside.

    `connect_seconds` limits the making of a connection, TLS included, `answer_seconds` a whole exchange with the API,
    `stall_seconds` each wait for more of an answer. `ca_file` adds a certificate authority. `allow_http` permits plain
    HTTP beyond loopback. `max_connections` bounds the calls of the API at once; uploads have connections of their own.
    `environment` names proxies and SSL_CERT_FILE (None: the process's). `is_plain`: the API
    speaks no TLS, so SSL_CERT_FILE is not read for it.
    """

    connect_seconds: float = 30.0
    answer_seconds: float = 60.0
    stall_seconds: float = 60.0
    ca_file: Path | None = None
    allow_http: bool = False
    max_connections: int = 160
    environment: Mapping[str, str] | None = None
    is_plain: bool = False


@dataclass(frozen=True, slots=True)
class Streamed:
    """A body that is made while it is sent, in the thread that sends it.

    Each of `chunks` is sent before the next is asked for. What they raise ends the request, and nothing was sent whole.
    `call` is called off when the request is.
    """

    content_type: str
    length: int
    chunks: Callable[[], Iterator[bytes | memoryview]]
    call: Call


@dataclass(frozen=True, slots=True)
class Exchanged:
    """A whole answer. Names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Request:
    """What one exchange sends, and what it waits for."""

    method: str
    url: Url
    body: bytes | Streamed | None
    max_bytes: int
    silent_seconds: float


class _TooLong(Exception):
    """The answer has more bytes than anybody wants."""


class _BodyFailed(Exception):
    """What the body's source raised: it may be of a kind that a connection raises too."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@asynccontextmanager
async def open_transport(options: TransportOptions | None = None) -> AsyncIterator[Transport]:
    """Open what makes calls; leaving closes all its connections.

    Raises:
        UsageError: the certificate authorities cannot be read, or a proxy's address is none.
    """
    options = options or TransportOptions()
    environment = os.environ if options.environment is None else options.environment
    ways = ways_of(environment, connect_seconds=options.connect_seconds, ca_file=options.ca_file)
    connections = Connections(ways)
    if ways.names_authorities and (not options.is_plain or ways.ca_file is not None):
        await anyio.to_thread.run_sync(connections.read_authorities)  # before anything is sent
    threads = IdleThreads("rfbulk-call")
    try:
        yield Transport(connections, threads, options, ways)
    finally:
        threads.close()
        connections.close()


class Transport:
    """Makes calls. Made by `open_transport`."""

    def __init__(self, connections: Connections, threads: IdleThreads, options: TransportOptions, ways: Ways) -> None:
        self._connections = connections
        self._threads = threads
        self._room = anyio.CapacityLimiter(options.max_connections)
        self.options = options
        self.ways = ways

    async def exchange(
        self,
        method: str,
        url: str,
        *,
        operation: str,
        subject: str,
        max_bytes: int,
        body: bytes | Streamed | None = None,
        answer_seconds: float | None = None,
    ) -> Exchanged:
        """Send a request to the API, once, and read the whole answer. `body` is JSON; None sends none.

        A GET goes out again where a connection that had rested turns out to be dead: nothing was answered over it.

        Raises:
            TroublePassing: no connection, no whole answer, or not within `answer_seconds` (None: the options').
            ServiceRefused: the certificate is not to be trusted.
            NotAuthorised: the proxy refuses.
            UsageError: the proxy is of a kind that cannot be passed through.
            ProtocolError: the answer has more than `max_bytes`, or is not HTTP.
            Exception: whatever the body's chunks raised, as it was.
        """
        taken = url_of(url)
        silent = max(self.options.stall_seconds, answer_seconds or 0.0)  # who may answer later may be silent for longer
        exchange = _Exchange(self._connections, _Request(method, taken, body, max_bytes, silent), _call_of(body))
        try:
            async with asyncio.timeout(answer_seconds or self.options.answer_seconds), self._room:
                work = partial(exchange.make, operation, subject)
                return await call_in_thread(work, exchange.call, threads=self._threads)
        except TimeoutError:
            failure = _silent(taken).as_error(operation, subject)
        raise failure  # outside of `except`, so that not even the context holds another error


class _Exchange:
    """One exchange, in its thread."""

    def __init__(self, connections: Connections, request: _Request, call: Call) -> None:
        self.call = call
        self._connections = connections
        self._request = request
        self._line: Line | None = None
        self._head: Head | None = None
        self._is_sent = False

    def make(self, operation: str, subject: str) -> Exchanged:
        """Do it. Raises what `Transport.exchange` raises, but for its own end in time, and CalledOff."""
        origin = self._connections.origin_of(self._request.url)
        keep = False
        try:
            answer, keep = self._answer(origin)
        except _BodyFailed as failed:
            failure: Exception = failed.error
        except _TooLong:
            failure = _too_long(operation, subject, self._request.max_bytes)
        except LINE_ERRORS as error:
            self.call.go_on()
            failure = self._told(error, origin).as_error(operation, subject)
        else:
            return answer
        finally:
            self._leave(origin, keep=keep)
        raise failure  # as above

    def _answer(self, origin: Origin) -> tuple[Exchanged, bool]:
        """Ask and be answered. Tells also whether the connection stands where another request may begin."""
        inflow = self._inflow_over(self._connections.line_to(origin, self.call))
        if self._request.method == "GET":
            head = inflow.unless_stale(partial(self._ask, inflow, origin))
        else:
            head = self._ask(inflow, origin)
        if head is None:
            self._leave(origin, keep=False)
            inflow = self._inflow_over(self._connections.new_line_to(origin, self.call))
            head = self._ask(inflow, origin)
        self._head = head
        content = self._content(inflow, head)
        return Exchanged(head.status, head.headers, content), self._is_sent and inflow.is_at_start

    def _inflow_over(self, line: Line) -> Inflow:
        self._line = line
        return Inflow(line, bytearray(_BUFFER_BYTES), stall_seconds=self._request.silent_seconds)

    def _ask(self, inflow: Inflow, origin: Origin) -> Head:
        inflow.begin()
        self._is_sent = self._send(inflow, origin)
        return inflow.hear()

    def _send(self, inflow: Inflow, origin: Origin) -> bool:
        """Send the request. False if it was answered before all of it had been sent."""

        def on_sent(_count: int) -> None:
            inflow.limit()

        if not inflow.line.send(_head_of(self._request, origin), on_sent):
            return False
        with contextlib.closing(_pieces(self._request.body)) as pieces:
            for piece in pieces:
                inflow.limit()
                if not inflow.line.send(piece, on_sent):
                    return False
        return True

    def _content(self, inflow: Inflow, head: Head) -> bytes:
        if (head.length or 0) > self._request.max_bytes:
            raise _TooLong
        content = bytearray()
        for piece in inflow.body(head):
            content += piece
            if len(content) > self._request.max_bytes:
                raise _TooLong
        return bytes(content)

    def _told(self, error: BaseException, origin: Origin) -> Trouble:
        url = self._request.url
        trouble = line_trouble_of(error, url, proxy=origin.proxy, is_connected=self._line is not None)
        if trouble.kind is TroubleKind.STALLED:
            return _silent(url)
        if isinstance(error, LineEnded) and self._head is not None:
            return Trouble(TroubleKind.BROKEN, f"the answer of {url.place} was cut short")
        return trouble

    def _leave(self, origin: Origin, *, keep: bool) -> None:
        line, self._line = self._line, None
        if line is not None:
            self._connections.leave(line, origin, keep=keep)


def _call_of(body: bytes | Streamed | None) -> Call:
    return body.call if isinstance(body, Streamed) else Call(lambda _count: None)


def _pieces(body: bytes | Streamed | None) -> Generator[bytes | memoryview, None, None]:
    if isinstance(body, Streamed):
        try:
            yield from body.chunks()
        except Exception as error:  # noqa: BLE001 - raised again as it was
            raise _BodyFailed(error) from None
    elif body:
        view = memoryview(body)
        yield from (view[start : start + _PIECE_BYTES] for start in range(0, len(view), _PIECE_BYTES))


def _head_of(request: _Request, origin: Origin) -> bytes:
    target = request.url.target
    headers = {"Host": request.url.host_header, "User-Agent": USER_AGENT}
    if origin.is_forwarded:
        target = f"{request.url.scheme}://{request.url.host_header}{target}"
        headers |= authorization(origin.proxy)
    match request.body:
        case Streamed(content_type, length):
            headers |= {"Content-Type": content_type, "Content-Length": str(length)}
        case bytes(body):
            headers |= {"Content-Type": _JSON, "Content-Length": str(len(body))}
        case None if request.method != "GET":
            headers["Content-Length"] = "0"  # RFC 9110, 8.6: without it some servers refuse a POST
    lines = [f"{request.method} {target} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _silent(url: Url) -> Trouble:
    return Trouble(TroubleKind.STALLED, f"{url.place} did not answer in time")


def _too_long(operation: str, subject: str, max_bytes: int) -> RfbulkError:
    return ProtocolError(
        operation,
        subject,
        cause=f"the answer has more than {max_bytes} bytes",
        advice="is the API's address right?",
    )
