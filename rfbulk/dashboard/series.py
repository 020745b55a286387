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
    buckets copies all of them again then. `changed_from` is the first that differs since it was last set.
    `until` is the last moment of which it was told what had moved by then.
    """

    def __init__(self, *, step_seconds: float = FIRST_STEP_SECONDS, most: int = MOST_BUCKETS) -> None:
        self.step_seconds = step_seconds
        self.halvings = 0
        self.changed_from = 0
        self.until = 0.0
        self.buckets: list[Bucket] = []
        self._most = most

    def at(self, seconds: float) -> Bucket:
        """Return the bucket of a moment, to add to."""
        place = self._reach(seconds)
        self.changed_from = min(self.changed_from, place)
        return self.buckets[place]

    def spread(self, since: float, until: float, moved: int, items: int) -> None:
        """Add what was moved in a span of time to its buckets, to each as much as it has of the span."""
        moved, items = max(0, moved), max(0, items)
        last = self._reach(until)
        first = min(last, int(max(0.0, since) / self.step_seconds))
        self.until = max(self.until, until)
        self.changed_from = min(self.changed_from, first)
        begun = max(since, first * self.step_seconds)
        span = until - begun
        put_bytes = put_items = 0
        for place in range(first, last + 1):
            share = min(1.0, ((place + 1) * self.step_seconds - begun) / span) if span > 0 and place < last else 1.0
            bytes_by_then, items_by_then = round(moved * share), round(items * share)
            self.buckets[place].bytes += bytes_by_then - put_bytes
            self.buckets[place].items += items_by_then - put_items
            put_bytes, put_items = bytes_by_then, items_by_then

    def seconds_of(self, place: int) -> float:
        """Return how much time a bucket covers: the last one is filled only so far."""
        return max(self.step_seconds / 10, min(self.step_seconds, self.until - place * self.step_seconds))

    @property
    def filled(self) -> list[Bucket]:
        """The buckets, without a last one that is hardly begun."""
        last = len(self.buckets) - 1
        is_begun = last < 1 or self.seconds_of(last) >= self.step_seconds / 4
        return self.buckets if is_begun else self.buckets[:-1]

    def _reach(self, seconds: float) -> int:
        """Make room up to a moment, and return its place."""
        while int(max(0.0, seconds) / self.step_seconds) >= self._most:
            self._halve()
        place = int(max(0.0, seconds) / self.step_seconds)
        while len(self.buckets) <= place:
            self.buckets.append(Bucket())
        return place

    def _halve(self) -> None:
        joined = self.buckets[::2]
        for bucket, other in zip(joined, self.buckets[1::2], strict=False):
            bucket.add(other)
        self.buckets = joined
        self.step_seconds *= 2
        self.halvings += 1
