"""Standing flows: one piece of work a batch at a time, repeated while a passing trouble lasts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import anyio
import pytest

from rfbulk.errors import NoRoom, RfbulkError, ServiceRefused, TroublePassing, WaitTimeout
from rfbulk.events import Event, FlowEnded
from rfbulk.pipeline.standing import AT_ONCE, StandingFlows
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


@dataclass
class World:
    """An inbox in memory and work that takes its time, or fails."""

    clock: FakeClock = field(default_factory=FakeClock)
    rows: list[tuple[str, str]] = field(default_factory=list)
    worked: list[str] = field(default_factory=list)
    failing: dict[str, list[RfbulkError]] = field(default_factory=dict)
    seconds: float = 10.0
    at_once: Counter[str] = field(default_factory=Counter)
    most: int = 0
    most_of_one: int = 0
    events: list[Event] = field(default_factory=list)
    troubles: list[Exception] = field(default_factory=list)

    def add(self, *batches: str) -> None:
        self.rows += [(f"batch {batch}", "") for batch in batches]

    async def subjects_to_flow(self) -> list[tuple[str, int]]:
        if self.troubles:
            raise self.troubles.pop()
        latest = {subject: number for number, (subject, flowed) in enumerate(self.rows, 1) if not flowed}
        return list(latest.items())

    async def record_flowed(self, subject: str, up_to: int, outcome: str) -> None:
        for number, (about, flowed) in enumerate(self.rows[:up_to]):
            if about == subject and not flowed:
                self.rows[number] = (about, outcome)

    async def work(self, batch: str) -> str:
        self.worked.append(batch)
        self.at_once[batch] += 1
        self.most = max(self.most, self.at_once.total())
        self.most_of_one = max(self.most_of_one, self.at_once[batch])
        try:
            await self.clock.sleep(self.seconds)
            if self.failing.get(batch):
                raise self.failing[batch].pop(0)
        finally:
            self.at_once[batch] -= 1
        return "done"

    async def run(self, *later: str, seconds: float = 5000.0) -> None:
        flows = StandingFlows(self, self.work, self.clock, self.events.append)

        async def work() -> None:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(flows.run)
                for batch in later:
                    await self.clock.sleep(3.0)
                    self.add(batch)
                    flows.wake()
                await self.clock.sleep(seconds)
                tasks.cancel_scope.cancel()

        await self.clock.run(work)


async def test_many_notifications_on_one_batch_are_one_piece_of_work() -> None:
    world = World()
    world.add("spring", "spring", "spring")
    await world.run()
    assert world.worked == ["spring"]
    assert {flowed for _, flowed in world.rows} == {"done"}
    assert world.events == [FlowEnded("batch spring", "done")]


async def test_news_that_come_while_a_batch_is_worked_on_are_worked_off_behind_it() -> None:
    world = World()
    world.add("spring")
    await world.run("spring", "spring")
    assert (world.worked, world.most_of_one) == (["spring", "spring"], 1)


async def test_a_few_batches_are_worked_on_together() -> None:
    world = World()
    world.add(*(f"b-{number}" for number in range(3 * AT_ONCE)))
    await world.run()
    assert (len(world.worked), world.most) == (3 * AT_ONCE, AT_ONCE)


@pytest.mark.parametrize("error", [TroublePassing("x", status=503), WaitTimeout("wait for", "batch b")])
async def test_a_passing_trouble_is_outlived_and_nothing_is_hammered(error: RfbulkError) -> None:
    world = World(failing={"spring": [error] * 3})
    world.add("spring")
    await world.run()
    assert (len(world.worked), world.rows[0][1]) == (4, "done")
    assert world.clock.now >= 1000.0 + 60 + 120 + 240


async def test_a_final_refusal_is_given_up_and_told() -> None:
    world = World(failing={"spring": [ServiceRefused("start", cause="bad https://x.example/?sig=c4n4ry")]})
    world.add("spring", "summer")
    await world.run()
    assert world.rows[0][1].startswith("given up: start: bad")
    assert world.rows[1][1] == "done"
    assert "c4n4ry" not in str(world.events)


async def test_a_flow_that_was_cut_off_is_carried_out_again() -> None:
    world = World(seconds=100.0)
    world.add("spring")
    await world.run(seconds=50.0)
    assert (world.worked, world.rows[0][1]) == (["spring"], "")
    await world.run()
    assert (world.worked, world.rows[0][1]) == (["spring", "spring"], "done")


async def test_an_inbox_that_fails_ends_nothing() -> None:
    world = World(troubles=[NoRoom("read", "the checkpoint")])
    world.add("spring")
    await world.run()
    assert (world.worked, world.rows[0][1]) == (["spring"], "done")
