from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.retry import RetryPolicy, next_delay

POLICY = RetryPolicy(first_seconds=1.0, cap_seconds=60.0, budget_seconds=900.0)


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
