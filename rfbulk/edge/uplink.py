"""PUTs to signed URLs over blocking sockets, each in the thread that reads its shard.

The bytes of a shard never touch the event loop: a thread reads, packs, hashes and sends them, the system's calls in
it run beside the loop and beside other shards, and TLS uses every core. The same way through the loop took twice the
CPU. `http.client` speaks HTTP, `ssl` verifies, and what they do not do stands here: a store that answers early, one
that stops reading or never answers, an attempt that is called off, connections that are used again.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import select
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from yarl import URL

from rfbulk.edge.answers import PutAnswer, PutBroken, WrongLength, read_answer
from rfbulk.edge.troubles import Trouble, TroubleKind, blocking_trouble_of

if TYPE_CHECKING:
    from rfbulk.core.model import Grant
    from rfbulk.edge.transport import Transport

PIECE_BYTES: Final = 256 << 10
"""What is handed to the system at once, so that a slow line still is seen to move."""

EARLY_ANSWER_SECONDS: Final = 2.0
"""What an answer gets that came before the body was sent: it is there already, or it will not come."""

SEND_ERRORS: Final = (OSError, http.client.HTTPException)


class CalledOff(Exception):
    """The attempt was called off by its owner. It never leaves the senders."""


@dataclass(slots=True)
class Call:
    """One attempt, as seen from outside of its thread: call it off, or hear that it waits for its answer."""

    on_bytes: Callable[[int], None]
    on_waiting: Callable[[], None] = lambda: None
    bytes_sent: int = 0
    is_complete: bool = False
    has_stalled: bool = False
    _called_off: threading.Event = field(default_factory=threading.Event)
    _socket: socket.socket | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def call_off(self, *, has_stalled: bool = False) -> None:
        """End the attempt: its connection is cut, so that nothing it still holds arrives."""
        with self._lock:
            self.has_stalled = self.has_stalled or has_stalled
            self._called_off.set()
            _cut(self._socket)

    def hold(self, connected: socket.socket) -> None:
        """Take note of the attempt's socket. Raises CalledOff."""
        with self._lock:
            self._socket = connected
        self.go_on()

    def let_go(self) -> None:
        """Forget the socket: it may serve another attempt."""
        with self._lock:
            self._socket = None

    def go_on(self) -> None:
        """Return if the attempt may go on. Raises CalledOff."""
        if self._called_off.is_set() and not self.has_stalled:
            raise CalledOff

    def wait(self, seconds: float) -> None:
        """Let time pass, unless the attempt is called off. Raises CalledOff."""
        self._called_off.wait(seconds)
        self.go_on()


class Uplink:
    """Keeps connections to stores, and sends over them. Its methods block; threads may share it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close the connections that wait to be used again."""
        with self._lock:
            idle, self._idle = self._idle, {}
        for connections in idle.values():
            for connection in connections:
                connection.close()

    def put(
        self, grant: Grant, length: int, next_chunk: Callable[[], bytes], call: Call, *, stall_seconds: float
    ) -> PutAnswer:
        """Send `length` bytes under a grant, once, and return what the store answered, whatever its status.

        The chunk that completes the length is sent only once `next_chunk` has given its end, an empty one.

        Raises:
            PutBroken: there is no answer to believe.
            CalledOff: the attempt was called off.
            WrongLength: the chunks were more or fewer bytes; nothing was stored.
            ServiceRefused, NotAuthorised: the certificate is not to be trusted, or the proxy refuses.
            Exception: whatever `next_chunk` raised, as it was; nothing was stored.
        """
        url = URL(grant.url.reveal(), encoded=True)
        connection: http.client.HTTPConnection | None = None
        keep = False
        try:
            connection = self._connect(url, call)
            connection.sock.settimeout(stall_seconds)
            self._send_head(connection, url, grant, length)
            answered_early = self._send_body(connection, length, next_chunk, call)
            response = self._wait_for_answer(connection, call, answered_early=answered_early)
            answer = read_answer(response, url, call.bytes_sent)
            keep = call.is_complete and not response.will_close and not call.has_stalled
        except SEND_ERRORS as error:
            call.go_on()
            trouble = blocking_trouble_of(error, url, is_connected=connection is not None)
        else:
            return _believed(answer, call)
        finally:
            call.let_go()
            if connection is not None:
                self._give_back(url, connection) if keep else _discard(connection)
        raise _failure(trouble, url, call)  # outside of `except`: not even the context holds a foreign error

    # connections

    def _connect(self, url: URL, call: Call) -> http.client.HTTPConnection:
        key = _key(url)
        while (connection := self._take_idle(key)) is not None:
            if not _has_input(connection.sock):
                call.hold(connection.sock)
                return connection
            connection.close()  # the store has closed it meanwhile
        connection = self._new_connection(url)
        try:
            connection.connect()
        except BaseException:
            connection.close()
            raise
        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        call.hold(connection.sock)
        return connection

    def _take_idle(self, key: tuple[str, str, int]) -> http.client.HTTPConnection | None:
        with self._lock:
            connections = self._idle.get(key)
            return connections.pop() if connections else None

    def _give_back(self, url: URL, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(_key(url), []).append(connection)

    def _new_connection(self, url: URL) -> http.client.HTTPConnection:
        scheme, host, port = _key(url)
        seconds = self._transport.options.connect_seconds
        proxy = self._transport.proxy_for(url)
        if proxy is None:
            if scheme == "http":
                return http.client.HTTPConnection(host, port, timeout=seconds)
            return http.client.HTTPSConnection(host, port, timeout=seconds, context=self._tls())
        at = proxy.host or "", proxy.port
        if scheme == "http":
            return http.client.HTTPConnection(*at, timeout=seconds)
        connection = http.client.HTTPSConnection(*at, timeout=seconds, context=self._tls())
        connection.set_tunnel(host, port, headers=_authorization(proxy))  # TLS is with the store, through the proxy
        return connection

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._transport.tls_context()
            return self._context

    def _send_head(self, connection: http.client.HTTPConnection, url: URL, grant: Grant, length: int) -> None:
        """Exactly the grant's headers, Host and Content-Length: anything else could break the signature."""
        proxy = self._transport.proxy_for(url)
        is_forwarded = proxy is not None and url.scheme == "http"
        target = grant.url.reveal() if is_forwarded else url.raw_path_qs
        connection.putrequest("PUT", target, skip_host=True, skip_accept_encoding=True)
        connection.putheader("Host", _host_header(url))
        if is_forwarded and proxy is not None:
            for name, value in _authorization(proxy).items():
                connection.putheader(name, value)
        for name, value in grant.headers.items():
            connection.putheader(name, value.encode())
        connection.putheader("Content-Length", str(length))
        connection.endheaders()

    # body and answer

    def _send_body(
        self, connection: http.client.HTTPConnection, length: int, next_chunk: Callable[[], bytes], call: Call
    ) -> bool:
        """Send the chunks. True if the store answered before it had them all, or closed the connection."""
        sent_well = _has_input if connection.sock.__class__ is socket.socket else _never
        for chunk in _held_back(next_chunk, length):
            view = memoryview(chunk)
            while view:
                call.go_on()
                if sent_well(connection.sock):
                    return True
                try:
                    sent = connection.sock.send(view[:PIECE_BYTES])
                except ConnectionError:
                    return True  # why, the answer says, if there is one
                view = view[sent:]
                call.bytes_sent += sent
                call.is_complete = call.bytes_sent == length
                call.on_bytes(sent)
        return False

    def _wait_for_answer(
        self, connection: http.client.HTTPConnection, call: Call, *, answered_early: bool
    ) -> http.client.HTTPResponse:
        if answered_early:
            connection.sock.settimeout(EARLY_ANSWER_SECONDS)
        call.on_waiting()
        return connection.getresponse()


def _held_back(next_chunk: Callable[[], bytes], length: int) -> Iterator[bytes]:
    """Give chunks; the one that completes the length only when no further one comes."""
    given, chunk = 0, next_chunk()
    while chunk:
        given += len(chunk)
        following = next_chunk() if given >= length else b""
        if given > length or following:
            raise WrongLength(length, given + len(following))
        yield chunk
        chunk = b"" if given == length else next_chunk()
    if given != length:
        raise WrongLength(length, given)


def _believed(answer: PutAnswer, call: Call) -> PutAnswer:
    if 200 <= answer.status < 300 and not call.is_complete:
        raise PutBroken(
            TroubleKind.BROKEN, "success was answered before all was sent", bytes_sent=call.bytes_sent, complete=False
        )
    if 200 <= answer.status < 300 and answer.is_page:
        raise PutBroken(
            TroubleKind.GARBLED, "a web page answered in the store's place", bytes_sent=call.bytes_sent, complete=False
        )
    return answer


def _failure(trouble: Trouble, url: URL, call: Call) -> Exception:
    if trouble.kind in (TroubleKind.CERTIFICATE, TroubleKind.PROXY):
        return trouble.as_error("send to", f"{url.host}:{url.port}")
    if call.has_stalled:
        trouble = Trouble(TroubleKind.STALLED, f"{url.host}:{url.port} did not answer in time")
    return PutBroken(trouble.kind, trouble.text, bytes_sent=call.bytes_sent, complete=call.is_complete)


def _key(url: URL) -> tuple[str, str, int]:
    return url.scheme, url.host or "", url.port or 443


def _host_header(url: URL) -> str:
    """The host as it was signed: with its port unless that is the scheme's own."""
    host = f"[{url.host}]" if ":" in (url.host or "") else url.host or ""
    return host if url.is_default_port() else f"{host}:{url.port}"


def _authorization(proxy: URL) -> dict[str, str]:
    if proxy.user is None:
        return {}
    pair = f"{proxy.user}:{proxy.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _has_input(connected: socket.socket) -> bool:
    """Tell whether something came unasked: an early answer, or the connection's end. Half a microsecond."""
    if not hasattr(select, "poll"):
        return bool(select.select([connected], [], [], 0)[0])
    poller = select.poll()
    poller.register(connected, select.POLLIN)
    return bool(poller.poll(0))


def _never(_connected: socket.socket) -> bool:
    """TLS speaks for itself at any time (session tickets): input there tells nothing."""
    return False


def _cut(connected: socket.socket | None) -> None:
    """Wake the thread that waits for this socket."""
    if connected is not None:
        with contextlib.suppress(OSError):
            connected.shutdown(socket.SHUT_RDWR)


def _discard(connection: http.client.HTTPConnection) -> None:
    """Close at once. What waits to be sent is thrown away, since a mere close would still deliver it."""
    if connection.sock is not None:
        with contextlib.suppress(OSError):
            connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
