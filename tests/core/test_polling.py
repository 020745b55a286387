"""When the service is asked again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.polling import BURST_REQUESTS, LONGEST_WAIT, REQUESTS_PER_SECOND, Pace

SIX_HOURS = 6 * 3600.0


def requests_in(seconds: float, *, cost: int, has_changed: bool, hurried: bool = False) -> int:
    """How many requests a flow makes in so long, looking as soon as it may."""
    now, requests = 0.0, 0
    pace = Pace(0.0)
    while now < seconds:
        requests += cost
        pace.spent(cost, now, has_changed=has_changed)
        if hurried:
            pace.hurry()
        at_least, at_most = pace.waits(now)
        now += max(at_least if hurried else at_most, 0.001)
    return requests


@pytest.mark.parametrize("cost", [1, 3, 40, 500])
@pytest.mark.parametrize("hurried", [False, True], ids=["alone", "notified without end"])
def test_six_hours_stay_under_one_request_in_two_seconds(cost: int, hurried: bool) -> None:
    """Whatever changes, whatever a look costs, and however many notifications come."""
    made = requests_in(SIX_HOURS, cost=cost, has_changed=True, hurried=hurried)
    assert made < SIX_HOURS / 2
    assert made <= SIX_HOURS * REQUESTS_PER_SECOND + BURST_REQUESTS + 2 * cost


def test_without_a_change_the_looks_grow_seldom() -> None:
    assert requests_in(SIX_HOURS, cost=3, has_changed=False) < 3 * (SIX_HOURS / LONGEST_WAIT + 20)


def test_a_small_job_is_told_within_seconds() -> None:
    pace, now = Pace(0.0), 0.0
    for _ in range(8):
        pace.spent(3, now, has_changed=False)
        now += pace.waits(now)[1]
    assert now < 30.0
    assert pace.waits(now)[1] < LONGEST_WAIT


@given(costs=st.lists(st.integers(1, 50), min_size=1, max_size=60))
def test_the_least_rest_is_never_longer_than_the_most(costs: list[int]) -> None:
    pace, now = Pace(0.0), 0.0
    for cost in costs:
        pace.spent(cost, now, has_changed=bool(cost % 2))
        at_least, at_most = pace.waits(now)
        assert 0 <= at_least <= at_most
        now += at_most
