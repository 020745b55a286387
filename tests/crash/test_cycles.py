"""Some of the deaths of `make crash`, on every road and of every kind: the same again ends with everything once."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from rfbulk.core.failpoints import Failpoint
from tests.crash.commands import together
from tests.crash.deaths import Death, die, run
from tests.crash.long_run import Books, Plan, try_case
from tests.crash.worlds import EXPORT, IMAGES, REFERENCES, ROADS, RUN, SINGLES, VIDEOS, WEBHOOK, Account, Road, world_of
from tests.support.strace import why_no_strace

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
SEED = int(os.environ.get("RFBULK_CRASH_SEED", "1"))
PLANNED = 6

CALLED: list[tuple[Road, Death]] = [
    (IMAGES, Death("call", "fdatasync,fsync", 9)),
    (IMAGES, Death("power", "fdatasync,fsync,syncfs", 10, "lost")),
    (VIDEOS, Death("power", "pwrite64", 40, "torn")),
    (IMAGES, Death("call", "sendto,sendmsg", 2)),
    (SINGLES, Death("call", "pwrite64", 40)),
    (REFERENCES, Death("power", "fdatasync,fsync,syncfs", 9, "lost")),
    (EXPORT, Death("power", "pwrite64", 40, "lost")),
    (RUN, Death("call", "pwrite64", 44)),
    (WEBHOOK, Death("power", "fdatasync,fsync,syncfs", 11, "lost")),
]
"""Deaths that are sure to come, one by the system's calls on every road."""


async def test_killed_at_a_call_of_the_system_or_by_a_power_failure_all_is_there_once(tmp_path: Path) -> None:
    if why := why_no_strace():
        pytest.skip(f"no call can be made to kill, and no power to fail: {why}")

    async def try_one(number: int) -> None:
        road, death = CALLED[number]
        async with world_of(road, tmp_path / str(number), random.Random(number)) as world:
            _, died = await die(world, death)
            assert died, f"{death} was not met"
            assert (await world.account(await run(world))).is_clean

    await together(try_one, range(len(CALLED)), at_once=2)


async def test_planned_cases_end_clean(tmp_path: Path) -> None:
    """RFBULK_CRASH_SEED asks for other ones."""
    books, plan = Books(), Plan(SEED, ROADS)

    async def try_one(number: int) -> None:
        await try_case(tmp_path / str(number), *plan.next_case(), books)

    await together(try_one, range(PLANNED), at_once=2)
    assert books.violations == []
    assert books.cases.total() == PLANNED


async def test_what_is_lost_or_doubled_is_found_and_told(tmp_path: Path) -> None:
    """The oracle can fail: a file that vanished behind the command's back, and one that came twice."""
    books = Books()
    async with world_of(IMAGES, tmp_path / "world", random.Random(0)) as world:
        death = Death("failpoint", Failpoint.SENT_RECORDED)
        _, died = await die(world, death)
        assert died
        ended = await run(world)
        images = sorted((world.home / "files").rglob("*.jpg"))
        images[0].write_bytes(images[1].read_bytes())  # as if one had been lost, and another doubled
        account = await world.account(ended)
        books.close(IMAGES, [death], account, world.home)
    assert (account.lost, account.doubled) == (1, 1)
    assert "sent-recorded" in books.violations[0]
    assert not Account(wrong=["anything"]).is_clean
