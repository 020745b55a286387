"""What an upload will take: how long by this run or another, against the batch's expiry, and the service's limits."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.advice import (
    DIFFERENCE,
    KEPT_SECONDS,
    LARGE_SECONDS,
    Expected,
    Measured,
    Work,
    expected_from,
    expiry_warning,
    is_worth_advice,
    outlook,
    paragraph,
    seconds_until,
    too_many,
    will_expire,
)
from rfbulk.core.forecast import Forecast
from rfbulk.core.forms import SHARDS, SINGLES, VIDEOS

MIB = 1 << 20
HOUR = 3600.0
DAY = 24 * HOUR
OWN = "the rate of this run so far"
UNKNOWN = "How long that takes is known once an upload has been measured on this machine."
REMEDY = "send it into several batches, or share it among machines by --partition."
WORK = Work(SHARDS, 1_000_000, 100_000 * MIB, 2000)


def expected(seconds: float, least: float | None = None, most: float | None = None) -> Expected:
    forecast = Forecast(seconds, least or seconds * 0.9, most or seconds * 1.1)
    return Expected(forecast, 10.0 * MIB, OWN)


@pytest.mark.parametrize(
    ("measured", "limit_rate", "bounds", "rate"),
    [
        # as many bytes a file as were measured: only hours and lines differ
        (Measured(100.0, 1000 * MIB, 10_000), None, (10_000 / DIFFERENCE, 10_000, 10_000 * DIFFERENCE), 10.0),
        # it had larger files: small ones cost time of their own
        (Measured(100.0, 1000 * MIB, 5_000), None, (10_000 / DIFFERENCE, 15_000, 20_000 * DIFFERENCE), 10.0),
        # it had smaller files: these may go faster
        (Measured(100.0, 1000 * MIB, 20_000), None, (5_000 / DIFFERENCE, 10_000, 10_000 * DIFFERENCE), 10.0),
        # the line may take less than was measured, and never more
        (Measured(100.0, 1000 * MIB, 10_000), 5 * MIB, (20_000, 20_000, 20_000 * DIFFERENCE), 5.0),
        (Measured(100.0, 1000 * MIB, 10_000), 50 * MIB, (10_000 / DIFFERENCE, 10_000, 10_000 * DIFFERENCE), 10.0),
    ],
)
def test_an_earlier_run_lets_expect_what_its_bytes_and_its_files_say(
    measured: Measured, limit_rate: int | None, bounds: tuple[float, float, float], rate: float
) -> None:
    found = expected_from(measured, WORK, "as measured", limit_rate)
    assert found is not None
    assert found.origin == ("as --limit-rate allows" if rate == 5.0 else "as measured")
    assert bounds == pytest.approx((found.forecast.least, found.forecast.seconds, found.forecast.most))
    assert rate * MIB == found.bytes_per_second


@pytest.mark.parametrize(
    "measured", [Measured(0.0, 0, 0), Measured(9.0, 5, 5), Measured(60.0, 0, 5), Measured(60.0, 5, 0)]
)
def test_a_run_that_hardly_sent_says_nothing(measured: Measured) -> None:
    assert expected_from(measured, WORK, "") is None


@given(
    st.floats(0, 1e7), st.integers(0, 2**60), st.integers(0, 2**40), st.integers(0, 2**60), st.integers(0, 2**40),
    st.none() | st.integers(1024, 2**40),
)  # fmt: skip
def test_no_numbers_break_it(
    seconds: float, moved: int, files: int, to_send: int, to_send_files: int, limit: int | None
) -> None:
    work = Work(SHARDS, to_send_files, to_send, 1)
    found = expected_from(Measured(seconds, moved, files), work, "measured", limit)
    assert paragraph(work, found).endswith(".")
    assert found is None or (found.forecast.least <= found.forecast.seconds <= (found.forecast.most or 0))


@pytest.mark.parametrize(
    ("told", "expires_in", "end"),
    [
        (None, KEPT_SECONDS, f"{UNKNOWN} The service keeps a batch for 7 d."),
        (
            expected(2 * DAY),
            KEPT_SECONDS,
            f"At 10.0 MiB/s, {OWN}, that takes about 2 d, ± 5 h. The batch then has 5 d left until it expires.",
        ),
        (
            expected(6 * DAY, 5 * DAY, 8 * DAY),
            KEPT_SECONDS,
            f"that takes about 6 d, ± 36 h. The batch expires in 7 d, perhaps before it is whole: {REMEDY}",
        ),
        (expected(9 * DAY), KEPT_SECONDS, f"The batch expires in 7 d, before it is whole: {REMEDY}"),
        (expected(2 * HOUR), HOUR, f"The batch expires in 1 h, before it is whole: {REMEDY}"),
        (expected(0.5 * HOUR), HOUR, "The batch then has 30 min left until it expires."),
    ],
)
def test_the_time_is_held_against_the_expiry(told: Expected | None, expires_in: float, end: str) -> None:
    assert outlook(told, expires_in).endswith(end)


@pytest.mark.parametrize(
    ("work", "begin"),
    [
        (WORK, "1,000,000 images, 97.7 GiB, in 2,000 shards, are to be sent. "),
        (Work(SHARDS, 1, MIB, 1), "1 image, 1.0 MiB, in 1 shard, is to be sent. "),
        (Work(VIDEOS, 20, MIB, 20), "20 videos, 1.0 MiB, are to be sent. "),
        (
            Work(SHARDS, 500, MIB, 1, is_counted=False),
            "500 images, 1.0 MiB, in 1 shard, are to be sent so far, and more is found. ",
        ),
    ],
)  # fmt: skip
def test_the_work_is_told_first(work: Work, begin: str) -> None:
    assert paragraph(work, None).startswith(begin)


@pytest.mark.parametrize(
    ("form", "files", "told"),
    [
        (SHARDS, 10**9, ""),
        (SINGLES, 5000, ""),
        (
            SINGLES,
            5001,
            (
                "the service recommends at most 5,000 images of this road in a batch;"
                " without --one-by-one they go in shards"
            ),
        ),
        (VIDEOS, 1001, "the service recommends at most 1,000 videos of this road in a batch"),
    ],
)
def test_the_services_recommendations_are_told_where_they_are_left(form: object, files: int, told: str) -> None:
    assert told == too_many(form, files)  # type: ignore[arg-type]  # one of the forms


@pytest.mark.parametrize(
    ("told", "expires_in", "is_large"),
    [
        (None, KEPT_SECONDS, False),
        (expected(LARGE_SECONDS - 1), KEPT_SECONDS, False),
        (expected(LARGE_SECONDS), KEPT_SECONDS, True),
        (expected(60.0), 100.0, True),
        (expected(40.0), 100.0, False),
    ],
)
def test_small_uploads_need_no_advice(told: Expected | None, expires_in: float, *, is_large: bool) -> None:
    assert is_large == is_worth_advice(told, expires_in)


@pytest.mark.parametrize(
    ("forecast", "expected_to"),
    [
        (None, False),
        (Forecast(90, 80, 120), False),
        (Forecast(110, 90, 150), True),
        (Forecast(110, 50, None), False),
    ],
)
def test_an_expiry_is_warned_of_once_it_is_likely(forecast: Forecast | None, *, expected_to: bool) -> None:
    assert expected_to == will_expire(forecast, 100)


def test_the_warning_says_what_can_be_done() -> None:
    assert expiry_warning(Forecast(2 * DAY, 1.9 * DAY, 2.1 * DAY), DAY) == (
        "what is left takes about 2 d, ± 3 h, but the batch expires in 24 h: "
        "send it into several batches, or share it among machines by --partition"
    )


@pytest.mark.parametrize(
    ("date", "seconds"),
    [
        ("1970-01-02T00:00:00Z", 86_300.0),
        ("1970-01-02T00:00:00+00:00", 86_300.0),
        ("1970-01-02T00:00:00", 86_300.0),
        ("1970-01-01T00:00:00.000Z", -100.0),
        ("", None),
        ("soon", None),
        ("99999-01-01", None),
    ],
)
def test_dates_of_the_service_are_read_or_left(date: str, seconds: float | None) -> None:
    assert seconds == seconds_until(date, 100.0)
