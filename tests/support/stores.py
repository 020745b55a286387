"""Stores on loopback for the tests of downloads: each answers as a function says, truthfully or not."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from crc32c import crc32c

from rfbulk.core.secrets import SignedUrl

SIGNATURE = "c4n4rysignature0123456789abcdef"


@dataclass(frozen=True)
class Asked:
    """A request as the store sees it."""

    head: bytes
    target: str
    headers: dict[str, str]
    connection: int

    @property
    def name(self) -> str:
        return self.target.partition("?")[0].lstrip("/")

    @property
    def range_from(self) -> int | None:
        text = self.headers.get("range", "")
        return int(text.removeprefix("bytes=").partition("-")[0]) if text else None


class Talk:
    """The store's side of one connection."""

    def __init__(self, connected: socket.socket, ended: threading.Event) -> None:
        self._socket = connected
        self._ended = ended
        self.keeps = True

    def say(self, *pieces: bytes) -> None:
        """Send these bytes as they are."""
        with contextlib.suppress(OSError):
            for piece in pieces:
                self._socket.sendall(piece)

    def answer(self, body: bytes, *headers: str, status: str = "200 OK", length: int | None = None) -> None:
        """Give a whole answer; `length` may lie."""
        said = len(body) if length is None else length
        self.say(head_of(status, f"Content-Length: {said}", *headers) + body)

    def chunked(self, *pieces: bytes, end: bytes = b"0\r\n\r\n", headers: tuple[str, ...] = ()) -> None:
        """Give an answer in chunks."""
        self.say(head_of("200 OK", "Transfer-Encoding: chunked", *headers))
        self.say(b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + end)

    def hang_up(self) -> None:
        """End the connection in order."""
        self.keeps = False

    def reset(self) -> None:
        """End the connection as a crashed peer does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.keeps = False

    def pause(self, seconds: float) -> None:
        """Let time pass, unless the test is over."""
        self._ended.wait(seconds)

    def wait(self) -> None:
        """Do nothing until the other side has gone, or the test is over."""
        self._socket.settimeout(0.01)
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                try:
                    if not self._socket.recv(1 << 16):
                        break
                except ConnectionError:
                    break
        self.keeps = False


Handler = Callable[[Asked, Talk], None]


@dataclass
class Store:
    """A store that was started by `open_store`."""

    port: int
    scheme: str = "http"
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def url(self, name: str = "o") -> SignedUrl:
        return SignedUrl(f"{self.scheme}://127.0.0.1:{self.port}/{name}?X-Goog-Signature={SIGNATURE}")


@contextmanager
def open_store(handler: Handler, tls: ssl.SSLContext | None = None) -> Iterator[Store]:
    """Serve connections, each in a thread that ends with the context."""
    ended = threading.Event()
    threads: list[threading.Thread] = []
    sockets: list[socket.socket] = []
    lock = threading.Lock()
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:
        store = Store(listening.getsockname()[1], "https" if tls else "http")

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connected, _ = listening.accept()
                    with lock:
                        store.connections += 1
                        number = store.connections
                    sockets.append(connected)
                    thread = threading.Thread(target=serve, args=(connected, number), daemon=True)
                    threads.append(thread)
                    thread.start()

        def serve(bare: socket.socket, number: int) -> None:
            with contextlib.suppress(OSError, ssl.SSLError), bare:
                connected = tls.wrap_socket(bare, server_side=True) if tls else bare
                with connected:
                    talk = Talk(connected, ended)
                    while talk.keeps and (head := _head(connected)):
                        asked = _asked(head, number)
                        with lock:
                            store.asked.append(asked)
                        handler(asked, talk)

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            yield store
        finally:
            ended.set()
            listening.shutdown(socket.SHUT_RDWR)
            for connected in sockets:
                with contextlib.suppress(OSError):
                    connected.shutdown(socket.SHUT_RDWR)
            for thread in (accepting, *threads):
                thread.join(5)


def head_of(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode("latin-1")


def google(body: bytes) -> tuple[str, str]:
    """What Google's store says of an object."""
    return f"x-goog-hash: crc32c={crc_text(body)}", f'ETag: "{hashlib.md5(body).hexdigest()}"'  # noqa: S324 - as it does


def crc_text(body: bytes) -> str:
    return base64.b64encode(crc32c(body).to_bytes(4, "big")).decode()


def honest(objects: dict[str, bytes], headers: Callable[[bytes], tuple[str, ...]] = google) -> Handler:
    """Answer as Google's store does, ranges too."""

    def handle(asked: Asked, talk: Talk) -> None:
        body = objects.get(asked.name)
        if body is None:
            talk.answer(b"<Error><Code>NoSuchKey</Code></Error>", status="404 Not Found")
            return
        said = headers(body)
        start = asked.range_from
        if start is None or f"ETag: {asked.headers.get('if-range')}" not in said:
            talk.answer(body, *said)
        elif start >= len(body):
            talk.answer(b"", f"Content-Range: bytes */{len(body)}", status="416 Range Not Satisfiable")
        else:
            content_range = f"Content-Range: bytes {start}-{len(body) - 1}/{len(body)}"
            talk.answer(body[start:], content_range, *said, status="206 Partial Content")

    return handle


def _head(connected: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head:
        piece = connected.recv(1 << 16)
        if not piece:
            return b""
        head += piece
    return head


def _asked(head: bytes, number: int) -> Asked:
    first, *lines = head.decode("latin-1").split("\r\n\r\n")[0].split("\r\n")
    pairs = (line.partition(":") for line in lines)
    return Asked(head, first.split(" ")[1], {name.lower(): value.strip() for name, _, value in pairs}, number)
