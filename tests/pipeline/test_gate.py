"""How many are in flight: never more than the level, and somebody always."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.pipeline.gate import Gate
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


async def test_it_admits_up_to_the_level() -> None:
    gate = Gate(Pace(PaceLimits(1, 3, 3)), FakeClock())
    for _ in range(3):
        await gate.enter()
    with anyio.move_on_after(0) as scope:
        await gate.enter()
    assert scope.cancelled_caught
    assert gate.in_flight == 3


async def test_who_leaves_lets_the_next_one_in() -> None:
    gate = Gate(Pace(PaceLimits(1, 1, 1)), FakeClock())
    await gate.enter()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.enter)
            await anyio.lowlevel.checkpoint()
            gate.leave()
    assert gate.in_flight == 1


async def test_a_higher_level_lets_the_next_one_in() -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits(1, 1, 4)), clock)
    await gate.enter()
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(gate.enter)
            await anyio.lowlevel.checkpoint()
            clock.now += 1.0
            gate.measure(1000)
    assert (gate.pace.level, gate.in_flight) == (2, 2)


async def test_all_rest_as_long_as_the_service_asked() -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits()), clock)
    gate.slow_down(10.0)
    gate.slow_down(4.0)
    await clock.run(gate.enter)
    assert clock.now == 1010.0


async def test_a_rest_prolonged_meanwhile_is_kept() -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits()), clock)

    async def meanwhile() -> None:
        async with anyio.create_task_group() as tasks:
            gate.slow_down(10.0)
            tasks.start_soon(gate.enter)
            await clock.sleep(5.0)
            gate.slow_down(20.0)

    await clock.run(meanwhile)
    assert clock.now == 1025.0


@pytest.mark.parametrize(("busy", "idle", "level"), [(2, False, 4), (2, True, 2), (1, False, 2), (0, False, 2)])
async def test_only_windows_of_full_flight_teach(busy: int, idle: bool, level: int) -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits(1, 2, 8)), clock)
    for _ in range(busy):
        await gate.enter()
    if busy == 1:
        await gate.enter()
        gate.leave()
        gate.leave()
        await gate.enter()
    if idle:
        gate.note_idle()
    clock.now += 1.0
    gate.measure(1000)
    assert gate.pace.level == level


async def test_a_window_after_one_that_was_not_full_teaches_again() -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits(1, 1, 8)), clock)
    await gate.enter()
    gate.note_idle()
    levels = []
    for _ in range(2):
        clock.now += 1.0
        gate.measure(1000)
        levels.append(gate.pace.level)
    assert levels == [1, 2]


@pytest.mark.parametrize(("cpu", "level"), [(0.1, 2), (0.9, 1)], ids=["the line is slow", "the processor is"])
async def test_a_busy_processor_keeps_the_level(cpu: float, level: int) -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits(1, 1, 8)), clock)
    await gate.enter()
    clock.now += 2.0
    clock.cpu += cpu * 2.0
    gate.measure(1000)
    assert gate.pace.level == level


@pytest.mark.slow
@given(
    first=st.integers(1, 8),
    most=st.integers(8, 16),
    deeds=st.lists(st.sampled_from(["slow", "slow-rest", "window", "idle"]), max_size=30),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_it_never_locks_whatever_slows_it_down(first: int, most: int, deeds: list[str]) -> None:
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits(1, first, most)), clock)
    waiting, finished = iter(deeds), []

    async def shard(number: int) -> None:
        await clock.sleep(1.0)
        match next(waiting, "idle"):
            case "slow":
                gate.slow_down(None)
            case "slow-rest":
                gate.slow_down(3.0)
            case "window":
                gate.measure(100 * number)
            case _:
                gate.note_idle()
        await gate.rest()
        finished.append(number)
        gate.leave()

    async def dispatch() -> None:
        async with anyio.create_task_group() as tasks:
            for number in range(40):
                await gate.enter()
                assert gate.in_flight <= most
                tasks.start_soon(shard, number)

    await clock.run(dispatch)
    assert sorted(finished) == list(range(40))
    assert gate.in_flight == 0
