"""How many shards are sent at once: a level that climbs while it pays, and falls when the service asks for less."""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

import msgspec

Why: TypeAlias = Literal["fixed", "starting", "climbing", "best", "most", "processor", "slowed"]
"""What the level was moved by last, as `events.UploadProgress` tells it."""

GAIN: Final = 1.05
"""A step up is kept if it brings more than this times the throughput; less is the noise of a line."""

HOLD_WINDOWS: Final = 8
"""Windows to stay at a level that a step up did not better, before trying again: lines change over minutes."""


CPU_BOUND: Final = 0.5
"""From this share of a core for each interpreter that sends, the interpreters and not the line are what is slow: each
runs one thread at a time, so that more shards at once bring waits for its lock, and memory, and nothing else. It is no
more because others may have the rest, such as the receiver where that is this machine too."""

CPU_LEVEL: Final = 3
"""Enough for one interpreter to read, hash and send at the same time."""

CPU_LEVEL_EACH: Final = 4
"""Enough for each of several: one shard is sent while others are granted, recorded, and wait for their turn. With two,
processes that send small images stood idle for a fifth of the time."""


class PaceLimits(msgspec.Struct, frozen=True):
    """The bounds of the level. With `first == most == least` the level is fixed."""

    least: int = 1
    first: int = 8
    most: int = 32


class Pace:
    """Finds the number of shards to send at once by trying.

    `window(throughput)` is told, at regular intervals of busy sending, how much went through. The level doubles
    while that brings more, then climbs by one, and steps back where it brought nothing. `slow_down()` halves it
    when the service or the line shows that it is overloaded; further calls within the same window change nothing,
    since one trouble hits many shards at once. `why` says what moved it last.
    """

    def __init__(self, limits: PaceLimits) -> None:
        self.limits = limits
        self.level = limits.first
        self._best = 0.0
        self._came_from: int | None = None
        self._doubling = True
        self._hold = 0
        self._has_slowed = False
        self.why: Why = "fixed" if limits.least == limits.most else "starting"

    def begin_at(self, level: int) -> None:
        """Begin at another level, within the limits. Without effect once the level has been moved."""
        if self.level == self.limits.first and not self._has_slowed:
            self.level = max(self.limits.least, min(level, self.limits.most))

    def slow_down(self) -> bool:
        """Halve the level, at most once a window. True if it changed."""
        if self._has_slowed:
            return False
        before = self.level
        self._has_slowed = True
        self._doubling = False
        self._came_from = None
        self._best = 0.0
        self._hold = HOLD_WINDOWS
        self.level = max(self.limits.least, self.level // 2)
        self._note("slowed")
        return self.level != before

    def window(self, throughput: float, *, cpu_share: float = 0.0, interpreters: int = 1) -> None:
        """Move the level, after a window in which all places were used.

        `throughput` is what went through, in any unit; `cpu_share` how much of a core each sending interpreter used.
        """
        if self._has_slowed:
            self._has_slowed = False
        elif cpu_share >= CPU_BOUND:
            self._settle(interpreters)
        elif self._came_from is not None:
            self._weigh(throughput)
        elif self._hold > 0:
            self._hold -= 1
        else:
            self._best = throughput
            self._climb()

    def _settle(self, interpreters: int) -> None:
        """No interpreter gets more than it can do; of several, none waits for work unless the service slowed us."""
        enough = CPU_LEVEL if interpreters == 1 else CPU_LEVEL_EACH * interpreters
        if self.level > enough or (interpreters > 1 and not self._hold):
            self.level = max(self.limits.least, min(enough, self.limits.most))
        self._note("processor")
        self._hold = max(0, self._hold - 1)
        self._came_from = None
        self._doubling = False

    def _weigh(self, throughput: float) -> None:
        came_from, self._came_from = self._came_from, None
        if came_from is None:
            return
        if throughput > self._best * GAIN:
            self._best = throughput
            self._climb()
        else:
            self.level = came_from
            self._doubling = False
            self._hold = HOLD_WINDOWS
            self._note("best")

    def _climb(self) -> None:
        step = self.level if self._doubling else 1
        wanted = min(self.limits.most, self.level + step)
        self._note("climbing" if wanted > self.level else "most")
        if wanted > self.level:
            self._came_from = self.level
            self.level = wanted

    def _note(self, why: Why) -> None:
        if self.why != "fixed":
            self.why = why
