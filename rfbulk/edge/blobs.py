"""One PUT to the store behind a signed URL: exactly the granted headers, exactly the announced bytes, one attempt.

Never resends, never follows a redirect, and lets no signature into any text.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from yarl import URL

from rfbulk.core.redaction import excerpt
from rfbulk.core.retry import parse_http_date, parse_retry_after
from rfbulk.core.wire import MAX_STORE_ERROR_BYTES, parse_store_error
from rfbulk.edge.bodies import StreamedBody, Watchdog
from rfbulk.edge.transport import read_bounded
from rfbulk.edge.troubles import CONNECTION_ERRORS, Trouble, TroubleKind, trouble_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import aiohttp
    from multidict import CIMultiDictProxy

    from rfbulk.core.model import Grant
    from rfbulk.edge.transport import Transport

REST_SECONDS: Final = 5.0
"""What the rest of an answer gets once its status is known. The status counts, with the rest or without it."""

_SUCCESS: Final = 2
_CRC32C_BYTES: Final = 4
_MIN_SECRET_CHARACTERS: Final = 8
_MESSAGE_CHARACTERS: Final = 400


class BrokenKind(StrEnum):
    """How an attempt ended without an answer."""

    CONNECT = "connect"  # there was no connection: nothing was sent
    BROKEN = "broken"  # the connection ended first
    STALLED = "stalled"  # nothing moved for `stall_seconds`
    GARBLED = "garbled"  # what came back is not HTTP
    EARLY = "early"  # success was answered before all bytes were given: it cannot be true


class PutBroken(Exception):
    """There was no answer to believe. `complete`: all bytes were given to the connection, so the object may exist."""

    def __init__(self, kind: BrokenKind, detail: str, *, bytes_sent: int, complete: bool) -> None:
        super().__init__(kind, detail, bytes_sent, complete)
        self.kind = kind
        self.detail = detail
        self.bytes_sent = bytes_sent
        self.complete = complete

    def __str__(self) -> str:
        return self.detail


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """What the store answered. Texts are safe to show; hashes are None or "" where it tells none.

    `crc32c` and `md5` (base64) are of what it holds now. `server_date` is seconds since the epoch by its clock.
    """

    status: int
    etag: str = ""
    crc32c: int | None = None
    md5: str = ""
    error_code: str = ""
    error_message: str = ""
    retry_after: float | None = None
    bytes_sent: int = 0
    server_date: float | None = None


async def put_object(
    transport: Transport,
    grant: Grant,
    *,
    length: int,
    chunks: AsyncIterator[bytes],
    stall_seconds: float,
    on_bytes: Callable[[int], None] | None = None,
) -> PutAnswer:
    """Send `length` bytes under a grant, once, and return what the store answered, whatever its status.

    `chunks` is iterated in another task, which has ended when this returns or raises; closing the iterator is left to
    the caller. The connection keeps chunks until they are sent: never give a buffer that is written again.
    The chunk that completes the length is sent only once the iterator has ended.
    `on_bytes` is told of each piece just before it is given to the connection: if after a cancellation fewer than
    `length` bytes were told, nothing can have arrived.

    Waiting for the source is not limited. Everything else ends after `stall_seconds` without progress.

    Raises:
        PutBroken: there is no answer to believe.
        WrongLength: the chunks were more or fewer bytes; nothing was stored.
        ServiceRefused, NotAuthorised: the certificate is not to be trusted, or the proxy refuses.
        Exception: whatever `chunks` raised, as it was; nothing was stored.
    """
    url = URL(grant.url.reveal(), encoded=True)
    answer: PutAnswer | None = None
    trouble: Trouble | None = None
    timeout = asyncio.timeout(transport.options.connect_seconds + stall_seconds)
    watchdog = Watchdog(timeout, stall_seconds)
    body = StreamedBody(chunks, length, on_bytes, watchdog)
    try:
        async with timeout:
            response = await transport.put(url, {**grant.headers, "Content-Length": str(length)}, body)
            watchdog.rest()
            watchdog.retire()
            answer = await _read_answer(response, url, body)
    except CONNECTION_ERRORS as error:
        trouble = trouble_of(error, url)
    finally:
        await body.wind_up(keep_connection=answer is not None and body.is_complete)
    if body.failure is not None:
        raise body.failure
    if answer is None:
        raise _failure(trouble, url, body)
    return _believed(answer, body)


def _believed(answer: PutAnswer, body: StreamedBody) -> PutAnswer:
    if answer.status // 100 == _SUCCESS and not body.is_complete:
        raise PutBroken(
            BrokenKind.EARLY, "success was answered before all was sent", bytes_sent=body.bytes_sent, complete=False
        )
    return answer


def _failure(trouble: Trouble | None, url: URL, body: StreamedBody) -> Exception:
    if trouble is None:
        raise AssertionError("neither an answer nor a trouble")
    if trouble.kind in (TroubleKind.CERTIFICATE, TroubleKind.PROXY):
        return trouble.as_error("send to", f"{url.host}:{url.port}")
    return PutBroken(
        BrokenKind(trouble.kind.value), trouble.text, bytes_sent=body.bytes_sent, complete=body.is_complete
    )


async def _read_answer(response: aiohttp.ClientResponse, url: URL, body: StreamedBody) -> PutAnswer:
    try:
        async with asyncio.timeout(REST_SECONDS):
            content = await read_bounded(response, MAX_STORE_ERROR_BYTES)
    except CONNECTION_ERRORS:
        content = b""
    finally:
        response.close()  # does nothing to a connection that went back to the pool at the answer's end
    headers = response.headers
    date = parse_http_date(headers.get("Date"))
    code, message = parse_store_error(content or b"") if response.status // 100 != _SUCCESS else ("", "")
    secrets = _secrets_of(url)
    return PutAnswer(
        status=response.status,
        etag=excerpt(headers.get("ETag", "")),
        crc32c=stored_crc32c(headers),
        md5=_hashes(headers).get("md5", ""),
        error_code=excerpt(code, secrets=secrets),
        error_message=excerpt(message, secrets=secrets, limit=_MESSAGE_CHARACTERS),
        retry_after=parse_retry_after(headers.get("Retry-After"), server_now=date or time.time()),
        bytes_sent=body.bytes_sent,
        server_date=date,
    )


def stored_crc32c(headers: CIMultiDictProxy[str]) -> int | None:
    """Return the CRC32C that the store says it holds, None if it says none, or none that can be read."""
    text = _hashes(headers).get("crc32c") or headers.get("x-amz-checksum-crc32c")
    try:
        value = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return int.from_bytes(value, "big") if len(value) == _CRC32C_BYTES else None


def _hashes(headers: CIMultiDictProxy[str]) -> dict[str, str]:
    """`x-goog-hash` comes as several headers or as one with commas."""
    pairs = ",".join(headers.getall("x-goog-hash", ())).split(",")
    return {name.strip().lower(): value for name, _, value in (pair.partition("=") for pair in pairs)}


def _secrets_of(url: URL) -> tuple[str, ...]:
    return tuple(_long_values(url.raw_query_string))


def _long_values(query: str) -> Iterator[str]:
    for name, value in parse_qsl(query):
        if len(value) >= _MIN_SECRET_CHARACTERS and "date" not in name.lower():
            yield value
