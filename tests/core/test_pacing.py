from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.pacing import HOLD_WINDOWS, Pace, PaceLimits

LIMITS = st.lists(st.integers(1, 64), min_size=3, max_size=3).map(lambda three: PaceLimits(*sorted(three)))
STEPS = st.lists(st.one_of(st.none(), st.floats(0, 1e12)), max_size=60)


def run(pace: Pace, best_level: int, windows: int) -> list[int]:
    """Let the pace measure a line whose throughput grows up to a level and no further."""
    levels = []
    for _ in range(windows):
        pace.window(100.0 * min(pace.level, best_level))
        levels.append(pace.level)
    return levels


@given(LIMITS, STEPS)
def test_the_level_stays_within_its_bounds(limits: PaceLimits, steps: list[float | None]) -> None:
    pace = Pace(limits)
    for step in steps:
        if step is None:
            pace.slow_down()
        else:
            pace.window(step)
        assert limits.least <= pace.level <= limits.most


@given(STEPS, st.integers(1, 64))
def test_a_fixed_level_never_moves(steps: list[float | None], level: int) -> None:
    pace = Pace(PaceLimits(level, level, level))
    for step in steps:
        if step is None:
            assert not pace.slow_down()
        else:
            pace.window(step)
        assert level == pace.level


def test_it_doubles_while_that_pays() -> None:
    assert run(Pace(PaceLimits(1, 4, 32)), 1000, 4) == [8, 16, 32, 32]


def test_it_steps_back_where_a_step_brought_nothing() -> None:
    assert run(Pace(PaceLimits(1, 4, 32)), 8, 3) == [8, 16, 8]


def test_it_holds_before_it_tries_again() -> None:
    pace = Pace(PaceLimits(1, 4, 32))
    run(pace, 8, 3)
    assert run(pace, 8, HOLD_WINDOWS + 2) == [8] * HOLD_WINDOWS + [9, 8]


def test_it_climbs_by_one_once_a_doubling_failed() -> None:
    pace = Pace(PaceLimits(1, 4, 32))
    run(pace, 8, 3 + HOLD_WINDOWS)
    assert run(pace, 1000, 3) == [9, 10, 11]


def test_a_line_on_which_nothing_moves_is_not_sent_more() -> None:
    pace = Pace(PaceLimits(1, 4, 32))
    levels = []
    for _ in range(20):
        pace.window(0.0)
        levels.append(pace.level)
    assert max(levels) <= 8
    assert levels[1] == 4


@pytest.mark.parametrize(("first", "after"), [(16, 8), (5, 2), (1, 1)])
def test_a_trouble_halves_it(first: int, after: int) -> None:
    pace = Pace(PaceLimits(1, first, 32))
    assert (after != first) is pace.slow_down()
    assert after == pace.level


def test_one_trouble_that_many_shards_meet_halves_it_once_a_window() -> None:
    pace = Pace(PaceLimits(1, 16, 32))
    assert [pace.slow_down() for _ in range(3)] == [True, False, False]
    pace.window(1.0)
    assert pace.slow_down()
    assert pace.level == 4


def test_after_a_trouble_it_holds_and_then_climbs_by_one() -> None:
    pace = Pace(PaceLimits(1, 16, 32))
    pace.slow_down()
    levels = run(pace, 1000, HOLD_WINDOWS + 3)
    assert levels == [8] * (HOLD_WINDOWS + 1) + [9, 10]


def test_a_trouble_during_a_step_up_forgets_the_step() -> None:
    pace = Pace(PaceLimits(1, 4, 32))
    pace.window(100.0)
    assert pace.level == 8
    pace.slow_down()
    assert pace.level == 4
    pace.window(1e9)
    pace.window(1e9)
    assert pace.level == 4


@pytest.mark.parametrize(("level", "settled"), [(1, 16), (4, 16), (16, 16), (20, 16)])
def test_several_busy_interpreters_get_four_shards_each(level: int, settled: int) -> None:
    pace = Pace(PaceLimits(1, level, 32))
    pace.window(100.0, cpu_share=0.9, interpreters=4)
    assert pace.level == settled


def test_busy_interpreters_do_not_undo_what_the_service_asked_for() -> None:
    pace = Pace(PaceLimits(1, 16, 32))
    pace.slow_down()
    levels = []
    for _ in range(HOLD_WINDOWS + 2):
        pace.window(100.0, cpu_share=0.9, interpreters=4)
        levels.append(pace.level)
    assert levels == [8] * (HOLD_WINDOWS + 1) + [16]


@given(LIMITS, st.integers(0, 100))
def test_it_begins_where_it_is_told_to_within_its_bounds(limits: PaceLimits, level: int) -> None:
    pace = Pace(limits)
    pace.begin_at(level)
    assert pace.level == max(limits.least, min(level, limits.most))


def test_a_level_that_was_moved_before_the_beginning_stays() -> None:
    pace = Pace(PaceLimits(1, 8, 32))
    pace.slow_down()
    pace.begin_at(2)
    assert pace.level == 4
