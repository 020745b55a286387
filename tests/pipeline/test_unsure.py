"""Shards that may have arrived: looked up by name, sent again only where they are not, and never without end."""

from __future__ import annotations

from collections import Counter

import pytest

from rfbulk.core.transfer import ShardState
from rfbulk.errors import WaitTimeout
from rfbulk.events import PhaseChanged
from tests.support.fakes import DAMAGED, EXPIRED, LOST, MAYBE
from tests.support.world import World

pytestmark = pytest.mark.anyio
WAS_THERE = [LOST, EXPIRED]
WAS_NOT = [MAYBE, EXPIRED]


async def states(world: World) -> dict[ShardState, int]:
    return (await world.inner.totals()).images


async def test_what_is_listed_is_not_sent_again(world: World) -> None:
    world.sender.script.extend(WAS_THERE)
    report = await world.upload()
    assert (report.sent, report.is_confirmed, report.unverified_shards) == (6, True, 1)
    assert set(world.service.ledger.values()) == {1}
    assert len(world.service.granted) == 3
    assert PhaseChanged("deciding-unsure") in world.events


async def test_what_is_not_listed_is_sent_again(world: World) -> None:
    world.sender.script.extend(WAS_NOT)
    report = await world.upload()
    assert (report.sent, report.is_confirmed, report.unused_grants, report.closes) == (6, True, 1, True)
    assert set(world.service.ledger.values()) == {1}
    assert len(world.service.ledger) == 6


async def test_of_a_shard_half_listed_the_other_half_is_sent(world: World) -> None:
    world.service.hidden_in = {("shard-1", "001.png")}
    world.sender.script.extend(WAS_THERE)
    report = await world.upload(verify="names")
    assert (report.planned, report.sent, report.shards_sent, report.closes) == (6, 6, 4, True)
    again = [job.entries[0].name for job in world.sender.jobs if len(job.entries) == 1]
    assert again == ["001.png"]


async def test_what_is_still_being_taken_in_is_waited_for(world: World) -> None:
    world.service.indexing_seconds = 100.0
    world.sender.script.extend(WAS_THERE)
    report = await world.upload(quiet_seconds=15.0)
    assert report.sent == 6
    assert set(world.service.ledger.values()) == {1}


async def test_a_shard_pending_for_ever_was_never_filled(world: World) -> None:
    world.service.lists_unfilled = True
    world.sender.script.extend(WAS_NOT)
    report = await world.upload(quiet_seconds=15.0)
    assert (report.sent, report.is_confirmed) == (6, True)
    assert world.clock.now >= 1150.0


async def test_reupload_sends_again_without_a_look(world: World) -> None:
    world.sender.script.extend(WAS_THERE)
    report = await world.upload(on_unsure="reupload", wait=False)
    assert report.sent == 6
    assert Counter(world.service.ledger.values()) == {1: 4, 2: 2}
    assert world.service.calls["files"] == 0


async def test_skip_leaves_them_and_counts_them_as_left(world: World) -> None:
    world.sender.script.extend(WAS_THERE)
    report = await world.upload(on_unsure="skip")
    assert (report.sent, report.left, report.shards_unsure, report.is_confirmed) == (4, 2, 1, False)
    assert report.closes
    await world.restart()
    assert (await world.upload()).sent == 6
    assert set(world.service.ledger.values()) == {1}


async def test_a_line_that_leaves_doubt_every_time_ends(world: World) -> None:
    world.sender.script.extend(WAS_NOT * 50)
    report = await world.upload()
    assert (report.sent, report.left, report.shards_unsure, report.closes) == (0, 6, 3, True)
    assert len(world.sender.jobs) == 4 * 3 * 2


async def test_a_service_that_loses_it_every_time_ends_with_it_named(world: World) -> None:
    world.service.hidden = {"000.png", "001.png"}
    world.sender.script.extend(WAS_THERE * 10)
    report = await world.upload()
    assert report.closes
    assert {"000.png", "001.png"} <= {failure.name for failure in report.failures} or report.left


async def test_a_batch_that_others_go_on_filling_ends_in_a_timeout(world: World) -> None:
    """It is never quiet, so that what is absent may still come."""
    world.sender.script.extend(WAS_THERE)
    world.service.count_now = lambda: int(world.clock.now)  # others fill the batch all the time
    with pytest.raises(WaitTimeout, match="still takes in images") as caught:
        await world.upload(wait_seconds=60.0)
    assert caught.value.report is not None
    assert (caught.value.report.sent, caught.value.report.left, caught.value.report.closes) == (4, 2, True)
    assert world.clock.now < 1070.0


async def test_a_damaged_copy_is_never_found_sound(world: World) -> None:
    world.sender.script.extend([DAMAGED, EXPIRED])
    report = await world.upload(wait=False)
    assert (report.sent, report.failed, report.closes) == (4, 2, True)
