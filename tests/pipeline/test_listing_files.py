"""The walk through what a batch lists: ahead of the downloads, but not far; large files first and alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rfbulk.core.exporting import MOST_IN_GROUP, Presence
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import Fingerprint
from rfbulk.pipeline.grouping import LOOK_AHEAD_FILES
from rfbulk.pipeline.listing_files import MAX_WALKS
from tests.pipeline.conftest import MakeExport
from tests.support.export_fakes import Remote

pytestmark = pytest.mark.anyio


async def test_pages_are_listed_ahead_but_no_further_than_the_look_ahead(make_export: MakeExport) -> None:
    """URLs end, and memory is bounded: what waits for a place is not much."""
    page = 500
    world = make_export(14 * page)
    world.batch.page_size = page
    listed_at_first_fetch: list[int] = []

    def note(event: object) -> None:
        if type(event).__name__ == "FilesFetched" and not listed_at_first_fetch:
            listed_at_first_fetch.append(world.batch.listings.total())

    world.listener, world.receiver.seconds = note, 0.01
    report = await world.export(concurrency=1)
    most_there = -(-LOOK_AHEAD_FILES // page) + 1  # what waits, and one group that does not any more
    assert 3 <= listed_at_first_fetch[0] <= most_there + 2  # one that waits to be let in, one that is asked for
    assert (report.fetched, world.batch.listings.total()) == (14 * page, 14)


async def test_what_may_be_large_goes_first_and_alone(make_export: MakeExport) -> None:
    small = [Remote(f"{number}.jpg", b"%d" % number) for number in range(20)]
    large = [Remote("a.tar", b"a", members=(("x", b"x"),)), Remote("b.mp4", b"b")]
    world = make_export([*small, *large])
    world.batch.page_size = 100
    await world.export(concurrency=1)
    assert [path.rpartition("/")[2] for path in world.receiver.fetched[:2]] == ["a.tar", "b.mp4"]
    assert world.receiver.groups == [1, 1, 10, 5, 3, 1, 1]


async def test_small_pages_make_large_groups(make_export: MakeExport) -> None:
    """A service may list little at a time: what a group costs must not be paid for each page."""
    world = make_export(400)
    world.receiver.seconds = 0.1
    report = await world.export(concurrency=2)
    assert (report.fetched, world.batch.listings.total()) == (400, 100)
    full = world.receiver.groups.count(MOST_IN_GROUP)
    assert full * MOST_IN_GROUP > 250


async def test_parts_are_walked_through_together_but_not_all_of_many(make_export: MakeExport) -> None:
    names = [f"part-{number}" for number in range(3 * MAX_WALKS)]
    world = make_export([Remote(f"{number}.jpg", b"x", part=name) for name in names for number in range(8)])
    world.batch.parts_there = names
    under_way: set[str] = set()
    most: list[int] = []

    def note(_token: str | None) -> None:
        begun = {part for part, token in world.batch.listings if token is None}
        ended = {part for part, token in world.batch.listings if token is not None}
        under_way.update(begun - ended)
        most.append(len(begun - ended))

    world.batch.before_page = note
    report = await world.export()
    assert (report.fetched, report.closes) == (8 * len(names), True)
    assert 1 < max(most) <= MAX_WALKS


async def test_each_page_is_recorded_before_anything_of_it_is_asked_for(make_export: MakeExport) -> None:
    world = make_export(4)
    await world.export()
    order = [point for point in world.reached if point in {Failpoint.PAGE_RECORDED, Failpoint.FETCH_STARTED}]
    assert order[0] is Failpoint.PAGE_RECORDED
    calls = [name for name in world.calls if name in {"take_page", "fetch"}]
    assert calls[0] == "take_page"


async def test_looking_at_what_is_here_asks_the_disk_once_a_page_and_once_an_archive(make_export: MakeExport) -> None:
    archives = [Remote(f"{number}.tar", b"t", members=((f"{number}.jpg", b"m"),)) for number in range(3)]
    world = make_export([*archives, *[Remote(f"f{number}.jpg", b"f") for number in range(5)]])
    world.batch.page_size = 100
    await world.export()
    await world.restart()
    looks: list[int] = []
    look = world.disk.look

    def look_and_note(files: Sequence[tuple[str, Fingerprint]]) -> list[Presence]:
        looks.append(len(files))
        return look(files)

    world.disk.look = look_and_note  # type: ignore[method-assign]  # a fake that counts
    report = await world.export()
    assert (report.already_here, looks) == (8, [5, 1, 1, 1])
