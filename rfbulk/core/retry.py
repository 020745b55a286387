"""How long to wait before trying again, and when to give up. Deciding whether to is the caller's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache
from http import HTTPStatus
from typing import Final

MAX_RETRY_AFTER_SECONDS: Final = 86_400.0
"""A day. A service that asks for more means never, or is confused."""

_SECONDS: Final = re.compile(r"\d{1,9}(\.\d{0,9})?", re.ASCII)
_MAX_DOUBLINGS: Final = 40
_LONGEST_DATE: Final = 64
_PASSING: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_SERVER_ERROR: Final = 5


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patiently something is tried again. Waits double from the first to the cap; jitter only shortens them.

    `budget_seconds` is wall time from the first attempt until no other is begun.
    """

    first_seconds: float = 1.0
    cap_seconds: float = 60.0
    budget_seconds: float = 900.0


def next_delay(
    policy: RetryPolicy, *, failures: int, elapsed: float, retry_after: float | None, jitter: float
) -> float | None:
    """Return the seconds to wait after the `failures`-th failure, or None to give up.

    Full jitter: anything from nothing to the doubled wait, chosen by `jitter` (0 to 1), so that many clients do not
    come back together. What the server asked for is a floor. The last wait ends where the budget does; a server
    that asks for more than is left of it is not waited for.
    """
    left = policy.budget_seconds - elapsed
    floor = retry_after or 0.0
    if left <= 0 or floor > left:
        return None
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    upper = min(policy.cap_seconds, policy.first_seconds * 2.0**doublings)
    return min(left, max(floor, upper * jitter))


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
