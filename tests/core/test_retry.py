from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.retry import RetryPolicy, next_delay
from rfbulk.core.retry_after import MAX_RETRY_AFTER_SECONDS, is_passing_status, parse_http_date, parse_retry_after

POLICY = RetryPolicy(first_seconds=1.0, cap_seconds=60.0, budget_seconds=900.0)
NOON = 1_735_732_800.0  # Wed, 01 Jan 2025 12:00:00 GMT


@pytest.mark.parametrize(("failures", "upper"), [(1, 1.0), (2, 2.0), (3, 4.0), (7, 60.0), (8, 60.0), (10_000, 60.0)])
def test_waits_double_up_to_the_cap(failures: int, upper: float) -> None:
    assert next_delay(POLICY, failures=failures, elapsed=0.0, retry_after=None, jitter=1.0) == upper


def test_jitter_takes_the_whole_range() -> None:
    """Half jitter would let a crowd come back in the same half of the wait."""
    for jitter, delay in [(0.0, 0.0), (0.5, 2.0), (1.0, 4.0)]:
        assert next_delay(POLICY, failures=3, elapsed=0.0, retry_after=None, jitter=jitter) == delay


def test_what_the_server_asks_for_is_a_floor() -> None:
    assert next_delay(POLICY, failures=1, elapsed=0.0, retry_after=30.0, jitter=0.0) == 30.0
    assert next_delay(POLICY, failures=7, elapsed=0.0, retry_after=30.0, jitter=1.0) == 60.0


@pytest.mark.parametrize(("elapsed", "retry_after"), [(900.0, None), (1e9, None), (0.0, 900.1), (880.0, 21.0)])
def test_gives_up_when_the_budget_is_used_up_or_cannot_hold_the_wait(elapsed: float, retry_after: float | None) -> None:
    assert next_delay(POLICY, failures=1, elapsed=elapsed, retry_after=retry_after, jitter=0.5) is None


def test_the_last_wait_ends_with_the_budget() -> None:
    assert next_delay(POLICY, failures=9, elapsed=890.0, retry_after=None, jitter=1.0) == 10.0


@given(
    failures=st.integers(0, 10**6),
    elapsed=st.floats(0, 2000),
    retry_after=st.none() | st.floats(0, 2000),
    jitter=st.floats(0, 1),
)
def test_no_wait_is_negative_below_its_floor_or_beyond_the_budget(
    failures: int, elapsed: float, retry_after: float | None, jitter: float
) -> None:
    delay = next_delay(POLICY, failures=failures, elapsed=elapsed, retry_after=retry_after, jitter=jitter)
    assert delay is None or (retry_after or 0.0) <= delay <= POLICY.budget_seconds - elapsed


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
