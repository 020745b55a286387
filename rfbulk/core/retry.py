"""How long to wait before trying again, and when to give up. Deciding whether to is the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_MAX_DOUBLINGS: Final = 40


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How patiently something is tried again. Waits double from the first to the cap; jitter only shortens them.

    `budget_seconds` is wall time from the first attempt until no other is begun.
    """

    first_seconds: float = 1.0
    cap_seconds: float = 60.0
    budget_seconds: float = 900.0


def next_delay(
    policy: RetryPolicy, *, failures: int, elapsed: float, retry_after: float | None, jitter: float
) -> float | None:
    """Return the seconds to wait after the `failures`-th failure, or None to give up.

    Full jitter: anything from nothing to the doubled wait, chosen by `jitter` (0 to 1), so that many clients do not
    come back together. What the server asked for is a floor. The last wait ends where the budget does; a server
    that asks for more than is left of it is not waited for.
    """
    left = policy.budget_seconds - elapsed
    floor = retry_after or 0.0
    if left <= 0 or floor > left:
        return None
    doublings = min(max(failures - 1, 0), _MAX_DOUBLINGS)
    upper = min(policy.cap_seconds, policy.first_seconds * 2.0**doublings)
    return min(left, max(floor, upper * jitter))
