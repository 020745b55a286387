"""When to ask the service again: soon after a change, ever more seldom without one, and never too often altogether."""

from __future__ import annotations

from typing import Final

REQUESTS_PER_SECOND: Final = 0.45
"""In the long run. The service is shared: one waiting flow stays under one request in two seconds."""

BURST_REQUESTS: Final = 30
"""How many may come at once before that: small jobs end within seconds, and are told at once."""

FIRST_WAIT: Final = 0.25
AFTER_CHANGE: Final = 2.0
AGE_SHARE: Final = 0.01
"""After a change the next look comes within a hundredth of what the waiting has taken so far: to somebody who has
waited for hours, half a minute is soon, and a notification finds the budget unspent."""

LONGEST_WAIT: Final = 30.0
_GROWTH: Final = 1.6


class Pace:
    """Paces the looks of one waiting flow, by what each of them costs in requests.

    `spent` is told after each look. `waits` tells how long to rest: at least so long whatever happens, since the
    budget is used up, and at most so long without a notification.
    """

    def __init__(self, now: float) -> None:
        self._budget = float(BURST_REQUESTS)
        self._at = now
        self._began = now
        self._wait = FIRST_WAIT
        self._cost = 1

    def spent(self, requests: int, now: float, *, has_changed: bool) -> None:
        """Take note of a look that took so many requests, and whether it showed anything new."""
        self._refill(now)
        self._budget -= requests
        self._cost = max(1, requests)
        soon = min(LONGEST_WAIT, max(AFTER_CHANGE, AGE_SHARE * (now - self._began)))
        self._wait = min(soon if has_changed else LONGEST_WAIT, self._wait * _GROWTH)

    def hurry(self) -> None:
        """Take note that something has been announced which the service does not show yet."""
        self._wait = FIRST_WAIT

    def waits(self, now: float) -> tuple[float, float]:
        """Return the seconds to rest at least, and at most."""
        self._refill(now)
        at_least = max(0.0, (self._cost - self._budget) / REQUESTS_PER_SECOND)
        return at_least, max(at_least, self._wait)

    def _refill(self, now: float) -> None:
        earned = max(0.0, now - self._at) * REQUESTS_PER_SECOND
        self._budget = min(float(max(BURST_REQUESTS, self._cost)), self._budget + earned)
        self._at = now
