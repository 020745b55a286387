"""Waking those who wait."""

from __future__ import annotations

import anyio
import pytest

from rfbulk.pipeline.bell import Bell
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


async def rest(*rings: str, at_least: float = 0.0, at_most: float = 50.0, before: bool = False) -> tuple[bool, float]:
    """Listen for `wanted`, with rings after ten seconds or before the rest; tell what was heard, and when."""
    bell, clock = Bell(), FakeClock(start=0.0)

    async def work() -> bool:
        with bell.listen("wanted", clock) as ear:
            if before:
                ring()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(later)
                heard = await ear.rest(at_least, at_most)
                tasks.cancel_scope.cancel()
        return heard

    async def later() -> None:
        await clock.sleep(10.0)
        ring()

    def ring() -> None:
        for subject in rings:
            bell.ring(subject)

    heard = await clock.run(work)
    assert not bell._ears
    return heard, clock.now


async def test_a_ring_ends_the_rest() -> None:
    assert await rest("wanted") == (True, 10.0)


async def test_a_ring_for_another_changes_nothing() -> None:
    assert await rest("another") == (False, 50.0)


async def test_no_rest_is_shorter_than_it_must_be() -> None:
    assert await rest("wanted", at_least=30.0) == (True, 30.0)


async def test_a_ring_that_came_before_the_rest_is_heard() -> None:
    """A notification that arrives while the service is being asked must not wait for the next pause to end."""
    assert (await rest("wanted", before=True))[1] == 0.0


async def test_a_ring_is_heard_once_by_all_who_listen() -> None:
    bell, clock = Bell(), FakeClock(start=0.0)

    async def work() -> list[bool]:
        with bell.listen("wanted", clock) as first, bell.listen("wanted", clock) as second:
            bell.ring("wanted")
            bell.ring("wanted")
            return [await first.rest(0, 5), await first.rest(0, 5), await second.rest(0, 5)]

    assert await clock.run(work) == [True, False, True]
