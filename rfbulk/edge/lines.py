"""One connection to a store or a proxy, used from one thread: every wait on it has an end and can be called off.

Sockets never block here, `poll` waits. So an answer is heard while a store that has spoken no longer reads, and the
making of a connection is called off as promptly as its use. `ssl` verifies.
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from rfbulk.core.heads import Head, HeadFault, parse_head
from rfbulk.core.loopback import is_loopback
from rfbulk.edge.polling import READABLE, WRITABLE, Poller
from rfbulk.edge.troubles import TunnelRefused

MAX_HEAD_BYTES: Final = 64 << 10
"""An answer's head is one kilobyte or two."""

_LOOK_SECONDS: Final = 0.2
"""A wait looks up so often: not every system wakes one for a connection that is still being made."""

_LOCAL_SEND_BYTES: Final = 160 << 10
"""What the system holds of what was sent to this machine itself. A line without delay needs no more, and what waits in
megabytes, as it would by itself, has left the cache before the other side reads it: both sides then take a third more
time. Below the two segments of 64 KiB that loopback sends at once, each waits for a timer."""

_READ_BYTES: Final = 64 << 10
_RECORD_BYTES: Final = 16 << 10
_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_INTERIM: Final = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9]")
_UNDER_WAY: Final = (0, errno.EINPROGRESS, errno.EWOULDBLOCK)


class LineEnded(ConnectionResetError):
    """The other side closed the connection before it had answered."""


class CalledOff(Exception):
    """The attempt was called off by its owner. It never leaves the senders."""


class Call:
    """One attempt, as seen from outside of its thread. `on_bytes` is told in that thread what was sent."""

    __slots__ = ("_called_off", "_lock", "_socket", "bytes_sent", "is_complete", "on_bytes")

    def __init__(self, on_bytes: Callable[[int], None]) -> None:
        self.on_bytes = on_bytes
        self.bytes_sent = 0
        self.is_complete = False
        self._called_off = threading.Event()
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()

    def call_off(self) -> None:
        """End the attempt: its connection is cut, so that nothing it still holds arrives."""
        self._called_off.set()
        with self._lock:
            _cut(self._socket)

    def hold(self, connected: socket.socket) -> None:
        """Take note of the attempt's socket. Raises CalledOff."""
        with self._lock:
            self._socket = connected
        self.go_on()

    def let_go(self) -> None:
        """Forget the socket: it may serve another attempt, or be closed."""
        with self._lock:
            self._socket = None

    def go_on(self) -> None:
        """Return if the attempt may go on. Raises CalledOff."""
        if self._called_off.is_set():
            raise CalledOff

    def wait(self, seconds: float) -> None:
        """Let time pass, unless the attempt is called off. Raises CalledOff."""
        self._called_off.wait(seconds)
        self.go_on()


def open_line(host: str, port: int, call: Call, *, ends_at: float) -> Line:
    """Connect to the first of a host's addresses that lets us, by `ends_at` of the monotonic clock.

    Raises:
        OSError: there is no connection. The name's resolution alone cannot be called off, nor limited.
        CalledOff: the attempt was called off.
    """
    addresses = socket.getaddrinfo(host.encode(), port, type=socket.SOCK_STREAM)
    failure = OSError("a name without addresses")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        now = time.monotonic()
        share = (ends_at - now) / (len(addresses) - tried)  # a silent address leaves time for the others
        try:
            line = _connected(socket.socket(family, kind, protocol), address, call, now + share)
        except OSError as error:
            failure = error
        else:
            line.ends_at = ends_at
            return line
    raise failure


class Line:
    """A connection. What follows after `limit`, or `ends_at`, ends by then with a TimeoutError."""

    def __init__(self, bare: socket.socket) -> None:
        bare.setblocking(False)
        self.ends_at = math.inf
        self.is_fresh = True  # nothing has been answered over it yet
        self._socket = bare
        self._call: Call | None = None
        self._poller = Poller(bare)
        self._held = bytearray()
        self._has_ended = False

    def limit(self, seconds: float) -> None:
        """Give what follows so many seconds."""
        self.ends_at = time.monotonic() + seconds

    def serve(self, call: Call) -> None:
        """Belong to an attempt. Raises CalledOff."""
        self._call = call
        call.hold(self._socket)

    def rest(self) -> None:
        """Belong to nobody."""
        if self._call is not None:
            self._call.let_go()
        self._call = None

    def close(self) -> None:
        """Close at once. What waits to be sent is thrown away, since a mere close would still deliver it."""
        self.rest()
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def is_quiet(self) -> bool:
        """Tell whether a line that rested may be used again: nothing came unasked, not even its end."""
        with contextlib.suppress(OSError):
            self._pull()
            return not self._held and not self._has_ended
        return False

    # making

    def connect(self, address: tuple[object, ...]) -> None:
        """Make the connection."""
        if is_loopback(str(address[0])):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LOCAL_SEND_BYTES)
        failure = self._socket.connect_ex(address)
        if failure in _UNDER_WAY:
            self._wait(WRITABLE)
            failure = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if failure:
            raise OSError(failure, os.strerror(failure))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def tunnel(self, target: str, headers: Mapping[str, str]) -> None:
        """Let a proxy connect us to a target. Raises TunnelRefused."""
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}", *map(": ".join, headers.items()), "", ""]
        self.send("\r\n".join(lines).encode())
        status = self.head().status
        if not 200 <= status < 300:
            raise TunnelRefused(status)

    def secure(self, context: ssl.SSLContext, name: str) -> None:
        """Speak TLS from here on, with whom the certificate must name."""
        secured = context.wrap_socket(self._socket, server_hostname=name, do_handshake_on_connect=False)
        self._socket = secured
        self._belonging.hold(secured)
        while True:
            try:
                return secured.do_handshake()
            except ssl.SSLWantReadError:
                self._wait(READABLE)
            except ssl.SSLWantWriteError:
                self._wait(WRITABLE)

    # sending

    def send(self, data: bytes | memoryview, on_sent: Callable[[int], None] = lambda _count: None) -> bool:
        """Send all of `data`. False once the other side has answered, or is gone: then sending has ended.

        Asks for room only where the system took less than all: of 2 GB that saves a third of the CPU time.
        """
        view = memoryview(data)
        if self._hears(self._look()):
            return False
        while view:
            sent = self._send_some(view)
            if sent is None:
                return False
            if sent:
                view = view[sent:]
                on_sent(sent)
            if view and self._hears(self._wait(READABLE | WRITABLE)):
                return False
        return True

    def ask(self, request: bytes) -> None:
        """Send a request of one piece, without a look at what may have come: its answer is heard next."""
        self._belonging.go_on()
        sent = self._send_some(memoryview(request))
        if sent is not None and sent < len(request):
            self.send(request[sent:])

    def _hears(self, events: int) -> bool:
        """Take in what came while sending, if anything did. Tell whether it is an answer, or the end."""
        if events & ~WRITABLE:
            self._pull()
            return self._is_answered()
        return False

    def _send_some(self, view: memoryview) -> int | None:
        """Send what the system takes just now. None if the other side is gone: why, its answer says."""
        try:
            return self._socket.send(view)
        except (BlockingIOError, ssl.SSLWantWriteError):
            return 0
        except ssl.SSLWantReadError:
            self._wait(READABLE)
            return 0
        except (ConnectionError, ssl.SSLError):
            return None

    def _look(self) -> int:
        """Tell what has come, without waiting. Raises CalledOff."""
        self._belonging.go_on()
        return self._poller.wait(self._socket, READABLE, 0)

    # hearing

    def head(self) -> Head:
        """Wait for an answer and return its head. What follows is received next.

        Raises:
            HeadFault: what came is no answer of HTTP.
            LineEnded: nothing came, or not all of a head.
        """
        while not self._is_answered():
            self._fetch()
        end = _HEAD_END.search(self._held)
        if end is None:
            raise LineEnded
        head = parse_head(self._held[: end.end()])
        del self._held[: end.end()]
        return head

    def read_into(self, buffer: Any) -> int:
        """Give what has come, at least one byte unless the connection has ended."""
        if not self._held:
            self._fetch()
        view = memoryview(buffer).cast("B")
        count = min(len(view), len(self._held))
        view[:count] = self._held[:count]
        del self._held[:count]
        return count

    def receive_into(self, view: memoryview) -> int:
        """Receive at most so much, right into its place. 0 once the connection has ended."""
        if self._held:
            return self.read_into(view)
        receive_into = self._socket.recv_into
        while not self._has_ended:
            try:
                count = receive_into(view)
            except (BlockingIOError, ssl.SSLWantReadError):
                self._wait(READABLE)
            except ssl.SSLWantWriteError:
                self._wait(WRITABLE)
            else:
                self._has_ended = count == 0
                self._belonging.go_on()
                return self._receive_records(view, count) if count == _RECORD_BYTES else count
        return 0

    def _receive_records(self, view: memoryview, count: int) -> int:
        """Go on while whole records of TLS are here: a receive gives one at the most, however much has come."""
        last = count
        while last == _RECORD_BYTES and isinstance(self._socket, ssl.SSLSocket) and len(view) - count >= last:
            try:
                last = self._socket.recv_into(view[count:])
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                break
            count += last
        return count

    def await_more(self) -> None:
        """Wait until something comes: a try that finds nothing costs more than to ask first."""
        if not self._held and not isinstance(self._socket, ssl.SSLSocket):  # TLS may hold what no wait can see
            self._wait(READABLE)

    def _is_answered(self) -> bool:
        """Tell whether the head of a final answer is here, or no more can come. Interim answers are dropped."""
        end = _HEAD_END.search(self._held)
        while end is not None and _INTERIM.match(self._held):
            del self._held[: end.end()]
            end = _HEAD_END.search(self._held)
        if not b"HTTP/".startswith(self._held[:5]):
            raise HeadFault
        if end is None and len(self._held) > MAX_HEAD_BYTES:
            raise HeadFault
        return end is not None or self._has_ended

    def _fetch(self) -> None:
        """Wait until more has come, or the end."""
        before = len(self._held)
        while len(self._held) == before and not self._has_ended:
            self._wait(READABLE)
            self._pull()

    def _pull(self) -> None:
        """Take in what has come. TLS may have had something to say to itself alone."""
        with contextlib.suppress(BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            data = self._socket.recv(_READ_BYTES)
            self._held += data
            self._has_ended = not data

    def _wait(self, events: int) -> int:
        call = self._belonging
        while True:
            left = self.ends_at - time.monotonic()
            if left <= 0:
                raise TimeoutError
            found = self._poller.wait(self._socket, events, min(left, _LOOK_SECONDS))
            call.go_on()
            if found:
                return found

    @property
    def _belonging(self) -> Call:
        if self._call is None:
            raise AssertionError("a line is used for an attempt")
        return self._call


def _connected(bare: socket.socket, address: tuple[object, ...], call: Call, ends_at: float) -> Line:
    line = Line(bare)
    line.ends_at = ends_at
    try:
        line.serve(call)
        line.connect(address)
    except BaseException:
        line.close()
        raise
    return line


def _cut(connected: socket.socket | None) -> None:
    """Wake the thread that waits for this socket.

    Not by the method of a TLS socket: it forgets its encryption first, and the thread's next piece would go in clear.
    """
    if connected is not None:
        with contextlib.suppress(OSError):
            socket.socket.shutdown(connected, socket.SHUT_RDWR)
