from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.retry_after import MAX_RETRY_AFTER_SECONDS, is_passing_status, parse_http_date, parse_retry_after

NOON = 1_735_732_800.0  # Wed, 01 Jan 2025 12:00:00 GMT


@pytest.mark.parametrize("status", [408, 429, 500, 501, 502, 503, 504, 520, 599])
def test_statuses_that_pass(status: int) -> None:
    assert is_passing_status(status)


@pytest.mark.parametrize("status", [100, 200, 302, 400, 401, 403, 404, 409, 412, 413, 499, 600])
def test_statuses_that_stay(status: int) -> None:
    assert not is_passing_status(status)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("999999999", MAX_RETRY_AFTER_SECONDS),
        ("Wed, 01 Jan 2025 12:00:30 GMT", 30.0),
        ("Wednesday, 01-Jan-25 12:00:30 GMT", 30.0),
        ("Wed, 01 Jan 2025 11:00:00 GMT", 0.0),
        ("Fri, 01 Jan 2027 12:00:00 GMT", MAX_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after_is_seconds_or_a_date_by_the_server_clock(text: str, seconds: float) -> None:
    assert seconds == parse_retry_after(text, server_now=NOON)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "soon",
        "-5",
        "1e9",
        "inf",
        "nan",
        "٣",
        "9" * 5000,
        "Wed, 99 Foo 2025",
        "1 2 3 4 5 6 7 8",
        "Wed, 01 Jan",
    ],
)
def test_nonsense_in_retry_after_says_nothing(text: str | None) -> None:
    assert parse_retry_after(text, server_now=NOON) is None


@given(st.text(max_size=80))
def test_no_text_makes_the_date_parser_fall_over(text: str) -> None:
    """The standard library's parser of dates raises several kinds of errors on a stranger's header."""
    date = parse_http_date(text)
    assert date is None or isinstance(date, float)


def test_a_date_of_http_is_read() -> None:
    assert parse_http_date("Wed, 01 Jan 2025 12:00:00 GMT") == NOON
