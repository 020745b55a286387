"""What a store answers to a PUT, read with limits, and how an attempt ends without an answer."""

from __future__ import annotations

import http.client
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from rfbulk.core.hashes import crc32c_of, google_hashes
from rfbulk.core.redaction import excerpt
from rfbulk.core.retry import parse_http_date, parse_retry_after
from rfbulk.core.wire import MAX_STORE_ERROR_BYTES, parse_store_error

if TYPE_CHECKING:
    from collections.abc import Iterator
    from email.message import Message

    from yarl import URL

    from rfbulk.edge.troubles import TroubleKind

_SUCCESS: Final = 2
_MIN_SECRET_CHARACTERS: Final = 8
_MESSAGE_CHARACTERS: Final = 400


class PutBroken(Exception):
    """There was no answer to believe. `complete`: all bytes were given to the connection, so the object may exist."""

    def __init__(self, kind: TroubleKind, detail: str, *, bytes_sent: int, complete: bool) -> None:
        super().__init__(kind, detail, bytes_sent, complete)
        self.kind = kind
        self.detail = detail
        self.bytes_sent = bytes_sent
        self.complete = complete

    def __str__(self) -> str:
        return self.detail


class WrongLength(Exception):
    """The chunks were not as many bytes as was announced. Nothing was stored."""

    def __init__(self, announced: int, given: int) -> None:
        super().__init__(announced, given)
        self.announced = announced
        self.given = given

    def __str__(self) -> str:
        return f"{self.announced} bytes were announced, {self.given} came"


@dataclass(frozen=True, slots=True)
class PutAnswer:
    """What the store answered. Texts are safe to show; hashes are None or "" where it tells none.

    `crc32c` and `md5` (base64) are of what it holds now. `server_date` is seconds since the epoch by its clock.
    `is_page`: it is a web page.
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
    is_page: bool = False


def read_answer(response: http.client.HTTPResponse, url: URL, bytes_sent: int) -> PutAnswer:
    """Read the rest of an answer. Its status counts, with the rest or without it."""
    try:
        content = response.read(MAX_STORE_ERROR_BYTES + 1)
    except (OSError, http.client.HTTPException):
        content = b""
        response.will_close = True  # where the next answer begins, nobody knows
    if response.length or not response.isclosed():
        response.will_close = True  # more is to come than anybody reads
    headers = response.headers
    date = parse_http_date(headers.get("Date"))
    is_error = response.status // 100 != _SUCCESS
    code, message = parse_store_error(content[:MAX_STORE_ERROR_BYTES]) if is_error else ("", "")
    secrets = secrets_of(url)
    return PutAnswer(
        status=response.status,
        etag=excerpt(headers.get("ETag", "")),
        crc32c=stored_crc32c(headers),
        md5=_hashes(headers).get("md5", ""),
        error_code=excerpt(code, secrets=secrets),
        error_message=excerpt(message, secrets=secrets, limit=_MESSAGE_CHARACTERS),
        retry_after=parse_retry_after(headers.get("Retry-After"), server_now=date or time.time()),
        bytes_sent=bytes_sent,
        server_date=date,
        is_page=headers.get_content_type() == "text/html" and not headers.get("ETag") and "Content-Type" in headers,
    )


def stored_crc32c(headers: Message) -> int | None:
    """Return the CRC32C that the store says it holds, None if it says none, or none that can be read."""
    return crc32c_of(_hashes(headers).get("crc32c") or headers.get("x-amz-checksum-crc32c"))


def _hashes(headers: Message) -> dict[str, str]:
    """`x-goog-hash` comes as several headers or as one with commas."""
    return google_hashes(",".join(headers.get_all("x-goog-hash", [])))


def secrets_of(url: URL) -> tuple[str, ...]:
    """Return what signs a URL: no text that is shown may hold it."""
    return tuple(_long_values(url.raw_query_string))


def _long_values(query: str) -> Iterator[str]:
    for name, value in parse_qsl(query):
        if len(value) >= _MIN_SECRET_CHARACTERS and "date" not in name.lower():
            yield value
