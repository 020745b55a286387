"""What waits for a place: full groups over pages, no more than the look-ahead, and idle places get what is here."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.exporting import MOST_IN_GROUP, Element, ElementState, Part
from rfbulk.core.fetching import FetchKind
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.core.secrets import SignedUrl
from rfbulk.pipeline.fresh_urls import Wanted
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.grouping import LOOK_AHEAD_FILES, Groups
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio
URL = SignedUrl("https://store.test/file?X-Goog-Signature=c4n4ry")


def wanted(number: int, kind: FetchKind = FetchKind.PLAIN) -> Wanted:
    name = f"{number}.jpg"
    element = Element(
        id=number, part=0, shard="", name=name, ordinal=0, state=ElementState.LISTED, kind=kind, path=name
    )
    return Wanted(element, URL, Part(0, "", ""), None, 0)


def files(count: int, start: int = 0) -> list[Wanted]:
    return [wanted(start + number) for number in range(count)]


def groups_at(level: int, *, in_flight: int = 0, listings: int = 1) -> Groups:
    gate = Gate(Pace(PaceLimits(1, level, level)), FakeClock())
    gate.in_flight = in_flight
    return Groups(gate, listings)


async def take_all(groups: Groups) -> list[list[Wanted]]:
    taken = []
    with anyio.fail_after(5):
        while (group := await groups.take()) is not None:
            taken.append(group)
    return taken


async def sizes_that_go(groups: Groups) -> list[int]:
    """What can be taken without waiting."""
    sizes = []
    while True:
        with anyio.move_on_after(0) as scope:
            group = await groups.take()
            sizes.append(len(group or ()))
        if scope.cancelled_caught or not group:
            return sizes


@given(
    pages=st.lists(st.lists(st.booleans(), max_size=150), min_size=1, max_size=10),
    level=st.integers(1, 64),
    in_flight=st.integers(0, 2),
)
async def test_each_file_goes_once_in_order_and_what_may_be_large_alone(
    pages: list[list[bool]], level: int, in_flight: int
) -> None:
    groups = groups_at(level, in_flight=in_flight)
    number, put, taken = 0, list[int](), list[list[Wanted]]()

    async def put_all() -> None:
        nonlocal number
        for at, page in enumerate(pages):
            rows = [
                wanted(number + place, FetchKind.TAR if large else FetchKind.PLAIN) for place, large in enumerate(page)
            ]
            number += len(page)
            put.extend(row.element.id for row in rows)
            await groups.put(rows, is_last=at + 1 == len(pages))
            await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(put_all)
        taken = await take_all(groups)
    flat = [one.element for group in taken for one in group]
    assert sorted(element.id for element in flat) == put
    small = [element.id for element in flat if element.kind is FetchKind.PLAIN]
    assert small == sorted(small)
    assert all(len(group) <= MOST_IN_GROUP for group in taken)
    assert all(len(group) == 1 for group in taken if any(one.element.kind is FetchKind.TAR for one in group))


async def test_groups_are_full_over_pages_as_long_as_more_are_to_come() -> None:
    groups = groups_at(8, in_flight=1)
    for page in range(10):
        await groups.put(files(10, 10 * page), is_last=False)
    assert await sizes_that_go(groups) == [MOST_IN_GROUP] * 3
    assert groups.waiting == 100 - 3 * MOST_IN_GROUP
    await groups.put(files(28, 100), is_last=False)
    assert await sizes_that_go(groups) == [MOST_IN_GROUP]


async def test_idle_places_share_what_is_here_before_the_next_page_comes() -> None:
    groups = groups_at(2)
    await groups.put(files(20), is_last=False)
    assert await groups.take() is not None
    groups._gate.in_flight = 1
    assert sum(await sizes_that_go(groups)) == 15
    await groups.put(files(3, 20), is_last=False)
    assert await sizes_that_go(groups) == []
    groups._gate.in_flight = 0
    groups.look_again()
    assert sum(await sizes_that_go(groups)) == 3


async def test_who_waits_is_told_of_an_idle_place() -> None:
    groups = groups_at(1, in_flight=1)
    await groups.put(files(1), is_last=False)
    async with anyio.create_task_group() as tasks:
        with anyio.fail_after(5):

            async def finish() -> None:
                await anyio.lowlevel.checkpoint()
                groups._gate.leave()
                groups.look_again()

            tasks.start_soon(finish)
            assert await groups.take() is not None


async def test_the_last_files_are_shared_out_in_ever_smaller_groups() -> None:
    groups = groups_at(2, in_flight=2, listings=2)
    await groups.put(files(40), is_last=True)
    await groups.put(files(60, 40), is_last=True)
    sizes = [len(group) for group in await take_all(groups)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0], sizes[-1], sum(sizes)) == (25, 1, 100)


async def test_a_page_waits_while_enough_are_waiting_and_none_waits_for_ever() -> None:
    groups = groups_at(4, in_flight=1, listings=3)
    most: list[int] = []

    async def put_pages(start: int) -> None:
        for page in range(6):
            await groups.put(files(500, start + 500 * page), is_last=page == 5)
            most.append(groups.waiting)

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for listing in range(3):
                tasks.start_soon(put_pages, 10_000 * listing)
            await anyio.lowlevel.checkpoint()
            taken = await take_all(groups)
    assert sum(map(len, taken)) == 9000
    assert LOOK_AHEAD_FILES <= max(most) < LOOK_AHEAD_FILES + 500


async def test_what_waits_still_goes_when_the_listing_ends_before_its_last_page() -> None:
    groups = groups_at(1, in_flight=1)
    await groups.put(files(3), is_last=False)
    groups.close()
    assert sum(map(len, await take_all(groups))) == 3


async def test_waiting_for_a_page_is_noted_at_the_gate() -> None:
    """A window in which nothing was there to fetch says nothing of the line."""
    clock = FakeClock()
    gate = Gate(Pace(PaceLimits(1, 1, 8)), clock)
    await gate.enter()
    assert await sizes_that_go(Groups(gate, 1)) == []
    clock.now += 1.0
    gate.measure(1000)
    assert gate.pace.level == 1
