"""PUTs to signed URLs over blocking lines, each in the thread that reads its shard.

The bytes of a shard never touch the event loop: a thread reads, packs, hashes and sends them, the system's calls in
it run beside the loop and beside other shards, and TLS uses every core. The same way through the loop took twice the
CPU. Never resends, never follows a redirect, and lets no signature into any text.
"""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from yarl import URL

from rfbulk.edge.answers import PutAnswer, PutBroken, WrongLength, read_answer
from rfbulk.edge.lines import Call, Line, open_line
from rfbulk.edge.troubles import LINE_ERRORS, TroubleKind, line_trouble_of

if TYPE_CHECKING:
    import ssl

    from rfbulk.core.model import Grant
    from rfbulk.edge.transport import Transport

Chunk: TypeAlias = bytes | memoryview
"""Bytes to send. What a view shows may be other bytes once a further chunk has been asked for."""

PIECE_BYTES: Final = 256 << 10
"""What must move within the stall limit: 4 KiB/s at its default of a minute still is a line that moves."""

REST_SECONDS: Final = 5.0
"""What the rest of an answer gets once its status is known. The status counts, with the rest or without it."""


class Uplink:
    """Keeps connections to stores, and sends over them. Its methods block; threads may share it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._resting: dict[tuple[str, str, int], list[Line]] | None = {}
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None

    def close(self) -> None:
        """Close the connections that wait to be used again. What an attempt still uses closes at the attempt's end."""
        with self._lock:
            resting, self._resting = self._resting or {}, None
        for lines in resting.values():
            for line in lines:
                line.close()

    def put(
        self, grant: Grant, length: int, next_chunk: Callable[[], Chunk], call: Call, *, stall_seconds: float
    ) -> PutAnswer:
        """Send `length` bytes under a grant, once, and return what the store answered, whatever its status.

        The chunk that completes the length is sent only once `next_chunk` has given its end, an empty one. Waiting for
        the source is not limited. Everything else ends after `stall_seconds` in which no piece moved.

        Raises:
            PutBroken: there is no answer to believe.
            CalledOff: the attempt was called off.
            WrongLength: the chunks were more or fewer bytes; nothing was stored.
            ServiceRefused, NotAuthorised: the certificate is not to be trusted, or the proxy refuses.
            UsageError: the proxy is of a kind that uploads cannot pass through.
            Exception: whatever `next_chunk` raised, as it was; nothing was stored.
        """
        url = URL(grant.url.reveal(), encoded=True)
        proxy = self._transport.proxy_for(url)
        line: Line | None = None
        keep = False
        try:
            line = self._line_to(url, proxy, call)
            line.limit(stall_seconds)
            if line.send(_head_of(grant, url, proxy, length)):
                _send_body(line, _held_back(next_chunk, length), length, call, stall_seconds)
            line.limit(stall_seconds)
            response = line.answer("PUT")
            line.limit(min(stall_seconds, REST_SECONDS))
            answer = read_answer(response, url, call.bytes_sent)
            keep = call.is_complete and not response.will_close
        except _SourceFailed as failed:
            failure = failed.error
        except LINE_ERRORS as error:
            call.go_on()
            failure = _failure(error, url, proxy, call, is_connected=line is not None)
        else:
            return _believed(answer, call)
        finally:
            if line is not None:
                self._leave(line, url, keep=keep)
        raise failure  # outside of `except`: not even the context holds a foreign error

    # connections

    def _line_to(self, url: URL, proxy: URL | None, call: Call) -> Line:
        while (resting := self._take_resting(_key(url))) is not None:
            if resting.is_quiet():
                return _served(resting, call)
            resting.close()  # the store has closed it meanwhile
        return self._new_line(url, proxy, call)

    def _take_resting(self, key: tuple[str, str, int]) -> Line | None:
        with self._lock:
            lines = (self._resting or {}).get(key)
            return lines.pop() if lines else None

    def _leave(self, line: Line, url: URL, *, keep: bool) -> None:
        line.rest()
        with self._lock:
            if keep and self._resting is not None:
                self._resting.setdefault(_key(url), []).append(line)
                return
        line.close()

    def _new_line(self, url: URL, proxy: URL | None, call: Call) -> Line:
        scheme, host, port = _key(url)
        dialled = (host, port) if proxy is None else (proxy.raw_host or "", proxy.port or 80)
        line = open_line(*dialled, call, ends_at=time.monotonic() + self._transport.options.connect_seconds)
        try:
            if scheme == "https":
                if proxy is not None:
                    line.tunnel(f"{_bracketed(host)}:{port}", _authorization(proxy))
                line.secure(self._tls(), host)  # TLS is with the store, through the proxy
        except BaseException:
            line.close()
            raise
        return line

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                self._context = self._transport.tls_context()
            return self._context


class _SourceFailed(Exception):
    """What the source raised: it may be of a kind that a connection raises too."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _served(line: Line, call: Call) -> Line:
    try:
        line.serve(call)
    except BaseException:
        line.close()
        raise
    return line


def _send_body(line: Line, chunks: Iterator[Chunk], length: int, call: Call, stall_seconds: float) -> None:
    """Send the chunks, or those before the store answered or closed the connection."""

    def on_sent(count: int) -> None:
        call.bytes_sent += count
        call.is_complete = call.bytes_sent == length
        call.on_bytes(count)

    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(chunk), PIECE_BYTES):
            line.limit(stall_seconds)
            if not line.send(view[start : start + PIECE_BYTES], on_sent):
                return
    call.is_complete = call.bytes_sent == length


def _held_back(next_chunk: Callable[[], Chunk], length: int) -> Iterator[Chunk]:
    """Give chunks; the one that completes the length only when no further one comes."""
    given, chunk = 0, _asked(next_chunk)
    while chunk:
        given += len(chunk)
        following = _asked(next_chunk) if given >= length else b""
        if given > length or following:
            raise WrongLength(length, given + len(following))
        yield chunk
        chunk = b"" if given == length else _asked(next_chunk)
    if given != length:
        raise WrongLength(length, given)


def _asked(next_chunk: Callable[[], Chunk]) -> Chunk:
    try:
        return next_chunk()
    except Exception as error:  # noqa: BLE001 - raised again as it was
        raise _SourceFailed(error) from None


def _head_of(grant: Grant, url: URL, proxy: URL | None, length: int) -> bytes:
    """Exactly the grant's headers, Host and Content-Length: anything else could break the signature."""
    headers = {"Host": _host_header(url)}
    target = url.raw_path_qs
    if proxy is not None and url.scheme == "http":
        target = grant.url.reveal()
        headers |= _authorization(proxy)
    headers |= {**grant.headers, "Content-Length": str(length)}
    lines = [f"PUT {target} HTTP/1.1", *map(": ".join, headers.items()), "", ""]
    return "\r\n".join(lines).encode()


def _believed(answer: PutAnswer, call: Call) -> PutAnswer:
    if 200 <= answer.status < 300 and not call.is_complete:
        raise PutBroken(
            TroubleKind.BROKEN, "success was answered before all was sent", bytes_sent=call.bytes_sent, complete=False
        )
    if 200 <= answer.status < 300 and answer.is_page:
        raise PutBroken(
            TroubleKind.GARBLED, "a web page answered in the store's place", bytes_sent=call.bytes_sent, complete=True
        )
    return answer


def _failure(error: BaseException, url: URL, proxy: URL | None, call: Call, *, is_connected: bool) -> Exception:
    trouble = line_trouble_of(error, url, proxy=proxy, is_connected=is_connected)
    if trouble.kind in (TroubleKind.CERTIFICATE, TroubleKind.PROXY):
        return trouble.as_error("send to", f"{url.host}:{url.port}")
    return PutBroken(trouble.kind, trouble.text, bytes_sent=call.bytes_sent, complete=call.is_complete)


def _key(url: URL) -> tuple[str, str, int]:
    return url.scheme, url.raw_host or "", url.port or 443


def _host_header(url: URL) -> str:
    """The host as it was signed: with its port unless that is the scheme's own."""
    host = _bracketed(url.raw_host or "")
    return host if url.is_default_port() else f"{host}:{url.port}"


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _authorization(proxy: URL) -> dict[str, str]:
    if proxy.user is None:
        return {}
    pair = f"{proxy.user}:{proxy.password or ''}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}
