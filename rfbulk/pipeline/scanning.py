"""From source to planned shards, in a thread: the scan never waits for the line, and what it found is on disk."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.model import Entry, Refusal, RefusalReason

if TYPE_CHECKING:
    from rfbulk.core.partition import Partition
    from rfbulk.core.planning import Planner, SinglePlanner
    from rfbulk.pipeline.ports import Group, Ports
    from rfbulk.pipeline.tally import Tally

STOP_WAIT_SECONDS = 5.0
"""What a cancelled scan gets to come back from the disk. A hung network file system is left behind."""


@dataclass(frozen=True, slots=True)
class ScanPlan:
    """What the scanning thread works with. `rename` gives a changed file its new name, None leaves it alone.

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
    stop, begun, ended = threading.Event(), threading.Event(), threading.Event()
    try:
        await anyio.to_thread.run_sync(_work, plan, stop, begun, ended, abandon_on_cancel=True)
    except anyio.get_cancelled_exc_class():
        stop.set()
        with anyio.move_on_after(STOP_WAIT_SECONDS, shield=True):
            while begun.is_set() and not ended.is_set():  # noqa: ASYNC110 - a thread sets them
                await anyio.sleep(0.005)
        raise
    plan.tally.is_scanned = True


def _work(plan: ScanPlan, stop: threading.Event, begun: threading.Event, ended: threading.Event) -> None:
    begun.set()
    if stop.is_set():
        return  # cancelled while it waited for a thread: nobody waits for it any more
    try:
        with plan.ports.known() as known:
            plan.on_begun()
            for group in plan.ports.source.scan():
                if stop.is_set():
                    return
                entries, refusals = _ours(plan, group)
                plan.tally.images_seen += len(entries)
                told_apart = known.sort_out(entries)
                _plan_new(plan, _with_changed(plan, told_apart.new, told_apart.changed, refusals))
        _record(plan, plan.planner.rest())
    finally:
        ended.set()


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


def _plan_new(plan: ScanPlan, entries: list[Entry]) -> None:
    _record(plan, plan.planner.add(entries))


def _record(plan: ScanPlan, shards: list[tuple[tuple[Entry, ...], int]]) -> None:
    if not shards:
        return
    plan.ports.checkpoint.plan(shards)
    for entries, _ in shards:
        plan.tally.images_planned += len(entries)
        plan.tally.bytes_planned += sum(entry.size for entry in entries)
        plan.tally.shards_planned += 1
        plan.ports.reach(Failpoint.SHARD_PLANNED)
    plan.on_planned()
