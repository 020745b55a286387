"""How much longer, and how sure that is: even, uneven, drifting, standing still, and for long pasts."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.forecast import Forecast, History, coarse, time_left


def history(rates: list[float], seconds: float = 0.5) -> History:
    """A run that went on at these rates, one after the other, noted as often."""
    told, done = History(), 0.0
    told.note(0.0, 0.0)
    for number, rate in enumerate(rates, 1):
        done += rate * seconds
        told.note(number * seconds, done)
    return told


def test_an_even_run_is_known_to_the_second() -> None:
    forecast = history([100.0] * 240).forecast(12_000)
    assert forecast is not None
    assert (forecast.seconds, forecast.least, forecast.most) == pytest.approx((120.0, 120.0, 120.0))
    assert time_left(forecast) == "about 2 min left, ± 30 s"


def test_nothing_is_said_before_it_can_be_known() -> None:
    assert History().forecast(100) is None
    assert history([100.0] * 7).forecast(1000) is None, "three seconds and a half"
    assert history([100.0] * 8).forecast(1000) is not None
    assert history([0.0] * 100).forecast(1000) is None, "nothing has moved"
    assert time_left(None) == ""


def test_what_is_done_takes_no_time() -> None:
    assert Forecast(0.0, 0.0, 0.0) == history([100.0] * 100).forecast(0)
    assert time_left(Forecast(0.0, 0.0, 0.0)) == ""


def test_an_uneven_run_is_less_sure() -> None:
    chance = random.Random(7)
    even = history([100.0 + chance.uniform(-5, 5) for _ in range(400)]).forecast(50_000)
    uneven = history([chance.choice([20.0, 180.0]) for _ in range(40) for _ in range(10)]).forecast(50_000)
    assert even is not None
    assert even.most is not None
    assert uneven is not None
    assert uneven.most is not None
    assert even.most - even.least < 50
    assert uneven.most - uneven.least > 2 * (even.most - even.least)


def test_a_run_that_becomes_slower_is_expected_to_take_longer_than_its_average_says() -> None:
    slowing = history([200.0 - number * 0.2 for number in range(600)]).forecast(30_000)
    assert slowing is not None
    assert slowing.seconds > 30_000 / 140
    assert slowing.most is not None
    assert slowing.most > 30_000 / 80, "as slow as it is now, and slower"


def test_a_run_that_stood_still_of_late_may_take_for_ever() -> None:
    stalled = history([100.0] * 100 + [0.0] * 100).forecast(5000)
    assert stalled is not None
    assert stalled.most is None
    assert time_left(stalled).endswith("maybe far more")
    assert history([100.0] * 100 + [0.0] * 100_000).forecast(1) is None, "for most of a day nothing moved"


def test_a_rest_is_added_to_what_is_left() -> None:
    told = history([100.0] * 240)
    forecast = told.forecast(12_000, 30.0)
    assert forecast is not None
    assert (forecast.seconds, forecast.most) == pytest.approx((150.0, 150.0))


def test_the_bounds_hold_for_most_of_what_is_uneven_and_goes_on_like_that() -> None:
    """Runs whose rate wanders and comes back, as lines do: asked every ten seconds, the truth lies within."""
    chance, asked, within = random.Random(1), 0, 0
    for _ in range(3):
        rates, drift = [], 0.0
        for _ in range(2000):
            drift = 0.95 * drift + chance.gauss(0, 0.1)
            rates.append(max(0.0, 100.0 * (1 + drift)))
        total, end = sum(rates) / 2, len(rates) / 2
        told, done = History(), 0.0
        for number, rate in enumerate(rates, 1):
            done += rate / 2
            told.note(number / 2, done)
            forecast = told.forecast(total - done) if number % 20 == 0 and end - number / 2 > 10 else None
            if forecast is not None:
                asked += 1
                left = end - number / 2
                within += forecast.least <= left and (forecast.most is None or left <= forecast.most)
    assert asked > 250
    assert within / asked > 0.85


def test_a_week_is_remembered_in_some_hundred_points() -> None:
    told = History()
    for hour in range(7 * 24):
        for minute in range(60):
            told.note(hour * 3600 + minute * 60, hour * 60 + minute)
    assert 50 < len(told._points) < 300
    forecast = told.forecast(60)
    assert forecast is not None
    assert forecast.seconds == pytest.approx(3600, rel=0.01)


def test_a_clock_that_begins_anew_begins_a_new_past() -> None:
    told = history([100.0] * 100)
    told.note(0.0, 0.0)
    assert told.forecast(100) is None


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1e9, 1e18)), max_size=60), st.floats(-1e3, 1e18))
def test_no_numbers_break_it(notes: list[tuple[float, float]], left: float) -> None:
    told = History()
    for seconds, done in notes:
        told.note(seconds, done)
    forecast = told.forecast(left)
    assert forecast is None or forecast.least <= forecast.seconds
    assert forecast is None or forecast.most is None or forecast.seconds <= forecast.most
    assert time_left(forecast, is_final=False).count("left") <= 1


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.0, "5 s"),
        (7.0, "5 s"),
        (58.0, "1 min"),
        (95.0, "1 min 30 s"),
        (601.0, "10 min"),
        (3599.0, "1 h"),
        (7700.0, "2 h 10 min"),
        (6 * 3600.0, "6 h"),
        (30 * 3600 + 800.0, "30 h 15 min"),
        (48 * 3600.0, "2 d"),
        (187_200.0, "2 d 4 h"),
    ],
)
def test_a_duration_is_told_no_finer_than_an_estimate_is(seconds: float, expected: str) -> None:
    assert expected == coarse(seconds)


@pytest.mark.parametrize(
    ("forecast", "is_final", "expected"),
    [
        (Forecast(7800, 6900, 8700), True, "about 2 h 10 min left, ± 15 min"),
        (Forecast(7800, 7790, 7810), True, "about 2 h 10 min left, ± 5 min"),
        (Forecast(7800, 4000, 15000), True, "1 h 5 min to 4 h 10 min left"),
        (Forecast(7800, 4000, None), True, "about 2 h 10 min left, maybe far more"),
        (Forecast(7800, 6900, 8700), False, "so far about 2 h 10 min left, ± 15 min"),
        (Forecast(3, 1, 4), True, "about 5 s left, ± 5 s"),
    ],
)
def test_the_words_say_how_sure_it_is(forecast: Forecast, is_final: bool, expected: str) -> None:
    assert expected == time_left(forecast, is_final=is_final)
