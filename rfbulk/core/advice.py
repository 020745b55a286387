"""What a large upload will take, in one paragraph: how much, how long, and whether its batch lives that long.

How long is known from this run, or from an earlier one: then it is between what its bytes and what its files a second
say, since small files cost time of their own.

======================================== ======================================================
of the time and the batch's expiry       is said
======================================== ======================================================
the time is not known                    that a batch is kept for so long
the likely time is longer                that it will not be whole before, and what can be done
only the longest time is longer          that it may not be whole before
else                                     how long it then has left
======================================== ======================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.forecast import Forecast, coarse, time_needed
from rfbulk.core.wording import number, size

if TYPE_CHECKING:
    from rfbulk.core.forms import Form

KEPT_SECONDS: Final = 7 * 86400.0
"""The service keeps a batch for seven days."""

LARGE_SECONDS: Final = 600.0
"""What takes less than this needs no advice."""

LEAST_MEASURED_SECONDS: Final = 10.0
"""A run that sent for less says nothing of how fast the next one is."""


DIFFERENCE: Final = 1.25
"""How much faster or slower another run may be than the one that was measured: hours and lines differ."""


class Measured(msgspec.Struct, frozen=True):
    """What a run sent in so many seconds of sending, and when that ended, in seconds since the epoch."""

    seconds: float
    bytes: int
    files: int
    ended: float = 0.0

    @property
    def tells(self) -> bool:
        """Whether anything follows from it."""
        return self.seconds >= LEAST_MEASURED_SECONDS and self.bytes > 0 and self.files > 0


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be sent. `is_counted` says that there is no more of it."""

    form: Form
    files: int
    bytes: int
    shards: int
    is_counted: bool = True


@dataclass(frozen=True, slots=True)
class Expected:
    """How long it takes, at which rate, and whose that is."""

    forecast: Forecast
    bytes_per_second: float
    origin: str


def expected_from(measured: Measured, work: Work, origin: str, limit_rate: int | None = None) -> Expected | None:
    """Return what an earlier run lets expect, None if that is nothing."""
    if not measured.tells:
        return None
    rate = measured.bytes / measured.seconds
    if limit_rate is not None:
        rate = min(rate, limit_rate)
    by_bytes, by_files = work.bytes / rate, work.files * measured.seconds / measured.files
    least, most = min(by_bytes, by_files) / DIFFERENCE, max(by_bytes, by_files) * DIFFERENCE
    if rate == limit_rate:  # nothing makes it faster than that
        least, origin = by_bytes, "as --limit-rate allows"
    return Expected(Forecast((by_bytes + max(by_bytes, by_files)) / 2, least, most), rate, origin)


def is_worth_advice(expected: Expected | None, expires_in: float = KEPT_SECONDS) -> bool:
    """Tell whether an upload is so large that its operator should know what it takes."""
    if expected is None:
        return False
    return expected.forecast.seconds >= LARGE_SECONDS or expected.forecast.seconds >= expires_in / 2


def paragraph(work: Work, expected: Expected | None, expires_in: float = KEPT_SECONDS) -> str:
    """Return the advice. `expires_in` are the seconds until the batch expires."""
    return f"{_what(work)}. {outlook(expected, expires_in)}"


def outlook(expected: Expected | None, expires_in: float = KEPT_SECONDS) -> str:
    """Return how long it takes, and whether its batch lives that long."""
    return f"{_how_long(expected)}. {_expiry(expected, expires_in)}."


def too_many(form: Form, files: int) -> str:
    """Say that the service recommends fewer files in a batch of this form, "" if it does not."""
    if form.suggested is None or files <= form.suggested:
        return ""
    road = "; without --one-by-one they go in shards" if not form.has_grants else ""
    return f"the service recommends at most {form.suggested:,} {form.media} of this road in a batch{road}"


def will_expire(forecast: Forecast | None, expires_in: float) -> bool:
    """Tell whether an upload will hardly be whole before its batch expires."""
    return forecast is not None and forecast.seconds > expires_in and forecast.least > 0.8 * expires_in


def expiry_warning(forecast: Forecast, expires_in: float) -> str:
    """Say that it will not be whole in time."""
    return f"what is left takes {time_needed(forecast)}, but the batch expires in {coarse(expires_in)}: {_REMEDY}"


def seconds_until(date: str, now: float) -> float | None:
    """Return the seconds from `now` (since the epoch) to a date as the service writes it, None if it is none."""
    try:
        moment = datetime.fromisoformat(date)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    except (ValueError, OverflowError):
        return None


_REMEDY: Final = "send it into several batches, or share it among machines by --partition"


def _what(work: Work) -> str:
    noun = number(work.files, work.form.media[:-1])
    shards = f", in {number(work.shards, 'shard')}" if work.form.has_tars else ""
    verb = "is" if work.files == 1 else "are"
    more = "" if work.is_counted else " so far, and more is found"
    return f"{noun}, {size(work.bytes)}{shards}, {verb} to be sent{more}"


def _how_long(expected: Expected | None) -> str:
    if expected is None:
        return "How long that takes is known once an upload has been measured on this machine"
    return f"At {size(expected.bytes_per_second)}/s, {expected.origin}, that takes {time_needed(expected.forecast)}"


def _expiry(expected: Expected | None, expires_in: float) -> str:
    if expected is None:
        return f"The service keeps a batch for {coarse(expires_in)}"
    forecast = expected.forecast
    if forecast.seconds > expires_in:
        return f"The batch expires in {coarse(expires_in)}, before it is whole: {_REMEDY}"
    if forecast.most is None or forecast.most > expires_in:
        return f"The batch expires in {coarse(expires_in)}, perhaps before it is whole: {_REMEDY}"
    return f"The batch then has {coarse(expires_in - forecast.seconds)} left until it expires"
