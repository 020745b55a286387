"""How fast it went over time, in memory that never grows: where the room ends, two buckets become one.

A bucket holds sums, so that joining two loses resolution and nothing else: all that was ever counted is still there.
"""

from __future__ import annotations

from typing import Final

import msgspec

FIRST_STEP_SECONDS: Final = 0.5
MOST_BUCKETS: Final = 600


class Bucket(msgspec.Struct, array_like=True, gc=False):
    """What was counted while one step lasted. `at_once` sums samples of how much went on at once."""

    bytes: int = 0
    items: int = 0
    retries: int = 0
    failures: int = 0
    at_once: int = 0
    samples: int = 0
    most_at_once: int = 0

    def add(self, other: Bucket) -> None:
        """Take in what another bucket holds."""
        self.bytes += other.bytes
        self.items += other.items
        self.retries += other.retries
        self.failures += other.failures
        self.at_once += other.at_once
        self.samples += other.samples
        self.most_at_once = max(self.most_at_once, other.most_at_once)


class Series:
    """Buckets of equal length, from second 0 on. Holds at most `most` of them: 600 are 60 KB, however long it lasts.

    `step_seconds` doubles each time that the room ends, and `halvings` counts how often it did: who has copied
    buckets copies all of them again then.
    """

    def __init__(self, *, step_seconds: float = FIRST_STEP_SECONDS, most: int = MOST_BUCKETS) -> None:
        self.step_seconds = step_seconds
        self.halvings = 0
        self.buckets: list[Bucket] = []
        self._most = most

    def at(self, seconds: float) -> Bucket:
        """Return the bucket of a moment, to add to. Moments before the last one count for that."""
        place = int(max(0.0, seconds) / self.step_seconds)
        while place >= self._most:
            self._halve()
            place = int(seconds / self.step_seconds)
        while len(self.buckets) <= place:
            self.buckets.append(Bucket())
        return self.buckets[max(place, len(self.buckets) - 1)]

    def _halve(self) -> None:
        joined = self.buckets[::2]
        for bucket, other in zip(joined, self.buckets[1::2], strict=False):
            bucket.add(other)
        self.buckets = joined
        self.step_seconds *= 2
        self.halvings += 1
