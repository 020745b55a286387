"""Waiting calls hear of what another process has received."""

from __future__ import annotations

from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from rfbulk.client.context import Context, inbox_dir
from rfbulk.client.listening import LOOK_SECONDS, hearing_inbox
from rfbulk.errors import WaitTimeout
from rfbulk.pipeline.bell import Bell
from rfbulk.settings import Settings
from tests.edge.test_notices_store import inbox_of, job_event, store
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


def context_of(state: Path) -> tuple[Context, FakeClock]:
    clock = FakeClock()
    nothing: object = None
    return Context(Settings(state_dir=state), "", nothing, nothing, clock, print, nothing, Bell()), clock  # type: ignore[arg-type]  # all that it needs


async def test_news_in_the_inbox_ring_the_bell(tmp_path: Path) -> None:
    context, clock = context_of(tmp_path)

    async def wait() -> tuple[bool, float]:
        with context.bell.listen("job j-1", clock) as ear:
            return await ear.rest(0.0, 1000.0), clock.now

    async def arrive() -> None:
        clock.busy += 1  # the inbox's own thread, which the clock does not see
        async with inbox_of(inbox_dir(context.settings)) as inbox:
            for seconds, body in ((100.5, job_event("old")), (100.0, job_event("other", job="j-2"))):
                await store(inbox, body)
                clock.busy -= 1
                await clock.sleep(seconds)
                clock.busy += 1
            await store(inbox, job_event("new"))
        clock.busy -= 1

    async def both() -> tuple[bool, float]:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(arrive)
            await clock.sleep(50.0)
            found = await hearing_inbox(context, "job j-1", wait)
            assert found[0]
        return found

    _, at = await clock.run(both)
    assert 1200.5 <= at <= 1200.5 + 2 * LOOK_SECONDS


async def test_errors_come_out_as_themselves(tmp_path: Path) -> None:
    """A group of one error would pass by everybody who waits for it."""
    context, clock = context_of(tmp_path)

    async def fail() -> None:
        await clock.sleep(5.0)
        raise WaitTimeout("wait for", "job j-1")

    with pytest.raises(WaitTimeout):
        await clock.run(lambda: hearing_inbox(context, "job j-1", fail))


async def test_cancelling_leaves_nothing_behind(tmp_path: Path) -> None:
    context, clock = context_of(tmp_path)

    async def cancelled() -> bool:
        with anyio.move_on_after(0.05) as scope:
            await hearing_inbox(context, "job j-1", anyio.sleep_forever)
        return scope.cancelled_caught

    assert await clock.run(cancelled)
