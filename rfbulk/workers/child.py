"""The child's side of a process: makes the attempts that its coordinator orders, until the orders end.

It ends at once when the coordinator is gone: what it still holds must not arrive beside what a resumed transfer does.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeVar

from rfbulk.edge.idle_threads import IdleThreads
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.ways import ways_of
from rfbulk.errors import RfbulkError
from rfbulk.workers.frames import (
    BEATS,
    Beat,
    CallOff,
    Failed,
    Fetch,
    Fetched,
    FrameWriter,
    Moved,
    News,
    Send,
    Sent,
    SetUp,
    read_order,
)

if TYPE_CHECKING:
    from rfbulk.edge.ways import Ways
    from rfbulk.receivers.groups import Groups
    from rfbulk.senders.attempts import Attempts
    from rfbulk.workers.starting import Road

T = TypeVar("T")
_SELDOM: Final = 50_000
"""Allocations between two collections of cycles. At Python's own 700 they take a twentieth of the time, and find
nothing: what travels here makes no cycles, but for an exception now and then."""

TELL_SECONDS: Final = 0.05
"""How often an attempt tells what it has moved: seldom enough to cost nothing, often enough for a live view."""


_LOADED: Final = {
    "send": ("rfbulk.edge.uplink", "rfbulk.senders.attempts"),
    "fetch": ("rfbulk.edge.downlink", "rfbulk.receivers.groups"),
}


def main(road: Road) -> None:
    """Serve the coordinator at the other end of the standard streams. What the road needs is loaded at once."""
    orders = sys.stdin.buffer  # it holds what came behind the first line
    news = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not be taken for news
    for module in _LOADED[road]:
        import_module(module)
    set_up = read_order(orders)
    if isinstance(set_up, SetUp):
        gc.set_threshold(_SELDOM)
        child = _Child(set_up, FrameWriter(news))
        threading.Thread(target=child.beat, name="rfbulk-beat", daemon=True).start()
        while (order := read_order(orders)) is not None:
            match order:
                case Send() | Fetch():
                    child.start(order)
                case CallOff():
                    child.call_off(order.number)
    os._exit(0)  # connections are cut, threads end where they are


class _Child:
    """The attempts under way, by their numbers."""

    def __init__(self, set_up: SetUp, news: FrameWriter) -> None:
        self._set_up = set_up
        self._news = news
        self._calls: dict[int, Call] = {}
        self._threads = IdleThreads("rfbulk-worker")
        self._attempts: Attempts | None = None
        self._groups: Groups | None = None

    def beat(self) -> None:
        """Say that this process lives, for as long as it does: it may be stopped, and nobody would know."""
        while True:
            self.tell(Beat())
            time.sleep(min(self._set_up.stall_seconds / BEATS, threading.TIMEOUT_MAX))

    def start(self, order: Send | Fetch) -> None:
        told = _Told(order.number, self)
        self._calls[order.number] = call = Call(told.add)
        work = self._sending(order, call) if isinstance(order, Send) else self._fetching(order, call)
        self._threads.begin(partial(self._run, order.number, work, told))

    def call_off(self, number: int) -> None:
        if call := self._calls.get(number):  # else it has ended meanwhile
            call.call_off()

    def tell(self, news: News) -> None:
        try:
            self._news.write(news)
        except (OSError, ValueError):
            os._exit(0)  # the coordinator is gone

    def _run(self, number: int, work: Callable[[], News], told: _Told) -> None:
        ending = _outcome(number, work)
        del self._calls[number]
        told.flush()
        self.tell(ending)

    def _sending(self, order: Send, call: Call) -> Callable[[], News]:
        if self._attempts is None:
            self._attempts = self._new_attempts()
        attempts = self._attempts

        def send() -> News:
            result = _unless_called_off(lambda: attempts.make(order.job, call))
            return Sent(order.number, result, attempts.cpu_seconds)

        return send

    def _fetching(self, order: Fetch, call: Call) -> Callable[[], News]:
        if self._groups is None:
            self._groups = self._new_groups()
        groups = self._groups

        def fetch() -> News:
            result = _unless_called_off(lambda: groups.fetch(order.jobs, call))
            return Fetched(order.number, result, groups.cpu_seconds)

        return fetch

    def _new_attempts(self) -> Attempts:
        from rfbulk.edge.uplink import Uplink  # noqa: PLC0415 - a process loads what it is used for
        from rfbulk.senders.attempts import Attempts  # noqa: PLC0415

        set_up = self._set_up
        return Attempts(
            Uplink(self._ways()),
            chunk_bytes=set_up.chunk_bytes,
            stall_seconds=set_up.stall_seconds,
            takes_turns=set_up.takes_turns,
        )

    def _new_groups(self) -> Groups:
        from rfbulk.edge.clock import RateLimit  # noqa: PLC0415 - as above
        from rfbulk.edge.downlink import Downlink  # noqa: PLC0415
        from rfbulk.receivers.groups import Groups  # noqa: PLC0415

        set_up = self._set_up
        return Groups(
            Downlink(self._ways(), allow_http=set_up.allow_http),
            stall_seconds=set_up.stall_seconds,
            rate=RateLimit(None),
            limits=set_up.limits,
            reach=lambda _failpoint: None,
            takes_turns=set_up.takes_turns,
        )

    def _ways(self) -> Ways:
        set_up = self._set_up
        return ways_of(set_up.environment, connect_seconds=set_up.connect_seconds, ca_file=set_up.ca_file)


def _unless_called_off(work: Callable[[], T]) -> T | None:
    try:
        return work()
    except CalledOff:
        return None


def _outcome(number: int, work: Callable[[], News]) -> News:
    try:
        return work()
    except RfbulkError as error:
        return Failed(number, type(error).__name__, (error.operation, error.subject, error.cause, error.advice))
    except Exception as error:  # noqa: BLE001 - raised again in the coordinator
        return Failed(number, "", (type(error).__name__, str(error), "", ""))


class _Told:
    """Gathers what an attempt moves, and tells it every now and then; the first bytes at once."""

    def __init__(self, number: int, child: _Child) -> None:
        self._number = number
        self._child = child
        self._count = 0
        self._next = 0.0

    def add(self, count: int) -> None:
        self._count += count
        now = time.monotonic()
        if now >= self._next:
            self._next = now + TELL_SECONDS
            self.flush()

    def flush(self) -> None:
        if self._count:
            self._child.tell(Moved(self._number, self._count))
            self._count = 0
