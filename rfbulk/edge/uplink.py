"""PUTs to signed URLs over blocking lines, each in the thread that reads its shard.

The bytes of a shard never touch the event loop: a thread reads, packs, hashes and sends them, the system's calls in
it run beside the loop and beside other shards, and TLS uses every core. The same way through the loop took twice the
CPU. Never resends, never follows a redirect, and lets no signature into any text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, TypeAlias

from rfbulk.core.urls import Url, url_of
from rfbulk.edge.answers import REST_SECONDS, PutAnswer, PutBroken, WrongLength, read_answer
from rfbulk.edge.connections import Connections, Origin, authorization
from rfbulk.edge.lines import Call, Line
from rfbulk.edge.troubles import LINE_ERRORS, TroubleKind, line_trouble_of

if TYPE_CHECKING:
    from rfbulk.core.model import Grant
    from rfbulk.edge.ways import Ways

Chunk: TypeAlias = bytes | memoryview
"""Bytes to send. What a view shows may be other bytes once a further chunk has been asked for."""

PIECE_BYTES: Final = 256 << 10
"""What must move within the stall limit: 4 KiB/s at its default of a minute still is a line that moves."""


class Uplink:
    """Keeps connections to stores, and sends over them. Its methods block; threads may share it."""

    def __init__(self, ways: Ways) -> None:
        self._connections = Connections(ways)

    def close(self) -> None:
        """Close the connections that wait to be used again. What an attempt still uses closes at the attempt's end."""
        self._connections.close()

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
        url = url_of(grant.url.reveal())
        origin = self._connections.origin_of(url)
        line: Line | None = None
        keep = False
        try:
            line = self._connections.line_to(origin, call)
            line.limit(stall_seconds)
            if line.send(_head_of(grant, url, origin, length)):
                _send_body(line, _held_back(next_chunk, length), length, call, stall_seconds)
            line.limit(stall_seconds)
            rest_seconds = min(stall_seconds, REST_SECONDS)
            answer, is_at_start = read_answer(line, grant.url.reveal(), call.bytes_sent, rest_seconds=rest_seconds)
            keep = call.is_complete and is_at_start
        except _SourceFailed as failed:
            failure = failed.error
        except LINE_ERRORS as error:
            call.go_on()
            failure = _failure(error, url, origin.proxy, call, is_connected=line is not None)
        else:
            return _believed(answer, call)
        finally:
            if line is not None:
                self._connections.leave(line, origin, keep=keep)
        raise failure  # outside of `except`: not even the context holds a foreign error


class _SourceFailed(Exception):
    """What the source raised: it may be of a kind that a connection raises too."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


def _send_body(line: Line, chunks: Iterator[Chunk], length: int, call: Call, stall_seconds: float) -> None:
    """Send the chunks, or those before the store answered or closed the connection."""
    moved = 0

    def on_sent(count: int) -> None:
        nonlocal moved
        call.bytes_sent += count
        call.is_complete = call.bytes_sent == length
        call.on_bytes(count)
        moved += count
        if moved >= PIECE_BYTES:
            moved = 0
            line.limit(stall_seconds)

    for chunk in chunks:
        moved = 0
        line.limit(stall_seconds)
        if not line.send(chunk, on_sent):
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


def _head_of(grant: Grant, url: Url, origin: Origin, length: int) -> bytes:
    """Exactly the grant's headers, Host and Content-Length: anything else could break the signature."""
    headers = {"Host": url.host_header}
    target = url.target
    if origin.is_forwarded:
        target = grant.url.reveal()
        headers |= authorization(origin.proxy)
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


def _failure(error: BaseException, url: Url, proxy: Url | None, call: Call, *, is_connected: bool) -> Exception:
    trouble = line_trouble_of(error, url, proxy=proxy, is_connected=is_connected)
    if trouble.kind in (TroubleKind.CERTIFICATE, TroubleKind.PROXY):
        return trouble.as_error("send to", url.place)
    return PutBroken(trouble.kind, trouble.text, bytes_sent=call.bytes_sent, complete=call.is_complete)
