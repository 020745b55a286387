"""What an answer says about trying again: whether another one may come, and when."""

from __future__ import annotations

import re
from datetime import UTC
from functools import lru_cache
from http import HTTPStatus
from typing import Final

MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
"""A day. A service that asks for more means never, or is confused."""

_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{0,9})?", re.ASCII)
_LONGEST_DATE: Final = 64
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_SERVER_ERROR: Final = 5


def is_passing_status(status: int) -> bool:
    """Tell whether an answer of this status may be another one the next time.

    408, 429, 500, 502, 503 and 504 are documented so. Every other 5xx counts too: balancers and proxies on the way
    make up their own (520 to 530), and the retry budget bounds what a final one costs.
    """
    return status in _PASSING or status // 100 == _SERVER_ERROR


def parse_retry_after(text: str | None, *, server_now: float) -> float | None:
    """Return the seconds that a `Retry-After` asks for, at most a day; None where it says nothing sensible.

    It holds seconds or a date. A date is compared with the server's own clock, not with ours.
    """
    if text is None:
        return None
    text = text.strip()
    if _SECONDS.fullmatch(text):
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    date = parse_http_date(text)
    return None if date is None else min(max(date - server_now, 0.0), MAX_RETRY_AFTER_SECONDS)


@lru_cache(maxsize=8)  # a service that answers a thousand times a second tells each second's date a thousand times
def parse_http_date(text: str | None) -> float | None:
    """Return the seconds since the epoch that a date of HTTP names, None for nonsense."""
    if not text or len(text) > _LONGEST_DATE:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - it loads a dozen modules, and few dates are read

    try:
        date = parsedate_to_datetime(text)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError, IndexError, TypeError):  # the parser of mail dates trips over much
        return None
