"""Whole exports over fakes: every end of one, every crash of one, and books that close after each."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import deque
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfbulk.core.export_report import ExportReport, KeptApart
from rfbulk.core.exporting import FailReason
from rfbulk.core.fetching import FetchOutcome
from rfbulk.errors import (
    NoRoom,
    NotAuthorised,
    ProtocolError,
    RfbulkError,
    ServiceRefused,
    TransferFailed,
    TroublePassing,
    UsageError,
)
from rfbulk.events import ExportProgress, FilesFetched, PhaseChanged, RemoteFileNamed, Warned
from rfbulk.pipeline.paging import PAGE_FILES
from tests.pipeline.conftest import MakeExport
from tests.support.export_fakes import (
    BROKEN,
    BUSY,
    CORRUPT,
    EXPIRED,
    GONE,
    GOOD,
    NO_ROOM,
    REFUSED,
    UNSAFE,
    UNVERIFIED,
    UNWRITABLE,
    Fetched,
    Remote,
)
from tests.support.export_world import ExportWorld
from tests.support.world import MEMORY, Crash, Interruption

pytestmark = pytest.mark.anyio

ARCHIVE = Remote("crops.tar.gz", b"an archive", members=(("a.jpg", b"A"), ("sub/b.jpg", b"B")))


def everything(world: ExportWorld) -> dict[str, bytes]:
    """What a straight export of plain files without parts leaves on the disk."""
    return {file.name: file.content for file in world.files}


# the straight way


async def test_every_file_comes_home_whole(exporting: ExportWorld) -> None:
    report = await exporting.export()
    assert everything(exporting) == exporting.tree
    assert (report.listed, report.fetched, report.already_here, report.files) == (6, 6, 0, 6)
    assert report.bytes == report.bytes_fetched == sum(map(len, exporting.tree.values()))
    assert report.closes
    assert not report.has_failures


async def test_phases_and_progress_are_told_and_no_event_is_of_one_small_file(make_export: MakeExport) -> None:
    world = make_export(40)
    world.batch.page_size = 40
    await world.export()
    phases = [event.phase for event in world.events if isinstance(event, PhaseChanged)]
    assert phases == ["listing", "fetching", "done"]
    last = [event for event in world.events if isinstance(event, ExportProgress)][-1]
    assert (last.files_listed, last.files_fetched, last.fetches_in_flight, last.listing_finished) == (40, 40, 0, True)
    groups = [event.files for event in world.events if isinstance(event, FilesFetched)]
    assert sum(groups) == 40
    assert len(groups) <= 12


async def test_a_page_is_asked_for_while_the_one_before_is_recorded_and_downloads_do_not_wait_for_it(
    make_export: MakeExport,
) -> None:
    """A listing that is slow costs its own time only: neither a commit nor a download stands behind it."""
    world = make_export(12)
    world.batch.page_seconds = 5.0
    fetched_before: list[int] = []
    world.batch.before_page = lambda _token: fetched_before.append(len(world.receiver.jobs))
    await world.export()
    assert fetched_before == [0, 4, 8]
    calls = [name for name in world.calls if name in {"files_page", "take_page"}]
    assert sorted(calls[1:3]) == ["files_page", "take_page"]
    assert world.batch.listings == {("", None): 1, ("", "4"): 1, ("", "8"): 1}


async def test_no_page_is_a_barrier(make_export: MakeExport) -> None:
    """A slow file of the first page does not keep the second from being fetched."""
    world = make_export(8)
    order: list[str] = []
    slow = dataclasses.replace(BUSY, retry_after=None)
    world.receiver.by_name["000.jpg"] = deque([slow] * 3)
    await world.export(concurrency=4)
    order = world.receiver.fetched
    assert order.index("007.jpg") < len(order) - 1 - order[::-1].index("000.jpg")
    assert everything(world) == world.tree


@pytest.mark.parametrize(("suffix", "cores", "first"), [("jpg", 4, 8), ("mp4", 4, 8), ("tar", 4, 4), ("tar", 1, 2)])
async def test_archives_begin_with_a_place_for_each_core_and_plain_files_with_more(
    make_export: MakeExport, suffix: str, cores: int, first: int
) -> None:
    world = make_export([Remote(f"{number}.{suffix}", b"it") for number in range(20)])
    world.batch.page_size, world.cores = 20, cores
    most: list[int] = []
    world.receiver.script.extend(
        dataclasses.replace(GOOD, meanwhile=lambda: most.append(len(world.receiver.groups))) for _ in range(20)
    )
    world.receiver.seconds = 0.001
    await world.export(concurrency=None)
    assert most[0] == first


async def test_each_part_lands_in_a_folder_of_its_own(make_export: MakeExport) -> None:
    world = make_export([Remote("a.jpg", b"1", part="images"), Remote("a.jpg", b"2", part="labels")])
    world.batch.parts_there = ["images", "labels"]
    report = await world.export()
    assert world.tree == {"images/a.jpg": b"1", "labels/a.jpg": b"2"}
    assert (report.parts, report.kept_apart) == (["images", "labels"], 0)


async def test_only_the_parts_that_were_asked_for_are_listed(make_export: MakeExport) -> None:
    world = make_export([Remote("a.jpg", b"1", part="images"), Remote("a.jpg", b"2", part="labels")])
    world.batch.parts_there = ["images", "labels"]
    report = await world.export(parts=("labels",))
    assert world.tree == {"labels/a.jpg": b"2"}
    assert (report.listed, report.closes) == (1, True)
    await world.restart()
    report = await world.export()
    assert (report.listed, report.fetched, report.already_here) == (2, 1, 1)


async def test_equal_names_of_two_shards_are_kept_apart_and_told(make_export: MakeExport) -> None:
    world = make_export([Remote("a.jpg", b"1", shard="s1"), Remote("a.jpg", b"2", shard="s2"), Remote("A.JPG", b"3")])
    report = await world.export()
    assert world.tree == {"a.jpg": b"1", "a~2.jpg": b"2", "A~3.JPG": b"3"}
    assert report.kept_apart == 2
    assert report.kept_apart_files[0] == KeptApart("", "a.jpg", "a~2.jpg")


async def test_equal_names_of_one_shard_are_told_apart_by_their_order(make_export: MakeExport) -> None:
    world = make_export([Remote("a.jpg", b"%d" % number) for number in range(6)])
    await world.export()
    assert len(world.tree) == 6
    await world.restart()
    report = await world.export()
    assert (report.already_here, world.receiver.jobs) == (6, [])


async def test_a_name_that_leads_out_is_named_and_never_asked_for(make_export: MakeExport) -> None:
    world = make_export([Remote("../evil.jpg"), Remote("/etc/passwd"), Remote("good.jpg")])
    report = await world.export()
    assert list(world.tree) == ["good.jpg"]
    assert {failure.name: failure.reason for failure in report.failures} == {
        "../evil.jpg": FailReason.NAME,
        "/etc/passwd": FailReason.NAME,
    }
    assert (report.listed, report.failed, report.closes) == (3, 2, True)
    assert len([event for event in world.events if isinstance(event, RemoteFileNamed)]) == 2
    await world.restart()
    assert (await world.export()).failed == 2


async def test_a_reserved_path_is_nobodys(make_export: MakeExport) -> None:
    world = make_export([Remote("batch.manifest.jsonl")])
    report = await world.export(reserved=("batch.manifest.jsonl",))
    assert list(world.tree) == ["batch.manifest~2.jsonl"]
    assert report.kept_apart == 1


async def test_what_nothing_checked_is_marked_unverified(exporting: ExportWorld) -> None:
    exporting.receiver.by_name["003.jpg"] = deque([UNVERIFIED])
    report = await exporting.export()
    assert (report.unverified, report.unverified_files) == (1, ["003.jpg"])


# archives


async def test_an_archives_members_land_in_the_folder_of_the_archive(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE, Remote("c.jpg", b"C")])
    report = await world.export()
    assert world.tree == {"a.jpg": b"A", "sub/b.jpg": b"B", "c.jpg": b"C"}
    assert (report.listed, report.files, report.bytes, world.disk.staged) == (2, 3, 3, {})


async def test_an_archive_is_kept_whole_where_that_is_asked_for(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE])
    await world.export(unpack=False)
    assert world.tree == {"crops.tar.gz": b"an archive"}


async def test_members_that_meet_are_kept_apart(make_export: MakeExport) -> None:
    other = Remote("more.tar", b"another", members=(("A.jpg", b"other A"), ("sub", b"a file")))
    world = make_export([ARCHIVE, other])
    report = await world.export(concurrency=1)
    assert world.tree == {"a.jpg": b"A", "sub/b.jpg": b"B", "A~2.jpg": b"other A", "sub~2": b"a file"}
    assert report.kept_apart == 2


async def test_refused_members_are_named_and_the_export_has_failures(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE])
    world.receiver.script.append(Fetched(refused=(("../evil", "it leads out"),)))
    report = await world.export()
    assert (report.refused_members, report.has_failures, report.closes) == (1, True, True)
    assert report.refused_member_files[0].member == "../evil"


async def test_a_lost_member_brings_its_archive_home_again_to_the_same_places(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE, dataclasses.replace(ARCHIVE, name="again.tar", members=(("a.jpg", b"X"),))])
    await world.export(concurrency=1)
    before = world.tree
    del world.disk.files["a~2.jpg"]
    await world.restart()
    report = await world.export()
    assert before == world.tree
    assert (report.restored, report.already_here, report.fetched) == (1, 1, 1)


async def test_staged_members_that_are_lost_are_fetched_again(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE])
    world.receiver.landing_script.extend([FetchOutcome.GONE, FetchOutcome.GONE])
    report = await world.export()
    assert (report.fetched, len(world.receiver.jobs)) == (1, 2)
    assert world.tree == {"a.jpg": b"A", "sub/b.jpg": b"B"}


async def test_an_archive_whose_members_cannot_be_written_is_named(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE])
    world.receiver.landing_script.append(FetchOutcome.UNWRITABLE)
    report = await world.export()
    assert (report.failed, report.failures[0].reason, report.closes) == (1, FailReason.UNWRITABLE, True)
    await world.restart()
    assert (await world.export()).fetched == 1


# once


async def test_the_same_again_fetches_nothing_and_lists_pages_only(exporting: ExportWorld) -> None:
    await exporting.export()
    await exporting.restart()
    report = await exporting.export()
    assert exporting.receiver.jobs == []
    assert (report.already_here, report.fetched, report.bytes_received) == (6, 0, 0)
    assert exporting.batch.listings.total() == 2


async def test_new_files_are_added(exporting: ExportWorld) -> None:
    await exporting.export()
    await exporting.restart()
    exporting.files.insert(0, Remote("new.jpg", b"new"))
    report = await exporting.export()
    assert (report.already_here, report.fetched) == (6, 1)
    assert everything(exporting) == exporting.tree


@pytest.mark.parametrize("is_changed", [False, True], ids=["deleted", "changed"])
async def test_a_file_that_was_deleted_or_changed_here_is_restored_and_told(
    exporting: ExportWorld, is_changed: bool
) -> None:
    await exporting.export()
    if is_changed:
        exporting.disk.write("002.jpg", b"an edit")
    else:
        del exporting.disk.files["002.jpg"]
    await exporting.restart()
    report = await exporting.export()
    assert everything(exporting) == exporting.tree
    assert (report.restored, report.changed_here, report.fetched, report.already_here) == (1, is_changed, 1, 5)
    assert report.restored_files == ["002.jpg"]
    await exporting.restart()
    assert (await exporting.export()).restored == 0


async def test_overwrite_fetches_everything_anew_and_replaces_what_is_in_the_way(exporting: ExportWorld) -> None:
    exporting.disk.write("001.jpg", b"foreign")
    await exporting.export(overwrite=True)
    assert everything(exporting) == exporting.tree
    await exporting.restart()
    report = await exporting.export(overwrite=True)
    assert (report.fetched, report.already_here, report.kept_apart) == (6, 0, 0)
    assert everything(exporting) == exporting.tree


async def test_an_overwriting_run_that_was_killed_is_finished_by_a_plain_one(make_export: MakeExport) -> None:
    """What earlier runs fetched is ours: newer content takes its place, and is not kept apart from it."""
    world = make_export(6)
    await world.export()
    world.files[:] = [dataclasses.replace(file, content=b"new " + file.content) for file in world.files]
    await world.restart()
    world.interruption = Interruption(3, of=frozenset({"fetch"}))
    world.interruption.strike = world.interruption.crash
    with pytest.raises(Crash):
        await world.export(overwrite=True, concurrency=1)
    await world.restart()
    report = await world.export()
    assert everything(world) == world.tree
    assert (report.kept_apart, report.restored, report.left) == (0, 0, 0)


async def test_a_foreign_file_is_never_overwritten(exporting: ExportWorld) -> None:
    exporting.disk.write("001.jpg", b"foreign")
    report = await exporting.export()
    assert exporting.tree == everything(exporting) | {"001.jpg": b"foreign", "001~2.jpg": b"image 1"}
    assert (report.kept_apart, report.fetched) == (1, 6)
    await exporting.restart()
    report = await exporting.export()
    assert (report.already_here, report.kept_apart, exporting.receiver.jobs) == (6, 1, [])


async def test_a_foreign_file_in_the_way_of_a_member_stays_too(make_export: MakeExport) -> None:
    world = make_export([ARCHIVE])
    world.disk.write("a.jpg", b"foreign")
    await world.export()
    assert world.tree == {"a.jpg": b"foreign", "a~2.jpg": b"A", "sub/b.jpg": b"B"}


async def test_a_file_of_the_same_content_counts_as_here(exporting: ExportWorld) -> None:
    """As after a lost checkpoint: nothing is doubled."""
    for path, content in everything(exporting).items():
        exporting.disk.write(path, content)
    report = await exporting.export()
    assert (report.fetched, report.kept_apart) == (6, 0)
    assert everything(exporting) == exporting.tree


async def test_what_is_not_listed_any_more_and_not_here_has_failed(exporting: ExportWorld) -> None:
    exporting.receiver.by_name["005.jpg"] = deque([REFUSED])
    await exporting.export()
    await exporting.restart()
    del exporting.files[4:]
    report = await exporting.export()
    assert (report.listed, report.already_here, report.failed, report.closes) == (6, 5, 1, True)
    assert report.failures[0].reason is FailReason.NOT_LISTED


# troubles


async def test_an_expired_url_is_renewed_from_its_own_page_alone(make_export: MakeExport) -> None:
    world = make_export(12)
    world.receiver.by_name["005.jpg"] = deque([EXPIRED])
    report = await world.export()
    assert everything(world) == world.tree
    assert (report.fetched, report.retries) == (12, {"expired": 1})
    assert world.batch.listings["", "4"] == 2
    assert world.batch.listings.total() == 4


async def test_files_of_one_page_share_its_listing(make_export: MakeExport) -> None:
    world = make_export(8)
    world.batch.page_size = 8
    for number in range(8):
        world.receiver.by_name[f"{number:03}.jpg"] = deque([EXPIRED])
    report = await world.export(concurrency=8)
    assert (report.fetched, report.retries["expired"]) == (8, 8)
    assert world.batch.listings["", None] <= 3


async def test_urls_that_live_for_a_second_end_in_a_whole_tree(make_export: MakeExport) -> None:
    world = make_export(24)
    world.batch.lifetime, world.batch.page_size = 1.0, 12
    world.receiver.seconds = 0.3
    report = await world.export(concurrency=2)
    assert everything(world) == world.tree
    assert (report.fetched, report.closes) == (24, True)


async def test_a_page_that_has_shifted_is_searched_for(make_export: MakeExport) -> None:
    world = make_export(8)

    def shift() -> None:
        world.files.insert(0, Remote("new.jpg", b"new"))

    world.receiver.by_name["004.jpg"] = deque([dataclasses.replace(EXPIRED, meanwhile=shift)])
    report = await world.export()
    assert world.tree["004.jpg"] == b"image 4"
    assert report.closes


async def test_a_token_that_has_ended_too_is_no_obstacle(make_export: MakeExport) -> None:
    world = make_export(8)

    def end_token() -> None:
        world.batch.troubles["files"] = deque([ServiceRefused("list", cause="no such token", status=400)])

    world.receiver.by_name["007.jpg"] = deque([dataclasses.replace(EXPIRED, meanwhile=end_token)])
    report = await world.export(concurrency=1)
    assert (report.fetched, everything(world)) == (8, world.tree)


async def test_urls_that_always_end_at_once_are_named_in_the_end(exporting: ExportWorld) -> None:
    exporting.batch.lifetime = 0.0
    report = await exporting.export()
    assert (report.failed, report.left, report.closes) == (6, 0, True)
    assert {failure.reason for failure in report.failures} == {FailReason.EXPIRES}


async def test_gone_under_a_fresh_url_is_gone(exporting: ExportWorld) -> None:
    exporting.receiver.by_name["001.jpg"] = deque([GONE])
    exporting.receiver.by_name["002.jpg"] = deque([GONE, GONE])
    report = await exporting.export()
    assert (report.fetched, report.failed) == (5, 1)
    assert (report.failures[0].name, report.failures[0].reason) == ("002.jpg", FailReason.GONE)


@pytest.mark.parametrize(
    ("act", "reason"),
    [(REFUSED, FailReason.REFUSED), (UNSAFE, FailReason.UNSAFE), (UNWRITABLE, FailReason.UNWRITABLE)],
)
async def test_a_final_outcome_is_named_and_tried_again_by_the_next_run(
    exporting: ExportWorld, act: Fetched, reason: FailReason
) -> None:
    exporting.receiver.by_name["001.jpg"] = deque([act])
    report = await exporting.export()
    assert (report.fetched, report.failed, report.failures[0].reason) == (5, 1, reason)
    await exporting.restart()
    report = await exporting.export()
    assert (report.fetched, report.already_here, report.failed) == (1, 5, 0)


async def test_a_damaged_file_is_fetched_again_twice_and_then_named(exporting: ExportWorld) -> None:
    exporting.receiver.by_name["001.jpg"] = deque([CORRUPT] * 2)
    exporting.receiver.by_name["002.jpg"] = deque([CORRUPT] * 3)
    report = await exporting.export()
    assert (report.fetched, report.failed, report.failures[0].reason) == (5, 1, FailReason.CORRUPT)


async def test_what_a_receiver_did_not_try_is_tried_next_and_costs_no_patience(exporting: ExportWorld) -> None:
    exporting.receiver.script.extend([BUSY, BUSY])
    report = await exporting.export(concurrency=1)
    assert (report.fetched, report.retries) == (6, {"store 503": 2})


async def test_a_file_in_trouble_does_not_hold_up_its_group(make_export: MakeExport) -> None:
    world = make_export(4)
    world.receiver.by_name["000.jpg"] = deque([BROKEN] * 1000)
    report = await world.export(concurrency=1)
    assert (report.fetched, report.left, report.closes) == (3, 1, True)


async def test_a_retry_after_is_a_rest_for_all(make_export: MakeExport) -> None:
    world = make_export(8)
    world.receiver.script.append(dataclasses.replace(BUSY, retry_after=30.0))
    began = world.clock.now
    await world.export(concurrency=4)
    assert world.clock.now - began >= 30.0
    assert everything(world) == world.tree


async def test_a_line_that_stays_down_ends_the_export_with_its_books(exporting: ExportWorld) -> None:
    exporting.receiver.script.extend([GOOD, *[BROKEN] * 1000])
    with pytest.raises(TroublePassing) as caught:
        await exporting.export(concurrency=1)
    report = caught.value.export_report
    assert report is not None
    assert (report.fetched, report.left, report.closes) == (1, 5, True)
    await exporting.restart()
    exporting.receiver.script.clear()
    assert (await exporting.export()).already_here == 1
    assert everything(exporting) == exporting.tree


async def test_a_full_disk_ends_the_export_and_room_resumes_it(exporting: ExportWorld) -> None:
    exporting.receiver.script.extend([GOOD, NO_ROOM])
    with pytest.raises(NoRoom, match="run the same again") as caught:
        await exporting.export(concurrency=1)
    assert caught.value.export_report is not None
    assert caught.value.export_report.closes
    await exporting.restart()
    report = await exporting.export()
    assert (report.already_here, report.left) == (1, 0)
    assert everything(exporting) == exporting.tree


async def test_a_listing_that_goes_round_is_refused(exporting: ExportWorld) -> None:
    exporting.batch.goes_round = True
    with pytest.raises(ProtocolError):
        await exporting.export()


async def test_a_service_that_refuses_a_page_size_is_listed_in_its_own(make_export: MakeExport) -> None:
    names = ["images", "labels"]
    world = make_export([Remote(f"{number}.jpg", b"x", part=name) for name in names for number in range(8)])
    world.batch.parts_there, world.batch.knows_sizes = names, False
    report = await world.export()
    assert (report.fetched, report.closes) == (16, True)
    assert world.batch.sizes == {PAGE_FILES: 2, None: 4}


async def test_troubles_of_the_listing_are_borne(exporting: ExportWorld) -> None:
    for operation in ("batch", "files"):
        exporting.batch.troubles[operation] = deque([TroublePassing("list", status=503, retry_after=2.0)])
    report = await exporting.export()
    assert (report.fetched, report.retries) == (6, {"api 503": 2})


@pytest.mark.parametrize(("most", "ends"), [(0, True), (1, True), (2, False), (None, False)])
async def test_more_failures_than_are_borne_end_the_export(
    exporting: ExportWorld, most: int | None, ends: bool
) -> None:
    exporting.receiver.script.extend([REFUSED, REFUSED])
    if not ends:
        assert (await exporting.export(max_failures=most)).failed == 2
        return
    with pytest.raises(TransferFailed, match="files have failed") as caught:
        await exporting.export(max_failures=most, concurrency=1)
    assert caught.value.export_report is not None
    assert caught.value.export_report.closes


# ends


async def test_a_batch_without_files_is_warned_of(make_export: MakeExport) -> None:
    world = make_export([])
    report = await world.export()
    assert (report.listed, report.closes) == (0, True)
    assert Warned("batch batch lists no file: is it ready?") in world.events


async def test_an_unknown_batch_is_a_usage_error(exporting: ExportWorld) -> None:
    exporting.batch.exists = False
    with pytest.raises(UsageError, match="no such batch"):
        await exporting.export()


async def test_an_unknown_part_is_a_usage_error_that_names_those_there_are(exporting: ExportWorld) -> None:
    exporting.batch.parts_there = ["images", "labels"]
    with pytest.raises(UsageError, match=r"it has no part 'videos'.*images, labels"):
        await exporting.export(parts=("videos", "labels"))


async def test_a_part_of_a_batch_without_parts_is_a_usage_error(exporting: ExportWorld) -> None:
    with pytest.raises(UsageError, match="leave --part out"):
        await exporting.export(parts=("videos",))


async def test_an_error_of_ours_comes_out_as_itself(exporting: ExportWorld) -> None:
    exporting.batch.troubles["files"] = deque([NotAuthorised("list", "files")])
    with pytest.raises(NotAuthorised) as caught:
        await exporting.export()
    assert caught.value.export_report is not None


async def test_a_defect_comes_out_as_itself(exporting: ExportWorld) -> None:
    def raise_it() -> None:
        raise LookupError

    exporting.receiver.script.append(dataclasses.replace(GOOD, meanwhile=raise_it))
    with pytest.raises(LookupError):
        await exporting.export()


async def test_an_error_is_not_hidden_by_a_disk_that_fails_next(exporting: ExportWorld) -> None:
    exporting.receiver.script.extend([GOOD, NO_ROOM])

    def fail() -> None:
        raise TransferFailed("write")

    exporting.interruption = Interruption(1, of=frozenset({"sync"}), strike=fail)
    with pytest.raises(NoRoom):
        await exporting.export(concurrency=1)


async def test_a_stop_lets_fetches_in_flight_finish_and_begins_no_other(make_export: MakeExport) -> None:
    world = make_export(12)
    stop = anyio.Event()
    world.receiver.seconds = 1.0
    world.receiver.script.append(dataclasses.replace(GOOD, meanwhile=stop.set))
    report = await world.export(stop=stop, concurrency=2)
    assert 0 < report.fetched < 12
    assert (report.left > 0, report.closes) == (True, True)
    await world.restart()
    assert (await world.export()).left == 0
    assert everything(world) == world.tree


async def test_a_stop_ends_within_the_grace(exporting: ExportWorld) -> None:
    stop = anyio.Event()
    exporting.receiver.script.append(dataclasses.replace(BUSY, retry_after=50.0, meanwhile=stop.set))
    report = await exporting.export(stop=stop, grace_seconds=5.0, concurrency=1)
    assert exporting.clock.now < 1010.0
    assert (report.left > 0, report.closes) == (True, True)


async def test_a_stop_before_anything_is_no_error(exporting: ExportWorld) -> None:
    stop = anyio.Event()
    stop.set()
    report = await exporting.export(stop=stop)
    assert (report.listed, report.closes) == (0, True)


# crashes and cancellation


def tangled() -> list[Remote]:
    """Files of every kind in one batch."""
    return [
        Remote("a.jpg", b"1", shard="s1"),
        Remote("a.jpg", b"2", shard="s2"),
        ARCHIVE,
        Remote("b.jpg", b"3"),
        Remote("b.jpg", b"4"),
        Remote("more.tar", b"more", members=(("b.jpg", b"5"), ("sub/b.jpg", b"6"))),
        Remote("c.jpg", b"7"),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["instead of", "after"])
async def test_a_crash_at_any_call_resumes_to_the_same_contents(make_export: MakeExport, after: bool) -> None:
    world = make_export(tangled())
    await world.export(concurrency=1)
    expected = world.tree
    number, has_crashed = 0, True
    while has_crashed:
        number += 1
        world = make_export(tangled())
        world.interruption = Interruption(number, after=after)
        world.interruption.strike = world.interruption.crash
        has_crashed = False
        try:
            await world.export(concurrency=1)
        except Crash:
            has_crashed = True
        await world.restart()
        report = await world.export(concurrency=1)
        assert (report.listed, report.failed, report.left, report.closes) == (7, 0, 0, True), number
        assert expected == world.tree, f"dead at call {number}"
        assert world.disk.staged == {}
    assert number > 20


@pytest.mark.slow
async def test_cancelled_at_any_call_it_leaves_what_a_resume_needs(make_export: MakeExport) -> None:
    number, was_cancelled = 0, True
    while was_cancelled:
        number += 1
        world = make_export(tangled())
        with anyio.CancelScope() as scope:
            world.interruption = Interruption(number, strike=scope.cancel)
            await world.export(concurrency=2)
        was_cancelled = scope.cancelled_caught
        assert world.receiver.under_way == set()
        await world.restart()
        report = await world.export(concurrency=2)
        assert (report.listed, report.failed, report.left, report.closes) == (7, 0, 0, True), number
        assert sorted(world.tree.values()) == sorted([b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"A", b"B"])
    assert number > 20


# the books

ACTS = [GOOD, BUSY, BROKEN, CORRUPT, GONE, EXPIRED, REFUSED, UNSAFE, UNWRITABLE, UNVERIFIED, NO_ROOM]
LANDINGS = [FetchOutcome.FETCHED, FetchOutcome.GONE, FetchOutcome.UNWRITABLE, FetchOutcome.NO_ROOM]


@dataclasses.dataclass(frozen=True)
class Story:
    """Runs of one export: what each attempt comes to, when the process dies, what happens to the disk between."""

    scripts: list[list[Fetched]]
    landings: list[FetchOutcome]
    crashes: list[int]
    lifetime: float
    page_size: int
    knows_sizes: bool
    concurrency: int | None
    edits: list[int]


stories = st.builds(
    Story,
    scripts=st.lists(st.lists(st.sampled_from(ACTS), max_size=12), min_size=1, max_size=3),
    landings=st.lists(st.sampled_from(LANDINGS), max_size=6),
    crashes=st.lists(st.integers(1, 60), max_size=3),
    lifetime=st.sampled_from([3600.0, 5.0]),
    page_size=st.sampled_from([1, 3, 100]),
    knows_sizes=st.booleans(),
    concurrency=st.sampled_from([1, 2, None]),
    edits=st.lists(st.integers(0, 20), max_size=3),
)


@pytest.mark.slow
@given(story=stories)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_books_close_and_everything_is_home_once_whatever_happens(story: Story) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as text:
        world = ExportWorld(Path(text), tangled())
        await anyio.to_thread.run_sync(world.open)
        try:
            await _live_through(world, story)
        finally:
            await anyio.to_thread.run_sync(world.close)


async def _live_through(world: ExportWorld, story: Story) -> None:
    world.batch.lifetime, world.batch.page_size = story.lifetime, story.page_size
    world.batch.knows_sizes = story.knows_sizes
    world.receiver.landing_script.extend(story.landings)
    crashes = deque(story.crashes)
    for script in story.scripts:
        world.receiver.script = deque(script)
        if crashes:
            world.interruption = Interruption(crashes.popleft())
            world.interruption.strike = world.interruption.crash
        await _run_and_check(world, story.concurrency)
        await world.restart()
        for number in story.edits:
            paths = sorted(world.disk.files)
            if paths:
                world.disk.write(paths[number % len(paths)], b"an edit")
    world.receiver.script.clear()
    world.receiver.landing_script.clear()
    world.batch.lifetime = 3600.0
    report = await _run_and_check(world, story.concurrency)
    assert report is not None
    assert (report.listed, report.failed, report.left) == (7, 0, 0)
    homes = [content for content in world.tree.values() if content != b"an edit"]
    assert sorted(set(homes)) == sorted([b"1", b"2", b"3", b"4", b"5", b"6", b"7", b"A", b"B"])


async def _run_and_check(world: ExportWorld, concurrency: int | None) -> ExportReport | None:
    try:
        report = await world.export(concurrency=concurrency)
    except Crash:
        return None
    except RfbulkError as error:
        report = error.export_report or ExportReport(batch_id="", target="", listed=-1)
    assert report.closes, report
    assert b"X-Goog-Signature" not in await anyio.Path(world.inner.path).read_bytes()
    return report
