"""A sending process: makes the attempts that its coordinator orders, each in a thread, until the orders end.

It ends at once when the coordinator is gone: what it still holds must not arrive beside what a resumed upload sends.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rfbulk.edge.lines import Call, CalledOff
from rfbulk.edge.uplink import Uplink
from rfbulk.edge.ways import ways_of
from rfbulk.errors import RfbulkError
from rfbulk.senders.attempts import Attempts
from rfbulk.senders.frames import CallOff, Ended, Failed, FrameWriter, Moved, News, Send, SetUp, read_order

if TYPE_CHECKING:
    from rfbulk.core.model import ShardJob

TELL_SECONDS: Final = 0.05
"""How often an attempt tells what it has moved: seldom enough to cost nothing, often enough for a live view."""


def main() -> None:
    """Serve the coordinator at the other end of the standard streams."""
    orders = sys.stdin.buffer  # it holds what came behind the first line
    news = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a stray print must not be taken for news
    set_up = read_order(orders)
    if isinstance(set_up, SetUp):
        worker = _Worker(set_up, FrameWriter(news))
        while (order := read_order(orders)) is not None:
            match order:
                case Send():
                    worker.start(order.number, order.job)
                case CallOff():
                    worker.call_off(order.number)
    os._exit(0)  # connections are cut, threads end where they are


class _Worker:
    """The attempts under way, by their numbers."""

    def __init__(self, set_up: SetUp, news: FrameWriter) -> None:
        ca_file = Path(set_up.ca_file) if set_up.ca_file else None
        ways = ways_of(set_up.environment, connect_seconds=set_up.connect_seconds, ca_file=ca_file)
        self._attempts = Attempts(Uplink(ways), chunk_bytes=set_up.chunk_bytes, stall_seconds=set_up.stall_seconds)
        self._news = news
        self._calls: dict[int, Call] = {}

    def start(self, number: int, job: ShardJob) -> None:
        told = _Told(number, self)
        self._calls[number] = call = Call(told.add)
        threading.Thread(target=self._run, args=(number, job, call, told), name="rfbulk-send", daemon=True).start()

    def call_off(self, number: int) -> None:
        if call := self._calls.get(number):  # else it has ended meanwhile
            call.call_off()

    def tell(self, news: News) -> None:
        try:
            self._news.write(news)
        except (OSError, ValueError):
            os._exit(0)  # the coordinator is gone

    def _run(self, number: int, job: ShardJob, call: Call, told: _Told) -> None:
        ending = self._outcome(number, job, call)
        del self._calls[number]
        told.flush()
        self.tell(ending)

    def _outcome(self, number: int, job: ShardJob, call: Call) -> News:
        try:
            return Ended(number, self._attempts.make(job, call), self._attempts.cpu_seconds)
        except CalledOff:
            return Ended(number, None, self._attempts.cpu_seconds)
        except RfbulkError as error:
            return Failed(number, type(error).__name__, (error.operation, error.subject, error.cause, error.advice))
        except Exception as error:  # noqa: BLE001 - raised again in the coordinator
            return Failed(number, "", (type(error).__name__, str(error), "", ""))


class _Told:
    """Gathers what an attempt moves, and tells it every now and then; the first bytes at once."""

    def __init__(self, number: int, worker: _Worker) -> None:
        self._number = number
        self._worker = worker
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
            self._worker.tell(Moved(self._number, self._count))
            self._count = 0
