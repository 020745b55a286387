"""Fresh URLs: one listing for the many that ask, the right one of equal names, and troubles that are shared."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import anyio
import pytest

from rfbulk.core.exporting import Element, ElementState, Part
from rfbulk.core.fetching import FetchKind
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.core.secrets import SignedUrl
from rfbulk.errors import NotAuthorised, ServiceRefused, TroublePassing
from rfbulk.pipeline.export_tally import ExportTally
from rfbulk.pipeline.fresh_urls import MAX_PAGES_KEPT, FileListing, FreshUrls, Wanted
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.paging import LARGE_TRIES, PAGE_FILES
from tests.support.export_fakes import Remote
from tests.support.export_world import BATCH, POLICY, ExportWorld

pytestmark = pytest.mark.anyio
PART = Part(0, "", "")
OLD = SignedUrl("https://store.test/old?X-Goog-Signature=c4n4ry")


class Place:
    """What asks for URLs, over a batch of files, four to a page."""

    def __init__(self, files: list[Remote]) -> None:
        self.world = ExportWorld(Path("/nowhere"), files)
        ports = self.world.ports_without_checkpoint()
        gate = Gate(Pace(PaceLimits()), self.world.clock)
        tally = ExportTally(self.world.events.append, 0.0)
        self.fresh = FreshUrls(FileListing(ports, BATCH, POLICY, gate, tally))

    @property
    def listings(self) -> int:
        return self.world.batch.listings.total()

    async def renew(self, *wanted: Wanted) -> list[Wanted]:
        return await self.world.clock.run(lambda: self.fresh.renew(wanted))

    def content(self, wanted: Wanted) -> bytes:
        remote = self.world.batch.at(wanted.url)
        assert remote is not None
        return remote.content


def files(count: int) -> list[Remote]:
    return [Remote(f"{number:03}.jpg", b"%d" % number) for number in range(count)]


def wanted(name: str, token: str | None, *, place: int = 0, ordinal: int = 0, shard: str = "") -> Wanted:
    element = Element(
        id=hash((name, ordinal)),
        part=0,
        shard=shard,
        name=name,
        ordinal=ordinal,
        state=ElementState.LISTED,
        kind=FetchKind.PLAIN,
        path=name,
    )
    return Wanted(element, OLD, PART, token, place)


async def test_each_gets_the_url_of_its_own_file() -> None:
    place = Place(files(12))
    group = [wanted("001.jpg", None), wanted("006.jpg", "4"), wanted("007.jpg", "4")]
    assert await place.renew(*group) == []
    assert [place.content(one) for one in group] == [b"1", b"6", b"7"]
    assert place.listings == 2


async def test_equal_names_are_told_apart_by_shard_and_place() -> None:
    same = [Remote("a", b"1", shard="x"), Remote("a", b"2", shard="y"), Remote("a", b"3", shard="x")]
    place = Place(same)
    group = [
        wanted("a", None, place=1, ordinal=1, shard="x"),
        wanted("a", None, shard="x"),
        wanted("a", None, shard="y"),
    ]
    await place.renew(*group)
    assert [place.content(one) for one in group] == [b"3", b"1", b"2"]


async def test_many_that_ask_for_one_page_at_once_share_one_listing() -> None:
    place = Place(files(4))
    group = [wanted(f"{number:03}.jpg", None) for number in range(4)]

    async def ask_all() -> None:
        async with anyio.create_task_group() as tasks:
            for one in group:
                tasks.start_soon(place.fresh.renew, [one])

    await place.world.clock.run(ask_all)
    assert [place.content(one) for one in group] == [b"0", b"1", b"2", b"3"]
    assert place.listings == 1


async def test_a_url_from_the_last_listing_that_has_ended_too_is_listed_again() -> None:
    place = Place(files(4))
    one = wanted("001.jpg", None)
    await place.renew(one)
    first = one.url
    await place.renew(one)
    assert (first == one.url, place.listings) == (False, 2)


async def test_a_listing_that_fails_fails_for_all_and_is_asked_for_again() -> None:
    place = Place(files(4))
    place.world.batch.troubles["files"] = deque([NotAuthorised("list", "files")])
    group = [wanted("001.jpg", None), wanted("002.jpg", None)]
    caught: list[BaseException] = []

    async def ask(one: Wanted) -> None:
        try:
            await place.fresh.renew([one])
        except NotAuthorised as error:
            caught.append(error)

    async def ask_all() -> None:
        async with anyio.create_task_group() as tasks:
            for one in group:
                tasks.start_soon(ask, one)

    await place.world.clock.run(ask_all)
    assert len(caught) == 1
    assert place.listings == 1
    assert [one.url == OLD for one in group].count(True) == 1


async def test_troubles_of_the_line_are_borne() -> None:
    place = Place(files(4))
    place.world.batch.troubles["files"] = deque([TroublePassing("list", status=503)] * 3)
    one = wanted("001.jpg", None)
    await place.renew(one)
    assert place.content(one) == b"1"


async def test_what_has_moved_to_another_page_is_found_by_a_walk_and_known_there_from_then_on() -> None:
    place = Place(files(12))
    place.world.files.insert(0, Remote("new.jpg"))
    one = wanted("003.jpg", None)
    assert await place.renew(one) == []
    assert (place.content(one), one.token, one.place) == (b"3", "4", 0)


async def test_a_token_that_is_refused_leads_to_a_walk() -> None:
    place = Place(files(12))
    place.world.batch.troubles["files"] = deque([ServiceRefused("list", status=400)])
    one = wanted("006.jpg", "4")
    assert await place.renew(one) == []
    assert place.content(one) == b"6"


async def test_what_is_not_listed_any_more_is_told() -> None:
    place = Place(files(4))
    one, other = wanted("gone.jpg", None), wanted("001.jpg", None)
    assert await place.renew(one, other) == [one]
    assert place.content(other) == b"1"


async def test_only_the_latest_pages_are_remembered() -> None:
    count = 4 * (MAX_PAGES_KEPT + 4)
    place = Place(files(count))
    for number in range(0, count, 4):
        await place.renew(wanted(f"{number:03}.jpg", str(number) if number else None))
    assert len(place.fresh._pages) == MAX_PAGES_KEPT


@pytest.mark.parametrize(("knows", "sizes"), [(True, {PAGE_FILES: 2}), (False, {PAGE_FILES: 1, None: 2})])
async def test_a_service_that_refuses_large_pages_is_asked_for_its_own_from_then_on(
    knows: bool, sizes: dict[int | None, int]
) -> None:
    place = Place(files(4))
    place.world.batch.knows_sizes = knows
    one = wanted("001.jpg", None)
    for _ in range(2):
        assert await place.renew(one) == []
    assert (place.content(one), place.world.batch.sizes) == (b"1", sizes)


@pytest.mark.parametrize(("troubles", "size"), [(LARGE_TRIES - 1, PAGE_FILES), (LARGE_TRIES, None)])
async def test_a_service_that_fails_at_large_pages_is_asked_for_its_own(troubles: int, size: int | None) -> None:
    place = Place(files(4))
    place.world.batch.troubles["files"] = deque([TroublePassing("list", status=504)] * troubles)
    one = wanted("001.jpg", None)
    for _ in range(2):
        assert await place.renew(one) == []
    assert place.world.batch.sizes == {size: 2}


async def test_a_refusal_of_what_was_listed_before_is_no_matter_of_size() -> None:
    place = Place(files(4))
    one = wanted("001.jpg", None)
    await place.renew(one)
    place.world.batch.troubles["files"] = deque([ServiceRefused("list", status=400)] * 2)
    with pytest.raises(ServiceRefused):
        await place.renew(one)
    assert place.world.batch.sizes == {PAGE_FILES: 1}
