"""What an answer of the store to a GET means, and how a broken transfer is continued."""

from __future__ import annotations

import re
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.fetching import FetchOutcome
from rfbulk.core.retry_after import is_passing_status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rfbulk.core.hashes import StoredHashes
    from rfbulk.core.heads import Head

MARK_BYTES: Final = 1 << 20
"""From here on it pays to continue what broke off. What is smaller is fetched anew in the time that a mark costs."""

_EXPIRED: Final = frozenset({"ExpiredToken", "RequestExpired"})
_STRONG_ETAG: Final = re.compile(r'"[\x21\x23-\x7e]{1,200}"')
_CONTENT_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", re.ASCII)


def judge_get(status: int, error_code: str, message: str) -> FetchOutcome:
    """Tell what becomes of a remote file whose GET was answered without its bytes.

    ============ =================================================== ========
    status       error                                               outcome
    ============ =================================================== ========
    408 429 5xx                                                      busy
    401 403      whatever it says: the signature ended or is refused expired
    400          `ExpiredToken`, or worded as expired                expired
    404 410                                                          gone
    any other                                                        refused
    ============ =================================================== ========
    """
    if is_passing_status(status):
        return FetchOutcome.BUSY
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        return FetchOutcome.EXPIRED
    if status == HTTPStatus.BAD_REQUEST and (error_code in _EXPIRED or "expired" in message.lower()):
        return FetchOutcome.EXPIRED
    if status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        return FetchOutcome.GONE
    return FetchOutcome.REFUSED


def is_page(head: Head) -> bool:
    """Tell whether this is a web page and no object, as the login pages of hotels answer in the store's place."""
    headers = head.headers
    kind = headers.get("content-type", "")
    return "html" in kind.lower() and "etag" not in headers and "x-goog-hash" not in headers


class Mark(msgspec.Struct, frozen=True):
    """What is kept beside the beginning of a large file, so that its rest alone is asked for. Holds no URL.

    `etag` is a strong one, `total` the whole file's length. `is_hashed`: the store tells a hash that proves the whole,
    `with_md5`: by MD5 alone.
    `boot` names the start of the system in which the beginning was written: what a power cut left of it is proved by
    the hash, or not believed.
    """

    etag: str
    total: int
    is_hashed: bool
    with_md5: bool
    boot: str

    def is_good_for(self, held_bytes: int, boot: str) -> bool:
        """Tell whether what is held of the file may be continued."""
        return 0 < held_bytes <= self.total and (self.is_hashed or (bool(boot) and boot == self.boot))


def mark_of(head: Head, stored: StoredHashes, *, boot: str) -> Mark | None:
    """Return by what a file may be continued, whose first byte this answer begins with. None if it may not."""
    etag = head.headers.get("etag", "")
    if head.status != HTTPStatus.OK or head.length is None or _STRONG_ETAG.fullmatch(etag) is None:
        return None
    return Mark(etag, head.length, stored.proves, stored.needs_md5, boot)


def range_headers(mark: Mark, held_bytes: int) -> dict[str, str]:
    """Return the headers that ask for the rest of a file, or for all of it if it is another one by now."""
    return {"Range": f"bytes={held_bytes}-", "If-Range": mark.etag}


class Continued(Enum):
    """What an answer to a request for the rest of a file is."""

    REST = auto()
    ANEW = auto()  # it is the whole file, from its first byte
    ASK_ANEW = auto()  # it is of no use: ask for the whole file
    OTHER = auto()  # it is an answer as to any request


def judge_continued(head: Head, mark: Mark, held_bytes: int) -> Continued:
    """Tell what an answer to `range_headers` is.

    ====== ================================================= ========
    status when                                              it is
    ====== ================================================= ========
    206    exactly the rest, of the same total and ETag      rest
    206    any other range, or of another file               ask-anew
    200                                                      anew
    416                                                      ask-anew
    else                                                     other
    ====== ================================================= ========
    """
    match head.status:
        case HTTPStatus.PARTIAL_CONTENT:
            return Continued.REST if _is_rest(head, mark, held_bytes) else Continued.ASK_ANEW
        case HTTPStatus.OK:
            return Continued.ANEW
        case HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return Continued.ASK_ANEW
        case _:
            return Continued.OTHER


def _is_rest(head: Head, mark: Mark, held_bytes: int) -> bool:
    wanted = str(held_bytes), str(mark.total - 1), str(mark.total)
    found = _CONTENT_RANGE.fullmatch(head.headers.get("content-range", ""))
    has_length = head.length is None or head.length == mark.total - held_bytes
    return found is not None and found.groups() == wanted and has_length and _has_etag(head.headers, mark.etag)


def _has_etag(headers: Mapping[str, str], etag: str) -> bool:
    return headers.get("etag", etag) == etag
