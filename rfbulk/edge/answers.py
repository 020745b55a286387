"""What a store answers to a PUT, read with limits, and how an attempt ends without an answer."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.hashes import crc32c_of, google_hashes
from rfbulk.core.redaction import excerpt
from rfbulk.core.retry_after import parse_http_date, parse_retry_after
from rfbulk.core.store_errors import MAX_STORE_ERROR_BYTES, parse_store_error
from rfbulk.edge.inflow import Inflow
from rfbulk.edge.troubles import LINE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rfbulk.core.heads import Head
    from rfbulk.edge.lines import Line
    from rfbulk.edge.troubles import TroubleKind

_SUCCESS: Final = 2
_MIN_SECRET_CHARACTERS: Final = 8
_MESSAGE_CHARACTERS: Final = 400
_BUFFER_BYTES: Final = 8 << 10

REST_SECONDS: Final = 5.0
"""What the rest of an answer gets once its status is known."""


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


class PutAnswer(msgspec.Struct, frozen=True):
    """What the store answered. Texts are safe to show; hashes are None or "" where it tells none.

    `crc32c` and `md5` (base64) are of what it holds now. `is_page`: it is a web page.
    """

    status: int
    etag: str = ""
    crc32c: int | None = None
    md5: str = ""
    error_code: str = ""
    error_message: str = ""
    retry_after: float | None = None
    bytes_sent: int = 0
    is_page: bool = False


def read_answer(line: Line, url: str, bytes_sent: int, *, rest_seconds: float = REST_SECONDS) -> tuple[PutAnswer, bool]:
    """Wait for an answer, and return it. Tells also whether its connection stands where another one can begin.

    The status counts, with the rest of the answer or without it: that gets `rest_seconds`.

    Raises:
        LINE_ERRORS: there is no answer.
    """
    head = line.head()
    inflow = Inflow(line, bytearray(_BUFFER_BYTES), stall_seconds=rest_seconds)
    content = _content(inflow, head)
    return _answer_of(head, content, url, bytes_sent), inflow.is_at_start


def _content(inflow: Inflow, head: Head) -> bytes:
    """Read the body, no further than anybody looks."""
    content = bytearray()
    inflow.is_at_start = False
    inflow.limit()
    try:
        for piece in inflow.body(head):
            content += piece
            if len(content) > MAX_STORE_ERROR_BYTES:
                break
    except LINE_ERRORS:
        return b""
    return bytes(content)


def _answer_of(head: Head, content: bytes, url: str, bytes_sent: int) -> PutAnswer:
    headers = head.headers
    is_error = head.status // 100 != _SUCCESS
    code, message = parse_store_error(content[:MAX_STORE_ERROR_BYTES]) if is_error else ("", "")
    secrets = secrets_of(url) if is_error else ()
    hashes = google_hashes(headers.get("x-goog-hash", ""))
    return PutAnswer(
        status=head.status,
        etag=excerpt(headers.get("etag", "")),
        crc32c=crc32c_of(hashes.get("crc32c") or headers.get("x-amz-checksum-crc32c")),
        md5=hashes.get("md5", ""),
        error_code=excerpt(code, secrets=secrets),
        error_message=excerpt(message, secrets=secrets, limit=_MESSAGE_CHARACTERS),
        retry_after=_retry_after(headers),
        bytes_sent=bytes_sent,
        is_page=_is_page(headers),
    )


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """What `Retry-After` says, of a date by the store's own clock."""
    text = headers.get("retry-after")
    return (
        None
        if text is None
        else parse_retry_after(text, server_now=parse_http_date(headers.get("date")) or time.time())
    )


def _is_page(headers: Mapping[str, str]) -> bool:
    media = headers.get("content-type", "").partition(";")[0].strip().lower()
    return media == "text/html" and not headers.get("etag")


def secrets_of(url: str) -> tuple[str, ...]:
    """Return what signs a URL: no text that is shown may hold it."""
    from urllib.parse import parse_qsl  # noqa: PLC0415 - of errors alone

    return tuple(
        value
        for name, value in parse_qsl(url.partition("#")[0].partition("?")[2])
        if len(value) >= _MIN_SECRET_CHARACTERS and "date" not in name.lower()
    )
