"""One attempt on its way to a worker: what its owner waits for, in another loop than the one it is carried in."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from rfbulk.cluster.parcels import FetchLot, SendLot
from rfbulk.core.fetching import FetchJob, FetchOutcome, FetchResult
from rfbulk.core.model import Outcome, ShardJob, ShardResult
from rfbulk.edge.threads import settle
from rfbulk.errors import told_error

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Ended, Lot, Manner

Order: TypeAlias = ShardJob | tuple[FetchJob, ...]
_ALONE: Final = 1 << 40
"""What a group of remote files weighs: nobody knows how much it is."""


class Attempt:
    """An attempt, as the loop that asked for it and the one that has it made see it. Made in the former."""

    def __init__(self, order: Order, on_bytes: Callable[[int], None]) -> None:
        self.order = order
        self.ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.key = -1
        self.is_begun = False
        self.waits_since = 0.0
        self.is_over = False
        self._on_bytes = on_bytes
        self._left = order.tar_bytes if isinstance(order, ShardJob) else 0
        self._lock = threading.Lock()

    @property
    def weight(self) -> int:
        """How many bytes it moves."""
        return self.order.tar_bytes if isinstance(self.order, ShardJob) else _ALONE

    @property
    def name(self) -> str:
        """What it is about, with no secret in it."""
        if isinstance(self.order, ShardJob):
            return f"shard-{self.order.shard}"
        return f"files-{self.order[0].number if self.order else 0}"

    def move(self, count: int) -> None:
        """Count bytes that were moved."""
        if not count:
            return
        with self._lock:
            self._left -= count
        self._on_bytes(count)

    def move_rest(self) -> None:
        """Take it that all has been sent: nobody can tell any more."""
        with self._lock:
            left, self._left = self._left, 0
        if left > 0:
            self._on_bytes(left)

    def answer(self, ended: Ended) -> None:
        """End it by what a worker told."""
        self.move(ended.moved)
        result: object = ended.sent if isinstance(self.order, ShardJob) else ended.fetched
        fault = ended.fault
        self.end(result if fault is None else told_error(fault.kind, fault.fields, by="a worker of the cluster"))

    def lose(self, why: str, *, may_have_arrived: bool) -> None:
        """End it without an answer: only where it was never ordered is it certain that nothing has arrived."""
        if isinstance(self.order, ShardJob):
            if may_have_arrived:
                self.move_rest()
            self.end(ShardResult(Outcome.BROKEN, may_have_arrived=may_have_arrived, detail=why))
        else:
            self.end([FetchResult(FetchOutcome.BROKEN, detail=why)])

    def end(self, result: object) -> None:
        """Give the owner a result, an error, or None if it was called off. The first one counts."""
        self.is_over = True
        settle(self.ended, result)


def lot_of(hands: str, manner: Manner, attempts: Sequence[Attempt]) -> Lot:
    """Return what orders attempts, all of one kind, of a process."""
    keys = tuple(attempt.key for attempt in attempts)
    jobs = tuple(attempt.order for attempt in attempts if isinstance(attempt.order, ShardJob))
    if jobs:
        return SendLot(hands, manner, keys, jobs)
    groups = tuple(attempt.order for attempt in attempts if not isinstance(attempt.order, ShardJob))
    return FetchLot(hands, manner, keys, groups)
