"""The scanning thread: what it found is durable before it is told, and it ends when it is told to."""

from __future__ import annotations

import threading
import time

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest

from rfbulk.core.model import Entry, Refusal, RefusalReason
from rfbulk.core.planning import Planner
from rfbulk.pipeline.scanning import ScanPlan, scan_and_plan
from rfbulk.pipeline.tally import Tally
from tests.pipeline.conftest import MakeWorld
from tests.support.world import World

pytestmark = pytest.mark.anyio


class Scan:
    """A scan of a world's source, and what it told."""

    def __init__(self, world: World, *, rename: bool = False) -> None:
        self.world = world
        self.planned: list[int] = []
        self.refusals: list[Refusal] = []
        self.threads: set[threading.Thread] = set()
        self.tally = Tally(world.events.append, 0.0, world.source.roots)
        self.plan = ScanPlan(
            world.ports(),
            Planner(max_images=2),
            self.tally,
            self._renamed if rename else None,
            lambda: None,
            self._on_planned,
            self._on_refusals,
        )

    @staticmethod
    def _renamed(entry: Entry) -> Entry:
        return Entry(entry.root, entry.path, f"new-{entry.name}", entry.size, entry.mtime_ns, entry.inode)

    def _on_planned(self) -> None:
        self.threads.add(threading.current_thread())
        self.planned.append(sum(1 for name, *_ in self.world.log if name == "plan_shards"))

    def _on_refusals(self, refusals: list[Refusal]) -> None:
        anyio.from_thread.run_sync(self._take, refusals)

    def _take(self, refusals: list[Refusal]) -> None:
        self.threads.add(threading.current_thread())
        self.refusals.extend(refusals)


async def test_shards_are_durable_before_they_are_told(make_world: MakeWorld) -> None:
    scan = Scan(make_world(7, group_size=3))
    await scan_and_plan(scan.plan)
    assert len(scan.planned) == 3
    assert all(durable >= told for told, durable in enumerate(scan.planned, start=1))
    shards = await scan.world.inner.pending_after(0, 100)
    names = [entry.name for shard in shards for entry in shard.entries]
    assert names == [f"{number:03}.png" for number in range(7)]
    tally = scan.tally
    assert (tally.images_planned, tally.bytes_planned, tally.shards_planned) == (7, 700, 4)
    assert (tally.images_seen, tally.is_scanned) == (7, True)


async def test_a_second_scan_plans_what_is_new(world: World) -> None:
    await scan_and_plan(Scan(world).plan)
    world.source.files[b"new.png"] = (5, 1)
    scan = Scan(world)
    await scan_and_plan(scan.plan)
    assert (scan.tally.images_planned, scan.tally.images_seen) == (1, 7)


async def test_all_is_told_in_the_loops_thread(world: World) -> None:
    world.source.refusals = [Refusal(0, b"a.gif", RefusalReason.UNSUPPORTED_IMAGE)]
    scan = Scan(world)
    await scan_and_plan(scan.plan)
    assert scan.refusals == world.source.refusals
    assert scan.threads == {threading.current_thread()}


@pytest.mark.parametrize("rename", [False, True])
async def test_a_changed_file_is_named_or_planned_under_a_new_name(world: World, rename: bool) -> None:
    await world.upload()
    world.source.change("001.png")
    scan = Scan(world, rename=rename)
    await scan_and_plan(scan.plan)
    pending = await world.inner.pending_after(0, 10)
    named = [(refusal.path, refusal.reason) for refusal in scan.refusals]
    assert named == ([] if rename else [(b"001.png", RefusalReason.CHANGED)])
    assert [entry.name for shard in pending for entry in shard.entries] == (["new-001.png"] if rename else [])


async def test_an_error_of_the_source_comes_out(world: World) -> None:
    world.source.trouble = OSError("gone")
    scan = Scan(world)
    with pytest.raises(OSError, match="gone"):
        await scan_and_plan(scan.plan)
    assert not scan.tally.is_scanned


async def test_cancelled_it_ends_with_its_thread(make_world: MakeWorld) -> None:
    scan = Scan(make_world(100, group_size=1))
    groups: list[int] = []

    with anyio.CancelScope() as scope:

        def cancel_at_fifth() -> None:
            groups.append(1)
            if len(groups) == 5:
                anyio.from_thread.run_sync(scope.cancel)

        scan.world.source.before_group = cancel_at_fifth
        await scan_and_plan(scan.plan)
    assert scope.cancelled_caught
    seen = len(groups)
    assert seen < 100
    assert not scan.tally.is_scanned
    totals = await scan.world.inner.totals()
    assert sum(totals.images.values()) == scan.tally.images_planned
    assert len(groups) == seen


async def test_cancelled_before_a_thread_is_free_it_ends_at_once(world: World) -> None:
    scan = Scan(world)
    limiter = anyio.to_thread.current_default_thread_limiter()
    begun = time.monotonic()
    with anyio.move_on_after(0.01) as scope:
        holders = [object() for _ in range(int(limiter.total_tokens))]
        for holder in holders:
            limiter.acquire_on_behalf_of_nowait(holder)
        try:
            await scan_and_plan(scan.plan)
        finally:
            for holder in holders:
                limiter.release_on_behalf_of(holder)
    assert scope.cancelled_caught
    assert time.monotonic() - begun < 1.0
    assert scan.tally.images_seen == 0
