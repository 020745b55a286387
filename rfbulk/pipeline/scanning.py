"""From source to planned shards, in a thread: the scan never waits for the line, and what it found is on disk."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
from anyio.from_thread import BlockingPortal

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.model import Entry, Refusal, RefusalReason

if TYPE_CHECKING:
    from concurrent.futures import Future

    from rfbulk.core.partition import Partition
    from rfbulk.core.planning import Planner, SinglePlanner
    from rfbulk.pipeline.ports import Group, Ports
    from rfbulk.pipeline.tally import Tally

MOST_ON_THEIR_WAY = 4
"""So many groups are found at the most before the first of them is durable."""

STOP_WAIT_SECONDS = 5.0
"""What a cancelled scan gets to come back from the disk. A hung network file system is left behind."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What the scanning thread works with. `rename` gives a changed file its new name, None leaves it alone.

    `on_planned` is called in the loop, once shards are durable; the others are called in the thread.
    `on_begun` is called once what is known has been looked at: only then may it change, or an image that is
    quarantined meanwhile would be taken for a new one.
    """

    ports: Ports
    planner: Planner | SinglePlanner
    tally: Tally
    rename: Callable[[Entry], Entry] | None
    on_begun: Callable[[], None]
    on_planned: Callable[[], None]
    on_refusals: Callable[[list[Refusal]], None]
    partition: Partition | None = None


async def scan_and_plan(plan: ScanPlan) -> None:
    """Walk the source and record every new image in a planned shard. Returns when all are durable."""
    failure: Exception | None = None
    async with BlockingPortal() as loop:
        scan = _Scan(plan, loop)
        try:
            await anyio.to_thread.run_sync(scan.work, abandon_on_cancel=True)
        except anyio.get_cancelled_exc_class():
            scan.stop.set()
            scan.limit_writes()
            with anyio.move_on_after(STOP_WAIT_SECONDS, shield=True):
                while scan.begun.is_set() and not scan.ended.is_set():  # noqa: ASYNC110 - a thread sets them
                    await anyio.sleep(0.005)
            raise
        except Exception as error:  # noqa: BLE001 - raised again as it was, not as one of a group
            failure = error
    if failure is not None:
        raise failure
    plan.tally.is_scanned = True


class _Scan:
    """The thread's side. It goes on while shards are made durable, with a few on their way at the most."""

    def __init__(self, plan: ScanPlan, loop: BlockingPortal) -> None:
        self.stop, self.begun, self.ended = threading.Event(), threading.Event(), threading.Event()
        self._plan = plan
        self._loop = loop
        self._on_their_way: deque[Future[None]] = deque()
        self._writes: set[anyio.CancelScope] = set()

    def work(self) -> None:
        """Do all of it. Blocking."""
        self.begun.set()
        if self.stop.is_set():
            return  # cancelled while it waited for a thread: nobody waits for it any more
        plan = self._plan
        try:
            with plan.ports.known() as known:
                plan.on_begun()
                for group in plan.ports.source.scan():
                    if self.stop.is_set():
                        return
                    entries, refusals = _ours(plan, group)
                    plan.tally.images_seen += len(entries)
                    told_apart = known.sort_out(entries)
                    new = _with_changed(plan, told_apart.new, told_apart.changed, refusals)
                    self._record(plan.planner.add(new))
            self._record(plan.planner.rest())
            while self._on_their_way:
                self._on_their_way.popleft().result()
        finally:
            self.ended.set()

    def _record(self, shards: list[tuple[tuple[Entry, ...], int]]) -> None:
        if not shards:
            return
        while len(self._on_their_way) >= MOST_ON_THEIR_WAY:
            self._on_their_way.popleft().result()
        self._on_their_way.append(self._loop.start_task_soon(self._make_durable, shards))

    # the loop's side

    def limit_writes(self) -> None:
        """Give what is being written so long, and no longer: the disk may hang."""
        for write in self._writes:
            write.deadline = anyio.current_time() + STOP_WAIT_SECONDS

    async def _make_durable(self, shards: list[tuple[tuple[Entry, ...], int]]) -> None:
        """What is being written is counted, though the scan is cancelled meanwhile."""
        plan = self._plan
        with anyio.CancelScope(shield=True) as write:
            self._writes.add(write)
            if self.stop.is_set():
                self.limit_writes()
            try:
                await plan.ports.checkpoint.plan_shards(shards)
            finally:
                self._writes.remove(write)
        if write.cancelled_caught:
            return
        for entries, _ in shards:
            plan.tally.images_planned += len(entries)
            plan.tally.bytes_planned += sum(entry.size for entry in entries)
            plan.tally.shards_planned += 1
            plan.ports.reach(Failpoint.SHARD_PLANNED)
        plan.on_planned()


def _ours(plan: ScanPlan, group: Group) -> tuple[list[Entry], list[Refusal]]:
    if plan.partition is None:
        return group.entries, group.refusals
    holds = plan.partition.holds
    entries = [entry for entry in group.entries if holds(entry.path)]
    plan.tally.images_of_others += len(group.entries) - len(entries)
    return entries, [refusal for refusal in group.refusals if holds(refusal.path)]


def _with_changed(plan: ScanPlan, new: list[Entry], changed: list[Entry], refusals: list[Refusal]) -> list[Entry]:
    if changed and plan.rename is not None:
        new = new + [plan.rename(entry) for entry in changed]
    elif changed:
        detail = "sent before, and different now; --on-changed send sends it under a new name"
        refusals = refusals + [Refusal(entry.root, entry.path, RefusalReason.CHANGED, detail) for entry in changed]
    if refusals:
        plan.on_refusals(refusals)
    return new
