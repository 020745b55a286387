"""What follows from notifications: once each, again where it failed, never for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from rfbulk.core.notices import Notice
from rfbulk.errors import NoRoom
from rfbulk.events import Event, Warned
from rfbulk.pipeline.following import ATTEMPTS, Follower
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


@dataclass
class Row:
    """One notification in memory."""

    number: int
    body: bytes
    attempts: int = 0
    due_at: float = 0.0
    followed: str = ""


@dataclass
class FakeInbox:
    """An inbox in memory, with the shape of the real one."""

    clock: FakeClock
    rows: list[Row] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)
    refused: list[Exception] = field(default_factory=list)

    def add(self, *events: str) -> None:
        for event in events:
            self.rows.append(Row(len(self.rows) + 1, f'{{"type": "x", "event_id": "{event}"}}'.encode()))

    async def to_follow(self, limit: int, without: Sequence[int] = ()) -> list[Row]:
        if self.troubles:
            raise self.troubles.pop()
        due = [row for row in self.rows if not row.followed and row.due_at <= self.clock.now]
        return [row for row in due if row.number not in without][:limit]

    async def next_due(self) -> float | None:
        return min((max(0.0, row.due_at - self.clock.now) for row in self.rows if not row.followed), default=None)

    async def record_followed(self, number: int, outcome: str) -> None:
        if self.refused:
            raise self.refused.pop()
        self.rows[number - 1].followed = outcome

    async def record_attempt(self, number: int, again_in: float) -> None:
        row = self.rows[number - 1]
        row.attempts, row.due_at = row.attempts + 1, self.clock.now + again_in


@dataclass
class World:
    """An inbox, what follows, and what was told."""

    clock: FakeClock = field(default_factory=FakeClock)
    heard: list[str] = field(default_factory=list)
    at: list[float] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    at_once: int = 0
    most_at_once: int = 0
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.inbox = FakeInbox(self.clock)

    async def follow(self, notice: Notice, body: bytes) -> None:  # noqa: ARG002 - the callback's shape
        self.heard.append(notice.event_id)
        self.at.append(self.clock.now)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.seconds:
                await self.clock.sleep(self.seconds)
            if self.failing.get(notice.event_id, 0) > 0:
                self.failing[notice.event_id] -= 1
                raise ValueError("no way https://x.example/?sig=c4n4ry")
        finally:
            self.at_once -= 1

    async def run(self, *later: str, at_once: int = 1, seconds: float = 1000.0) -> None:
        follower = Follower(self.inbox, self.follow, self.clock, self.events.append, at_once=at_once)

        async def work() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(follower.run)
                for event in later:
                    await self.clock.sleep(50.0)
                    self.inbox.add(event)
                    follower.wake()
                await self.clock.sleep(seconds)
                tasks.cancel_scope.cancel()

        await self.clock.run(work)


async def test_what_is_kept_is_followed_in_order_once() -> None:
    world = World()
    world.inbox.add("a", "b", "c")
    await world.run("d", "e")
    assert world.heard == ["a", "b", "c", "d", "e"]
    assert {row.followed for row in world.inbox.rows} == {"done"}
    assert world.at[3] == 1050.0


@pytest.mark.parametrize("at_once", [1, 3])
async def test_no_more_are_followed_at_once_than_was_said(at_once: int) -> None:
    world = World(seconds=5.0)
    world.inbox.add(*"abcdefgh")
    await world.run(at_once=at_once)
    assert (sorted(world.heard), world.most_at_once) == (list("abcdefgh"), at_once)


async def test_what_failed_is_tried_again_and_holds_up_nothing() -> None:
    world = World(failing={"a": 2})
    world.inbox.add("a", "b")
    await world.run()
    assert world.heard == ["a", "b", "a", "a"]
    assert world.at == [1000.0, 1000.0, 1005.0, 1015.0]
    assert [row.followed for row in world.inbox.rows] == ["done", "done"]


async def test_what_keeps_failing_is_given_up_and_told() -> None:
    world = World(failing={"a": 99})
    world.inbox.add("a")
    await world.run()
    assert len(world.heard) == ATTEMPTS
    assert world.inbox.rows[0].followed.startswith("given up: ValueError: no way")
    assert isinstance(world.events[-1], Warned)
    assert "given up after 5 attempts" in world.events[-1].text
    assert "c4n4ry" not in str(world.events) + str(world.inbox.rows)


async def test_what_was_cut_off_is_followed_again() -> None:
    """The process may die in a call: the next one makes it again."""
    world = World(seconds=5000.0)
    world.inbox.add("a")
    await world.run(seconds=10.0)
    assert (world.heard, world.inbox.rows[0].followed) == (["a"], "")
    world.seconds = 0.0
    await world.run(seconds=10.0)
    assert (world.heard, world.inbox.rows[0].followed) == (["a", "a"], "done")


async def test_an_inbox_that_fails_ends_nothing() -> None:
    """The receiver must go on answering, and what is kept is followed once the disk can be used again."""
    world = World()
    world.inbox.add("a")
    world.inbox.troubles = [NoRoom("read", "the checkpoint")]
    world.inbox.refused = [NoRoom("write", "the checkpoint")]
    await world.run()
    assert (world.heard, world.inbox.rows[0].followed) == (["a", "a"], "done")
    assert [type(event) for event in world.events] == [Warned, Warned]
