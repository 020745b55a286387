"""How much longer a transfer takes, and how sure that is, from how evenly it has gone on so far; and the words for it.

Nothing here knows what is counted: bytes, files or images.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Final

FINENESS: Final = 16
"""Of a past of n seconds the history knows the state every n / 16 seconds: some hundred points for a week."""

BLOCKS: Final = 8
"""Stretches of time whose rates are compared."""

LEAST_SECONDS: Final = 4.0
"""A transfer that is younger is not known yet."""

LOOK_BACK_SECONDS: Final = 30.0
"""The least that is looked back, once there is so much: less is the noise of single shards."""

STALLED: Final = 0.2
"""Where the slow side of the spread is below this share of the rate, nobody knows how long it takes at the most."""


WIDE: Final = 0.35
"""Where the bounds are further than this share from the likely time, they say more than it does."""

_STEPS: Final = ((60, 5), (600, 30), (3600, 60), (6 * 3600, 300), (48 * 3600, 900), (float("inf"), 3600))
"""Up to how many seconds a duration is told to how many: finer would be a lie, and would flicker."""


@dataclass(frozen=True, slots=True)
class Forecast:
    """Seconds that are left: the likely number, and bounds that hold if it goes on as unevenly as it did.

    `most` is None where the transfer has all but stood still for some of the time.
    """

    seconds: float
    least: float
    most: float | None


@dataclass(slots=True)
class History:
    """What was done by when, of one run: what earlier runs did must not be counted in.

    Fine for the last seconds, and ever coarser for what is longer ago: it never has more than some hundred points.
    """

    _points: list[tuple[float, float]] = field(default_factory=list)

    def note(self, seconds: float, done: float) -> None:
        """Take note of what is done by now. Times that go backwards begin anew."""
        if self._points and seconds < self._points[-1][0]:
            self._points.clear()
        if self._points and seconds == self._points[-1][0]:
            self._points[-1] = (seconds, done)
            return
        self._points.append((seconds, done))
        self._thin_out()

    def forecast(self, left: float, rest_seconds: float = 0.0) -> Forecast | None:
        """Return how long `left` more will take, None while that cannot be known: too early, or nothing moves.

        `rest_seconds` of them nothing moves, as the service asked.

        It is looked back as far as it is looked ahead, but for the beginning of the run, which is seldom like the rest,
        and at stretches of that time. Their spread tells how much the next stretches will differ, and the difference
        between their halves how much the whole may drift.
        """
        if left <= 0:
            return Forecast(0.0, 0.0, 0.0)
        from statistics import fmean, pstdev  # noqa: PLC0415 - it loads `random` and `fractions`, and is seldom asked

        rates = self._rates(left)
        rate = fmean(rates) if rates else 0.0
        if rate <= 0:
            return None
        half = BLOCKS // 2
        drift = abs(fmean(rates[half:]) - fmean(rates[:half]))
        doubt = 2 * (pstdev(rates) ** 2 / half + drift**2) ** 0.5
        slow = rate - doubt
        most = left / slow + rest_seconds if slow > STALLED * rate else None
        return Forecast(left / rate + rest_seconds, left / (rate + doubt) + rest_seconds, most)

    def _rates(self, left: float) -> list[float]:
        if not self._points:
            return []
        (began, first), (now, done) = self._points[0], self._points[-1]
        elapsed = now - began
        if elapsed < LEAST_SECONDS or done <= first:
            return []
        ahead = left * elapsed / (done - first)
        back = min(elapsed, max(LOOK_BACK_SECONDS, min(ahead, elapsed * 0.75)))
        marks = [self._done_at(now - back + back * number / BLOCKS) for number in range(BLOCKS + 1)]
        return [max(0.0, after - before) * BLOCKS / back for before, after in pairwise(marks)]

    def _done_at(self, moment: float) -> float:
        earlier = self._points[0]
        for later in self._points:
            if later[0] >= moment:
                span = later[0] - earlier[0]
                share = (moment - earlier[0]) / span if span else 1.0
                return earlier[1] + (later[1] - earlier[1]) * share
            earlier = later
        return earlier[1]

    def _thin_out(self) -> None:
        """Drop a point where its neighbours are near enough to each other for how long ago that is."""
        now, kept = self._points[-1][0], self._points[:1]
        for point, after in zip(self._points[1:], self._points[2:], strict=False):
            if after[0] - kept[-1][0] > (now - after[0]) / FINENESS:
                kept.append(point)
        self._points = [*kept, *self._points[-1:]] if len(self._points) > 1 else kept


def coarse(seconds: float) -> str:
    """Return an estimated duration, no finer than an estimate can be: `25 s`, `3 min 30 s`, `2 h 10 min`, `2 d 3 h`."""
    step = _step(seconds)
    return _clock(max(step, round(seconds / step) * step))


def _step(seconds: float) -> int:
    return next(step for limit, step in _STEPS if seconds < limit)


def _clock(whole: int) -> str:
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def time_left(forecast: Forecast | None, *, is_final: bool = True) -> str:
    """Return how long it takes yet and how sure that is, empty while nobody knows.

    `is_final` says that all there is to do is known.
    """
    if forecast is None or not forecast.seconds:
        return ""
    likely, _, bounds = time_needed(forecast).partition(",")
    text = f"{likely} left,{bounds}" if bounds else f"{likely} left"
    return text if is_final else f"so far {text}"


def time_needed(forecast: Forecast) -> str:
    """Return how long it takes and how sure that is: `about 2 h 10 min, ± 15 min`."""
    if forecast.most is None:
        return f"about {coarse(forecast.seconds)}, maybe far more"
    margin = (forecast.most - forecast.least) / 2
    if margin > WIDE * forecast.seconds and coarse(forecast.least) != coarse(forecast.most):
        return f"{coarse(forecast.least)} to {coarse(forecast.most)}"
    step = _step(forecast.seconds)
    return f"about {coarse(forecast.seconds)}, ± {_clock(step * max(1, ceil(margin / step)))}"
