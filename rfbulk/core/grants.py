"""What a grant of the service says: where to, with which headers, how much, until when. And which URLs are taken."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from rfbulk.core.loopback import is_loopback
from rfbulk.core.model import Grant
from rfbulk.core.secrets import SignedUrl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_TOKEN: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
_DIGITS: Final = re.compile(r"[0-9]{1,18}", re.ASCII)
_FRAMING: Final = frozenset(
    {"connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}
)
"""Headers that belong to the connection. Under a grant's control they would smuggle another request."""


class GrantFault(ValueError):
    """What the service granted cannot be used. Its text names no value."""


class UrlFault(GrantFault):
    """A URL that is not taken. Its text says why, not what it was."""


def grant_of(
    details: Mapping[str, object], *, beside: Mapping[str, object] | None = None, allow_http: bool = False
) -> Grant:
    """Return the grant that `signedURLDetails` describes. `beside` is the object that it stands in.

    Raises:
        GrantFault: it cannot be used.
    """
    url = details.get("uploadURL")
    if not isinstance(url, str):
        raise GrantFault("Expected a text - at `$.signedURLDetails.uploadURL`")
    parts = check_url(url, allow_http=allow_http)
    method = details.get("method") or "PUT"
    if not isinstance(method, str) or method.upper() != "PUT":
        raise GrantFault("the grant asks for another method than PUT")
    headers = _headers(details.get("extensionHeaders"))
    return Grant(
        url=SignedUrl(url),
        headers=headers,
        max_bytes=_size_limit(headers, (details, beside or {})),
        expires_at=expiry_of(parts.query),
        once_only=_header(headers, "x-goog-if-generation-match") == "0",
    )


def check_url(text: str, *, allow_http: bool) -> SplitResult:
    """Take a URL apart if it may be spoken to: https, or plain HTTP to this machine or if that is allowed.

    Raises:
        UrlFault: it may not.
    """
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise UrlFault("the URL holds characters that no URL has")
    try:
        parts = urlsplit(text)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise UrlFault("the URL cannot be parsed") from None
    if not host:
        raise UrlFault("the URL names no host")
    if "@" in parts.netloc:
        raise UrlFault("the URL holds a user name")
    if parts.scheme != "https" and not (parts.scheme == "http" and (allow_http or is_loopback(host))):
        raise UrlFault("the URL is not https")
    return parts


def expiry_of(query: str) -> float | None:
    """Return when a signed URL ends, in seconds since the epoch by the server's clock; None where it does not say.

    Google and Amazon (V4) give a date and a lifetime, Azure an end (`se`), older signatures an epoch (`Expires`).
    """
    values = {name.lower(): value for name, value in parse_qsl(query)}
    for vendor in ("x-goog", "x-amz"):
        start, lifetime = _date(values.get(f"{vendor}-date")), _integer(values.get(f"{vendor}-expires"))
        if start is not None and lifetime is not None:
            return start + lifetime
    end = _date(values.get("se"))
    if end is not None:
        return end
    epoch = _integer(values.get("expires"))
    return None if epoch is None else float(epoch)


def _headers(value: object) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise GrantFault("Expected an object - at `$.signedURLDetails.extensionHeaders`")
    return {_header_name(name): _header_value(content) for name, content in value.items()}


def _header_name(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise GrantFault("the grant names a header that is none")
    if name.lower() in _FRAMING:
        raise GrantFault("the grant sets a header that belongs to the connection")
    return name


def _header_value(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        raise GrantFault("the grant gives a header that is no text")
    text = str(value)
    if not text.isascii() or any((character < " " and character != "\t") or character == "\x7f" for character in text):
        raise GrantFault("the grant gives a header with control characters")
    return text


def _size_limit(headers: Mapping[str, str], objects: Iterable[Mapping[str, object]]) -> int | None:
    """Return the smallest limit that anything states."""
    limits = [_integer(value) for fields in objects for name, value in fields.items() if name.startswith("maxFileSi")]
    content_range = _header(headers, "x-goog-content-length-range")
    if content_range is not None:
        limits.append(_integer(content_range.rpartition(",")[2].strip()))
    return min((limit for limit in limits if limit), default=None)


def _header(headers: Mapping[str, str], wanted: str) -> str | None:
    return next((value.strip() for name, value in headers.items() if name.lower() == wanted), None)


def _integer(value: object) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else None


def _date(text: str | None) -> float | None:
    """Seconds since the epoch of an ISO 8601 date, basic or extended; without a zone it is UTC."""
    if text is None:
        return None
    try:
        date = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
