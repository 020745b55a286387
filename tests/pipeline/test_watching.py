"""Waiting for a batch that somebody else fills."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import anyio
import pytest

from rfbulk.core.confirming import RowKind
from rfbulk.core.notices import batch_subject
from rfbulk.core.readiness import BatchState, Expected
from rfbulk.errors import ProtocolError, TroublePassing, WaitTimeout
from rfbulk.events import ConfirmProgress, Event
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.watching import BatchPorts, watch_batch
from tests.support.fakes import FakeClock, FakeService, Stored
from tests.support.world import BATCH, POLICY

pytestmark = pytest.mark.anyio


def batch_of(*counts: int, clock: FakeClock, at: Callable[[int], float] = lambda _number: 1000.0) -> FakeService:
    """A service with shards of so many images each, stored at some time each."""
    service = FakeService(clock, exists=True)
    for number, count in enumerate(counts):
        names = tuple(f"{number}-{place}" for place in range(count))
        service.objects[str(number)] = Stored(f"shard-{number}", at(number), names)
    return service


def expecting(files: int | None) -> Callable[[], Awaitable[Expected]]:
    async def expected() -> Expected:
        return Expected(files)

    return expected


async def watch(service: FakeService, *, expect: int | None = None, seconds: float = 600.0) -> BatchState:
    events: list[Event] = []
    state = await service.clock.run(
        lambda: watch_batch(
            BatchPorts(service, service.clock, POLICY, events.append, expecting(expect)), BATCH, seconds=seconds
        )
    )
    assert isinstance(events[-1], ConfirmProgress)
    return state


async def test_what_is_expected_and_there_is_ready_at_once() -> None:
    service = batch_of(3, 4, clock=FakeClock())
    state = await watch(service, expect=7)
    assert (state.count, state.shards, service.clock.now) == (7, {RowKind.SUCCESS: 2}, 1000.0)


async def test_without_an_expectation_it_waits_until_the_count_stands_still() -> None:
    service = batch_of(3, 4, clock=FakeClock(), at=lambda number: 1000.0 + 20.0 * number)
    service.indexing_seconds = 5.0
    state = await watch(service)
    assert (state.count, state.is_ready) == (7, True)
    assert service.clock.now >= 1040.0


async def test_pending_shards_are_waited_for_whatever_is_counted() -> None:
    service = batch_of(3, 4, clock=FakeClock())
    service.row_types = {"shard-1": "info"}
    with pytest.raises(WaitTimeout, match="it counts 7 of 7 files and 1 shards are pending"):
        await watch(service, expect=7, seconds=100.0)
    assert service.clock.now == pytest.approx(1100.0, abs=0.1)


async def test_an_empty_batch_is_not_ready() -> None:
    with pytest.raises(WaitTimeout, match="it counts 0 files"):
        await watch(batch_of(clock=FakeClock()), seconds=60.0)


async def test_a_batch_that_is_not_there_yet_is_waited_for() -> None:
    service = batch_of(3, clock=FakeClock())
    service.exists = False
    with pytest.raises(WaitTimeout):
        await watch(service, expect=3, seconds=10.0)


async def test_failed_shards_are_named_page_by_page_and_never_ready() -> None:
    service = batch_of(1, 1, 1, clock=FakeClock())
    service.row_types = {"shard-0": "error", "shard-2": "error"}
    service.page_size = 1
    state = await watch(service, expect=1)
    assert not state.is_ready
    assert [name for name, _ in state.failed] == ["shard-0", "shard-2"]
    assert state.shards == {RowKind.ERROR: 2, RowKind.SUCCESS: 1}


async def test_trouble_in_passing_is_outlived() -> None:
    service = batch_of(3, clock=FakeClock())
    service.troubles["shards"] = deque([TroublePassing("list", status=503)])
    assert (await watch(service, expect=3)).count == 3


async def test_pages_in_a_circle_are_an_error() -> None:
    service = batch_of(3, clock=FakeClock())
    service.goes_round = True
    with pytest.raises(ProtocolError):
        await watch(service, expect=3)


async def test_looks_are_few() -> None:
    service = batch_of(3, clock=FakeClock(), at=lambda _number: 1500.0)
    await watch(service, expect=3)
    assert service.calls["count"] < 50


async def test_shards_are_not_listed_while_the_count_says_enough() -> None:
    """A large batch has thousands of pages of shards, and none of them can make it ready."""
    service = batch_of(1, 1, 1, 1, clock=FakeClock(), at=lambda number: 1000.0 + 0.1 * number)
    await watch(service, expect=4)
    assert service.calls["shards"] < service.calls["count"]


async def test_an_unknown_state_of_a_shard_is_not_ready() -> None:
    service = batch_of(3, clock=FakeClock())
    service.row_types = {"shard-0": "quantum-superposition"}
    with pytest.raises(WaitTimeout, match="1 shards are pending"):
        await watch(service, expect=3, seconds=60.0)


async def test_six_hours_stay_under_one_request_in_two_seconds() -> None:
    service = batch_of(*[1] * 40, clock=FakeClock())
    service.row_types = {"shard-0": "info"}
    service.page_size = 1
    with pytest.raises(WaitTimeout):
        await watch(service, seconds=6 * 3600.0)
    assert service.calls.total() < 0.5 * 6 * 3600


async def test_a_notification_makes_the_next_look_come_sooner() -> None:
    service = batch_of(3, clock=FakeClock(), at=lambda _number: 5000.0)
    bell, clock = Bell(), service.clock
    ports = BatchPorts(service, clock, POLICY, lambda _event: None, expecting(3), bell)

    async def both() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ring)
            await watch_batch(ports, BATCH, seconds=1e6)

    async def ring() -> None:
        await clock.sleep(4000.5)
        bell.ring(batch_subject(BATCH))

    await clock.run(both)
    assert clock.now < 5002.0


async def test_a_batch_that_is_being_filled_is_not_ready_whatever_is_counted() -> None:
    """No job may start on half of what an upload brings because its other half had not been found yet."""
    service = batch_of(3, clock=FakeClock())
    clock = service.clock

    async def expected() -> Expected:
        return Expected(3, is_filling=clock.now < 3000.0)

    ports = BatchPorts(service, clock, POLICY, lambda _event: None, expected)
    state = await clock.run(lambda: watch_batch(ports, BATCH, seconds=1e6))
    assert (state.is_ready, clock.now >= 3000.0) == (True, True)
    service.clock.now = 1000.0
    with pytest.raises(WaitTimeout, match="its upload has not come to an end"):
        await clock.run(lambda: watch_batch(ports, BATCH, seconds=60.0))
