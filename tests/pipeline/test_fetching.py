"""Single groups on their way home: what each attempt is asked with, how long troubles are waited for, and by whom."""

from __future__ import annotations

import dataclasses
from collections import deque

import pytest

from rfbulk.core.fetching import FetchKind, FetchOutcome
from rfbulk.errors import TroublePassing
from rfbulk.events import FetchRetried
from tests.pipeline.conftest import MakeExport
from tests.support.export_fakes import BROKEN, BUSY, CORRUPT, EXPIRED, Remote
from tests.support.export_world import ExportWorld

pytestmark = pytest.mark.anyio


async def test_only_what_is_ours_may_be_replaced(exporting: ExportWorld) -> None:
    await exporting.export()
    assert {job.overwrite for job in exporting.receiver.jobs} == {False}
    exporting.disk.write("001.jpg", b"an edit")
    await exporting.restart()
    await exporting.export()
    assert [(job.path, job.overwrite) for job in exporting.receiver.jobs] == [("001.jpg", True)]
    await exporting.restart()
    await exporting.export(overwrite=True)
    assert {job.overwrite for job in exporting.receiver.jobs} == {True}


async def test_a_job_says_where_and_what_and_nothing_more(make_export: MakeExport) -> None:
    world = make_export(
        [Remote("x.tar", b"t", part="p"), Remote("y", b"t", part="p", content_type="application/x-tar")]
    )
    world.batch.parts_there = ["p"]
    await world.export()
    jobs = {job.path: job for job in world.receiver.jobs}
    assert {path: job.kind for path, job in jobs.items()} == {"p/x.tar": FetchKind.TAR, "p/y": FetchKind.TAR}
    assert {(job.target, job.staging) for job in jobs.values()} == {(b"/target", b"/target/.staging")}
    assert len({job.number for job in jobs.values()}) == 2
    assert "c4n4ry" not in repr(world.receiver.jobs)


async def test_troubles_are_told_with_the_number_of_files_and_without_the_url(exporting: ExportWorld) -> None:
    exporting.receiver.by_name["000.jpg"] = deque([BUSY])
    await exporting.export()
    (told,) = [event for event in exporting.events if isinstance(event, FetchRetried)]
    assert (told.files, told.name, told.cause, told.detail) == (1, "000.jpg", "busy", "scripted busy")
    assert "c4n4ry" not in repr(exporting.events)


async def test_waits_double_and_end_with_the_budget(make_export: MakeExport) -> None:
    world = make_export(1)
    world.receiver.script.extend([BROKEN] * 1000)
    began = world.clock.now
    with pytest.raises(TroublePassing, match="scripted broken"):
        await world.export()
    told = [event.delay for event in world.events if isinstance(event, FetchRetried)]
    assert told[:4] == [1.0, 2.0, 4.0, 8.0]
    assert world.clock.now - began <= 61.0


async def test_a_rest_beyond_the_budget_ends_the_export(exporting: ExportWorld) -> None:
    exporting.receiver.script.append(dataclasses.replace(BUSY, retry_after=3600.0))
    with pytest.raises(TroublePassing):
        await exporting.export()


async def test_expired_urls_and_damaged_files_slow_nobody_down(make_export: MakeExport) -> None:
    world = make_export(4)
    for name in ("000.jpg", "001.jpg"):
        world.receiver.by_name[name] = deque([EXPIRED, EXPIRED, CORRUPT])
    levels: set[int] = set()
    world.listener = lambda event: levels.add(getattr(event, "concurrency", 8))
    report = await world.export(concurrency=None)
    assert (report.fetched, min(levels)) == (4, 8)


async def test_a_url_that_ended_with_its_file_is_named(make_export: MakeExport) -> None:
    world = make_export(4)

    def remove() -> None:
        world.files[:] = [file for file in world.files if file.name != "002.jpg"]

    world.receiver.by_name["002.jpg"] = deque([dataclasses.replace(EXPIRED, meanwhile=remove)])
    report = await world.export()
    assert (report.fetched, report.failed, report.closes) == (3, 1, True)
    assert report.failures[0].name == "002.jpg"


async def test_a_file_finds_the_next_free_name_among_foreign_ones(make_export: MakeExport) -> None:
    world = make_export([Remote("a.jpg", b"theirs"), Remote("x.tar", b"t", members=(("b.jpg", b"theirs"),))])
    for path in ("a.jpg", "a~2.jpg", "b.jpg", "b~2.jpg"):
        world.disk.write(path, b"mine")
    await world.export()
    assert {path for path, content in world.tree.items() if content == b"theirs"} == {"a~3.jpg", "b~3.jpg"}


async def test_foreign_files_that_keep_appearing_are_named_in_the_end(make_export: MakeExport) -> None:
    world = make_export([Remote("a.jpg", b"theirs")])
    for path in ["a.jpg", *[f"a~{number}.jpg" for number in range(2, 40)]]:
        world.disk.write(path, b"mine")
    report = await world.export()
    assert (report.failed, report.left, report.closes) == (1, 0, True)
    assert set(world.tree.values()) == {b"mine"}


async def test_members_in_whose_way_files_keep_appearing_are_named_in_the_end(make_export: MakeExport) -> None:
    world = make_export([Remote("x.tar", b"t", members=(("a.jpg", b"theirs"),))])
    world.receiver.landing_script.extend([FetchOutcome.TAKEN] * 1000)
    report = await world.export()
    assert (report.failed, report.failures[0].detail) == (1, "other files keep appearing where its members are to land")
