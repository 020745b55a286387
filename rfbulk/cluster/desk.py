"""Which worker gets which attempts next: the sliding window, decided without waiting for anything."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import asyncio

    from rfbulk.cluster.attempts import Attempt

AHEAD: Final = 1
"""Tasks that wait at a worker, for each of its threads: it goes on at once, and little is lost with it."""

MOST_IN_LOT: Final = 8
LOT_BYTES: Final = 16 << 20
"""Small shards share a task, which costs some milliseconds, only while all workers have enough to do."""


@dataclass(slots=True, eq=False)
class Lot:
    """A task, and the attempts in it that are still unanswered."""

    mate: Mate
    left: dict[int, Attempt]
    task: Any = None
    watch: asyncio.Task[None] | None = None


@dataclass(slots=True, eq=False)
class Mate:
    """One worker. `hands` names its process; `unfit` says why it gets nothing, empty if it does."""

    address: str
    threads: int
    hands: str = ""
    host: str = ""
    unfit: str = "not looked at yet"
    other_inodes: bool = False
    heard: float = 0.0
    lots: set[Lot] = field(default_factory=set)

    @property
    def room(self) -> int:
        """How many further tasks it may be given."""
        return 0 if self.unfit else max(0, self.threads * (1 + AHEAD) - len(self.lots))

    @property
    def load(self) -> float:
        """How much it has to do, for each of its threads."""
        return len(self.lots) / self.threads


class Desk:
    """The workers and the attempts that wait for one."""

    def __init__(self) -> None:
        self.mates: dict[str, Mate] = {}
        self.waiting: deque[Attempt] = deque()

    @property
    def fit(self) -> list[Mate]:
        """The workers that are given work."""
        return [mate for mate in self.mates.values() if not mate.unfit]

    def next(self) -> tuple[Mate, list[Attempt]] | None:
        """Take the next attempts from those that wait, and the worker that has the least to do. None: wait on."""
        if not self.waiting:
            return None
        mate = min((mate for mate in self.mates.values() if mate.room), key=lambda each: each.load, default=None)
        return None if mate is None else (mate, self._group())

    def give_up(self, late: float) -> None:
        """End what has waited since before `late`, if nobody is there to do it."""
        if self.fit:
            return
        kept = [attempt for attempt in self.waiting if attempt.waits_since > late]
        for attempt in self.waiting:
            if attempt.waits_since <= late:
                attempt.lose("no worker of the cluster is there", may_have_arrived=False)
        self.waiting = deque(kept)

    def _group(self) -> list[Attempt]:
        group = [self.waiting.popleft()]
        room = sum(mate.room for mate in self.mates.values())
        weight = group[0].weight
        while len(self.waiting) >= room and self.waiting and len(group) < MOST_IN_LOT:
            weight += self.waiting[0].weight
            if weight > LOT_BYTES:
                break
            group.append(self.waiting.popleft())
        return group
