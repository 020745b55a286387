from __future__ import annotations

import threading
import time

from rfbulk.core.model import Entry
from rfbulk.core.objects import ObjectState
from rfbulk.edge.lines import Call
from rfbulk.senders.ahead import READERS, ReadAhead
from rfbulk.settings import RELAY_AHEAD_BYTES, RELAY_LARGE_BYTES


def entries_of(*sizes: int) -> list[Entry]:
    return [Entry(0, b"%d" % place, "name", size, 0, 0) for place, size in enumerate(sizes)]


class Reading:
    """Reads as slowly as it is told to, and counts what it holds at once."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.begun: list[int] = []
        self.most_at_once = 0
        self.now = 0
        self.bytes = 0
        self.most_bytes = 0

    def __call__(self, entry: Entry) -> tuple[ObjectState, memoryview]:
        with self.lock:
            self.begun.append(int(entry.path))
            self.now += 1
            self.bytes += entry.size
            self.most_at_once = max(self.most_at_once, self.now)
            self.most_bytes = max(self.most_bytes, self.bytes)
        time.sleep(0.002)
        with self.lock:
            self.now -= 1
        return ObjectState(entry.size, 0, 0), memoryview(entry.path)

    def let_go(self, entry: Entry) -> None:
        with self.lock:
            self.bytes -= entry.size


def test_objects_come_in_order_however_they_are_read() -> None:
    entries, reading, call = entries_of(*[10] * 100), Reading(), Call(lambda _count: None)
    ahead = ReadAhead(entries, reading)
    assert [bytes(ahead.take(place, call)[1]) for place in range(100)] == [entry.path for entry in entries]
    assert 1 < reading.most_at_once <= READERS


def test_what_is_read_ahead_stays_within_its_bound() -> None:
    size = RELAY_AHEAD_BYTES // 5
    entries, reading, call = entries_of(*[size] * 30), Reading(), Call(lambda _count: None)
    ahead = ReadAhead(entries, reading)
    for place, entry in enumerate(entries):
        ahead.take(place, call)
        reading.let_go(entry)
    assert reading.most_bytes <= RELAY_AHEAD_BYTES + size  # the one that was taken


def test_large_objects_are_left_to_the_stream() -> None:
    entries, reading, call = entries_of(1, RELAY_LARGE_BYTES + 1, 2), Reading(), Call(lambda _count: None)
    ahead = ReadAhead(entries, reading)
    assert [ahead.take(place, call)[0].size for place in (0, 2)] == [1, 2]
    assert sorted(reading.begun) == [0, 2]


def test_nothing_is_begun_before_it_is_asked_for_nor_after_its_end() -> None:
    entries, reading, call = entries_of(*[RELAY_LARGE_BYTES] * 50), Reading(), Call(lambda _count: None)
    ReadAhead(entries, reading)
    assert not reading.begun
    ahead = ReadAhead(entries, reading)
    ahead.take(0, call)
    ahead.close()
    for thread in threading.enumerate():
        if thread.name == "rfbulk-read":
            thread.join(5)
    assert len(reading.begun) <= 1 + RELAY_AHEAD_BYTES // RELAY_LARGE_BYTES
