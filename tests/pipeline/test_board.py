"""What is told of those in flight: what each waits for, and which of them are slow."""

from __future__ import annotations

from collections import Counter, deque

import pytest

from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.errors import TroublePassing
from rfbulk.events import Connection, Event, ShardChanged, TransferBegun, TransferEnded, UploadProgress
from rfbulk.pipeline.board import MOST_SLOWEST, Board, Doing
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.tally import Tally
from tests.pipeline.conftest import MakeWorld
from tests.support.fakes import BUSY, EXPIRED, GOOD, LOST, REFUSED, TOO_LARGE, Act, FakeClock
from tests.support.world import World

WAITS: dict[Doing, dict[str, int]] = {
    "begin": {},
    "grant": {"grant": 1},
    "rest": {"rest": 1},
    "retry": {"retry": 1},
}


@pytest.mark.parametrize("doing", WAITS)
def test_each_is_counted_by_what_it_waits_for(doing: Doing) -> None:
    board = Board()
    board.enter(7, "", 500).doing = doing
    assert WAITS[doing] == board.waits()
    board.leave(7)
    board.leave(7)
    assert Counter() == board.waits()


def test_an_upload_waits_for_its_answer_once_all_is_sent_and_an_export_until_something_comes() -> None:
    board = Board()
    shard, group = board.enter(1, "", 500), board.enter(2, "a.jpg", 32)
    shard.move(0.0, 1, 1000)
    group.move(0.0, 1)
    assert board.waits() == {"answer": 1}, "the group"
    shard.bytes, group.bytes = 1000, 1
    assert board.waits() == {"answer": 1}, "the shard"
    shard.move(5.0, 2, 1000)
    assert board.waits() == {}
    shard.rest()
    assert (board.waits(), shard.bytes) == ({"rest": 1}, 0)


def test_the_slowest_come_first_and_only_the_present_attempt_counts() -> None:
    board = Board()
    for number in range(8):
        one = board.enter(number, f"{number}.mp4", 1)
        one.move(0.0, 1, 9000)
        one.bytes = 1000 * (8 - number)
    board.enter(20, "young", 1).move(9.5, 1, 100)
    board.enter(21, "waits", 1).doing = "retry"
    slowest = board.slowest(10.0)
    assert [each.number for each in slowest] == [7, 6, 5, 4, 3]
    assert len(slowest) == MOST_SLOWEST
    assert Connection(7, "7.mp4", 1, 1, 1000, 9000, 10.0, 100.0) == slowest[0]
    board.at(7).move(10.0, 2, 9000)
    assert [each.number for each in board.slowest(10.25)] == [6, 5, 4, 3, 2]


def test_what_has_no_place_is_kept_nowhere() -> None:
    board = Board()
    board.at(5).doing = "grant"
    assert board.waits() == {}


def test_places_wait_for_the_source_only_while_it_is_scanned_and_nothing_is_planned() -> None:
    tally, gate = Tally(lambda _event: None, 0.0, (b"/photos",)), Gate(Pace(PaceLimits()), FakeClock())
    assert tally.progress(1.0, gate).waits == {"source": 8}
    tally.shards_planned = 9
    tally.shards_sent = tally.shards_in_flight = tally.shards_failed = tally.shards_unsure = tally.given_up = 1
    assert tally.progress(1.0, gate).waits == {"turn": 4}
    tally.is_scanned, tally.shards_planned = True, 5
    assert tally.progress(1.0, gate).waits == {}


def test_a_rest_is_told_with_what_is_left_of_it() -> None:
    tally, clock = Tally(lambda _event: None, 0.0, (b"/photos",)), FakeClock()
    gate = Gate(Pace(PaceLimits()), clock)
    gate.slow_down(30.0)
    clock.now += 12.0
    progress = tally.progress(1.0, gate)
    assert (progress.rest_seconds, progress.pace, progress.concurrency) == (18.0, "slowed", 4)
    clock.now += 60.0
    assert tally.progress(1.0, gate).rest_seconds == 0.0


# what an upload tells

CHANGES: dict[str, tuple[list[Act], list[str]]] = {
    "stored": ([GOOD], ["granted", "sending", "sent"]),
    "busy": ([BUSY], ["granted", "sending", "retrying", "sending", "sent"]),
    "expired": ([EXPIRED], ["granted", "sending", "planned", "granted", "sending", "sent"]),
    "expired, in doubt": ([LOST, EXPIRED], ["granted", "sending", "retrying", "sending", "unsure"]),
    "refused": ([REFUSED], ["granted", "sending", "failed"]),
    "too large": ([TOO_LARGE], ["granted", "sending", "split"]),
}


def changes_of(world: World, shard: int) -> list[str]:
    return [each.state for each in world.events if isinstance(each, ShardChanged) and each.shard == shard]


@pytest.mark.anyio
@pytest.mark.parametrize("case", CHANGES)
async def test_each_change_of_a_shard_is_told_once(case: str, make_world: MakeWorld) -> None:
    world = make_world({"a.png": 100, "b.png": 100})
    script, expected = CHANGES[case]
    world.sender.script.extend(script)
    await world.upload()
    assert expected == changes_of(world, 1)[: len(expected)]
    assert not world.sender.script, "every attempt was made"


@pytest.mark.anyio
async def test_the_books_of_shards_stand_at_the_end_and_no_event_has_a_url(make_world: MakeWorld) -> None:
    world = make_world({"a.png": 100, "b.png": 100})
    world.sender.script.extend([LOST, EXPIRED])
    await world.upload()
    last = [each for each in world.events if isinstance(each, UploadProgress)][-1]
    assert (last.shards_sent, last.shards_unsure, last.shards_failed, last.waits) == (last.shards_planned, 0, 0, {})
    assert "://" not in repr([each for each in world.events if isinstance(each, ShardChanged)])
    ends = [each for each in world.events if isinstance(each, TransferBegun | TransferEnded)]
    assert [type(each) for each in ends] == [TransferBegun, TransferEnded]
    assert world.events[0] == TransferBegun("upload", "batch", ("/source",), "images")
    assert world.events[-1] == TransferEnded("upload", "batch", last.seconds, 2, 2, 0)


@pytest.mark.anyio
async def test_a_shard_whose_budget_is_over_is_left_and_the_end_says_why(make_world: MakeWorld) -> None:
    world = make_world({"a.png": 100})
    world.sender.script = deque([BUSY] * 50)
    with pytest.raises(TroublePassing):
        await world.upload()
    told: list[Event] = [each for each in world.events if isinstance(each, TransferEnded)]
    assert isinstance(told[0], TransferEnded)
    assert (told[0].done, told[0].total) == (0, 1)
    assert told[0].error.startswith("send shard 1 of batch: ")
