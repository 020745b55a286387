"""Waiting until the service has taken in what was sent: no verdict too early, few looks, and what is lost is named."""

from __future__ import annotations

import pytest

from rfbulk.core.model import RefusalReason
from rfbulk.core.transfer import ShardState
from rfbulk.errors import WaitTimeout
from rfbulk.events import ConfirmProgress
from tests.pipeline.conftest import MakeWorld
from tests.support.fakes import FORBIDDEN
from tests.support.world import World

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("ids_in_urls", [True, False], ids=["rows known by id", "rows counted"])
@pytest.mark.parametrize("seconds", [0.0, 5.0, 300.0])
async def test_it_waits_until_all_is_indexed(world: World, seconds: float, ids_in_urls: bool) -> None:
    world.service.indexing_seconds, world.service.ids_in_urls = seconds, ids_in_urls
    report = await world.upload()
    assert (report.is_confirmed, report.indexed, report.failed) == (True, 6, 0)
    assert world.clock.now >= 1000.0 + seconds
    totals = await world.inner.totals()
    assert totals.images == {ShardState.INDEXED: 6}


async def test_looks_are_few(make_world: MakeWorld) -> None:
    """Half an hour of indexing: a look at the count every 15 seconds at most, and a walk through the shards no more."""
    world = make_world()
    world.service.indexing_seconds = 1800.0
    report = await world.upload(wait_seconds=3600.0)
    assert report.is_confirmed
    assert world.service.calls["count"] < 140
    assert world.service.calls["shards"] <= world.service.calls["count"]


async def test_shards_are_not_walked_while_the_count_climbs(make_world: MakeWorld) -> None:
    world = make_world()
    world.service.page_size = 1

    world.service.count_now = lambda: min(6, world.service.calls["count"] - 1)  # one more at every look
    world.service.exists = True
    report = await world.upload()
    assert report.is_confirmed
    assert world.service.calls["count"] >= 6
    assert world.service.calls["shards"] <= 3 + 1  # one walk, of three pages; the baseline's had one


async def test_a_timeout_says_how_far_it_came_and_waiting_can_go_on(world: World) -> None:
    world.service.indexing_seconds = 1000.0
    with pytest.raises(WaitTimeout, match="0 of 6 images, 3 shards are pending") as caught:
        await world.upload(wait_seconds=100.0)
    assert world.clock.now == pytest.approx(1100.0, abs=0.1)
    assert caught.value.report is not None
    assert (caught.value.report.sent, caught.value.report.closes) == (6, True)
    await world.restart()
    assert (await world.upload(wait_seconds=2000.0)).is_confirmed
    assert len(world.sender.jobs) == 3


async def test_a_short_time_to_wait_is_not_overrun_by_a_long_wait_between_looks(world: World) -> None:
    world.service.indexing_seconds = 1000.0
    with pytest.raises(WaitTimeout):
        await world.upload(wait_seconds=17.0)
    assert world.clock.now == pytest.approx(1017.0, abs=0.1)
    assert world.service.calls["count"] < 15


async def test_shards_that_are_shown_late_are_not_taken_for_lost(world: World) -> None:
    """A service may queue what it was sent for longer than the quiet period before it shows anything of it."""
    world.service.ids_in_urls = False
    world.service.shown_after = 60.0
    report = await world.upload(quiet_seconds=15.0)
    assert (report.is_confirmed, report.failed) == (True, 0)


async def test_shards_that_are_never_shown_are_named_after_ten_quiet_periods(world: World) -> None:
    world.service.shown_after = 1e9
    report = await world.upload(quiet_seconds=15.0)
    assert (report.sent, report.failed, report.is_confirmed, report.closes) == (0, 6, False, True)
    assert 1150.0 <= world.clock.now < 1200.0


async def test_a_lost_image_is_named_and_the_books_close(world: World) -> None:
    world.service.hidden = {"003.png"}
    report = await world.upload()
    assert (report.sent, report.failed, report.indexed, report.is_confirmed) == (5, 1, 5, False)
    assert [(one.name, one.reason) for one in report.failures] == [("003.png", RefusalReason.NOT_LISTED)]
    assert report.closes
    await world.restart()
    again = await world.upload()
    assert (again.sent, again.failed, again.closes) == (5, 1, True)


async def test_a_failed_shard_is_named_image_by_image_with_what_the_service_says(world: World) -> None:
    world.service.row_types = {"shard-2": "error"}
    report = await world.upload()
    assert (report.sent, report.failed, report.ingest_failed, report.closes) == (4, 2, True, True)
    assert {"002.png", "003.png"} == {failure.name for failure in report.failures}
    assert report.ingest_detail == '{"why":"no tar"}'


async def test_more_than_was_sent_is_told_as_extra(world: World) -> None:
    world.service.lists_unfilled = True

    world.service.exists = True
    world.service.count_now = lambda: len(world.service.listed()) + (2 if world.service.objects else 0)
    report = await world.upload()
    assert (report.sent, report.extra, report.is_confirmed, report.has_failures) == (6, 2, False, True)
    assert report.closes


async def test_doubled_names_are_told(world: World) -> None:
    world.service.exists, world.service.others = True, ["003.png"]
    report = await world.upload(verify="names")
    assert (report.doubled, report.is_confirmed) == (["003.png"], False)


async def test_names_are_compared_when_asked_for(world: World) -> None:
    world.service.page_size = 2
    report = await world.upload(verify="names")
    assert (report.is_confirmed, report.doubled) == (True, [])
    assert world.service.calls["files"] == 3


async def test_unused_grants_that_are_listed_for_ever_hold_nothing_up(world: World) -> None:
    world.service.lists_unfilled = True
    world.sender.script.append(FORBIDDEN)
    report = await world.upload()
    assert (report.is_confirmed, report.unused_grants) == (True, 1)


async def test_the_baseline_is_asked_for_once(world: World) -> None:
    world.service.exists, world.service.others = True, ["other.png"]
    await world.upload(wait=False)
    await world.restart()
    world.service.calls.clear()
    report = await world.upload()
    assert (report.indexed, report.is_confirmed, world.service.calls["count"]) == (6, True, 1)


async def test_progress_counts_what_is_of_this_upload(world: World) -> None:
    world.service.exists, world.service.others = True, ["other.png"]
    await world.upload()
    last = [event for event in world.events if isinstance(event, ConfirmProgress)][-1]
    assert (last.counted, last.expected, last.shards_pending) == (6, 6, 0)
