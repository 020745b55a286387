"""Batches come home whole and once, whatever the service, the store and the line do."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from crc32c import crc32c

from rfbulk import Client, ExportOptions, Settings
from rfbulk.core.exporting import FailReason
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import DownloadOptions, Emulator, EmulatorOptions, Made, NewFile
from rfbulk.errors import CheckpointBusy, UsageError
from rfbulk.events import FilesFetched
from tests.support.batches import results_batch, tar_of, tree_of

pytestmark = pytest.mark.anyio


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
async def results(emulator: Emulator) -> dict[str, bytes]:
    """Fill the batch `results`, and say what its export leaves."""
    parts, tree = results_batch()
    await emulator.add_batch("results", parts=parts)
    return tree


def hidden_in(folder: Path) -> list[str]:
    return [name for name in names_in(folder) if name.startswith(".")]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read(path: str) -> str:
    return Path(path).read_text()


# the straight way


async def test_a_batch_of_parts_comes_home_whole_and_the_books_close(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    report = await client.export("results", folder)
    assert results == tree_of(folder)
    assert (report.listed, report.fetched, report.files, report.closes) == (45, 45, len(results), True)
    assert (report.unverified, report.kept_apart, report.has_failures) == (0, 0, False)
    assert hidden_in(folder) == []


async def test_the_same_again_asks_for_pages_and_for_no_file(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    await client.export("results", folder)
    before = emulator.requests.copy()
    report = await client.export("results", folder)
    assert (report.already_here, report.fetched) == (45, 0)
    asked = emulator.requests - before
    assert (asked["download"], asked["list"]) == (0, 3)


async def test_a_sharded_batch_of_an_upload_comes_home_as_it_was_sent(
    client: Client, emulator: Emulator, tmp_path: Path, folder: Path
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(30):
        (source / f"{number:03}.jpg").write_bytes(b"\xff\xd8" + bytes([number]) * 100)
    await client.upload_images(source, "there")
    await client.export("there", folder)
    assert tree_of(source) == tree_of(folder)


async def test_the_manifest_tells_of_each_file_where_it_is_from_and_how_it_was_checked(
    client: Client, results: dict[str, bytes], folder: Path
) -> None:
    report = await client.export("results", folder)
    text = read(report.manifest)
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["path"]: (line["size"], line["crc32c"]) for line in lines} == {
        path: (len(content), f"{crc32c(content):08x}") for path, content in results.items()
    }
    by_path = {line["path"]: line for line in lines}
    crop = by_path["archives/crop-000.png"]
    assert (crop["batch"], crop["part"], crop["name"], crop["member"]) == (
        "results",
        "archives",
        "crops.tar.gz",
        "crop-000.png",
    )
    assert {line["checked"] for line in lines} == {"crc32c"}
    assert "Signature" not in text


async def test_results_are_merged_with_their_sources(
    client: Client, results: dict[str, bytes], folder: Path, tmp_path: Path
) -> None:
    merged = tmp_path / "all.jsonl"
    report = await client.export("results", folder, options=ExportOptions(merge=merged))
    rows = [json.loads(line) for line in merged.read_text().splitlines()]
    assert [(row["n"], row["source_file"]) for row in rows] == [(n, f"results/results-{n}.jsonl") for n in range(3)]
    assert report.merged is not None
    assert (report.merged.rows, report.merged.bad) == (3, 0)


async def test_the_report_file_tells_every_files_fate(
    client: Client, emulator: Emulator, folder: Path, tmp_path: Path
) -> None:
    await emulator.add_batch("mixed", files=[("good.jpg", b"good"), ("../evil.jpg", b"evil")])
    path = tmp_path / "report.jsonl"
    report = await client.export("mixed", folder, options=ExportOptions(report_file=path))
    summary, *lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert (summary["summary"]["listed"], report.failures[0].reason) == (2, FailReason.NAME)
    assert {line["name"]: line["fate"] for line in lines} == {"good.jpg": "fetched", "../evil.jpg": "failed"}


async def test_equal_names_of_two_shards_are_both_there(client: Client, emulator: Emulator, folder: Path) -> None:
    files = [NewFile("a.jpg", b"one", "s-1"), NewFile("a.jpg", b"two", "s-2"), NewFile("A.jpg", b"three", "s-2")]
    await emulator.add_batch("twins", files=files)
    report = await client.export("twins", folder)
    assert tree_of(folder) == {"a.jpg": b"one", "a~2.jpg": b"two", "A~3.jpg": b"three"}
    assert (report.kept_apart, [one.path for one in report.kept_apart_files]) == (2, ["a~2.jpg", "A~3.jpg"])


async def test_a_hostile_name_writes_nothing_outside(
    client: Client, emulator: Emulator, folder: Path, tmp_path: Path
) -> None:
    names = ["../evil.jpg", "/etc/evil.jpg", "a/../../evil.jpg", "ok/../../../evil.jpg", "good.jpg"]
    await emulator.add_batch("hostile", parts={"../part": [(name, b"x") for name in names]})
    report = await client.export("hostile", folder)
    assert tree_of(folder) == {"%2E._part/good.jpg": b"x"}
    assert names_in(tmp_path) == ["home", "state"]
    assert (report.failed, report.closes) == (4, True)


async def test_a_hostile_archive_lands_only_what_is_sound(client: Client, emulator: Emulator, folder: Path) -> None:
    archive = tar_of({"../evil.jpg": b"evil", "good.jpg": b"good", "/abs.jpg": b"abs"})
    await emulator.add_batch("hostile", files=[("crops.tar", archive)])
    report = await client.export("hostile", folder)
    assert tree_of(folder) == {"good.jpg": b"good"}
    assert (report.refused_members, report.has_failures) == (2, True)


async def test_archives_stay_whole_where_that_is_asked_for_and_it_cannot_be_changed_midway(
    client: Client, results: dict[str, bytes], folder: Path
) -> None:
    await client.export("results", folder, options=ExportOptions(unpack=False, parts=("archives",)))
    assert sorted(tree_of(folder)) == ["archives/crops.tar.gz", "archives/masks.tar"]
    with pytest.raises(UsageError, match="--no-unpack"):
        await client.export("results", folder)


async def test_a_part_that_is_not_there_is_refused_by_name(
    client: Client, results: dict[str, bytes], folder: Path
) -> None:
    with pytest.raises(UsageError, match="its parts are images, archives, results"):
        await client.export("results", folder, options=ExportOptions(parts=("videos",)))


# once


async def test_what_was_deleted_or_changed_here_is_restored(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    await client.export("results", folder)
    (folder / "images/img-00003.jpg").unlink()
    (folder / "images/img-00004.jpg").write_bytes(b"an edit")
    (folder / "archives/day-1/mask-003.png").unlink()
    before = emulator.requests["download"]
    report = await client.export("results", folder)
    assert results == tree_of(folder)
    assert (report.restored, report.changed_here, emulator.requests["download"] - before) == (3, 1, 3)


async def test_files_of_others_are_left_alone(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "images/img-00003.jpg").write_bytes(b"mine")
    report = await client.export("results", folder)
    theirs = results["images/img-00003.jpg"]
    assert tree_of(folder) == results | {"images/img-00003.jpg": b"mine", "images/img-00003~2.jpg": theirs}
    assert report.kept_apart == 1
    report = await client.export("results", folder, options=ExportOptions(overwrite=True))
    assert (report.fetched, (folder / "images/img-00003.jpg").read_bytes()) == (45, b"mine")


async def test_overwrite_replaces_what_lies_in_the_way(client: Client, results: dict[str, bytes], folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    (folder / "images/img-00003.jpg").write_bytes(b"mine")
    await client.export("results", folder, options=ExportOptions(overwrite=True))
    assert results == tree_of(folder)


async def test_a_lost_checkpoint_doubles_nothing(client: Client, results: dict[str, bytes], folder: Path) -> None:
    await client.export("results", folder)
    report = await client.export("results", folder, options=ExportOptions(restart=True))
    assert results == tree_of(folder)
    assert (report.fetched, report.kept_apart) == (45, 0)


async def test_a_second_export_into_the_same_folder_leaves_at_once(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    emulator.faults.add("list:slow,seconds=0.5")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(client.export, "results", folder)
        while not emulator.requests["list"]:  # noqa: ASYNC110 - the emulator sets no event
            await anyio.sleep(0.005)
        with pytest.raises(CheckpointBusy):
            await client.export("results", folder)
    assert results == tree_of(folder)


# troubles


@pytest.mark.parametrize(
    "faults",
    [
        ("download:status=503,times=20", "download:status=429,Retry-After=0,times=3", "download:status=408"),
        ("download:reset,after-bytes=100,times=3", "download:reset", "download:swallow,times=2"),
        (
            "download:truncate,times=3",
            "download:shorter",
            "download:longer",
        ),  # three damages of one file would be final
        ("download:corrupt", "download:wrong-hash", "download:html,times=2"),
        ("download:no-length,times=2", "download:slow,bytes-per-second=500000"),
        ("download:stall,seconds=30",),
        ("list:status=503,times=2", "list:reset", "list:swallow"),
        ("parts:status=502", "batch:status=500", "workspace:status=503"),
    ],
    ids=lambda faults: faults[0],
)
async def test_passing_faults_are_survived(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path, faults: tuple[str, ...]
) -> None:
    emulator.faults.add(*faults)
    report = await client.export("results", folder)
    assert report.failures == []
    assert (report.fetched, report.left, report.failed, report.closes) == (45, 0, 0, True)
    assert results == tree_of(folder)


@pytest.mark.parametrize(
    ("options", "listings"),
    [
        (EmulatorOptions(page_size=10), 3),
        (EmulatorOptions(page_size=10, asked_page_size="ignored"), 6),
        (EmulatorOptions(page_size=10, asked_page_size="refused"), 9),
    ],
)
async def test_large_pages_are_listed_by_a_service_that_has_them_and_its_own_by_one_that_has_not(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path, listings: int
) -> None:
    report = await client.export("results", folder)
    assert results == tree_of(folder)
    assert (report.fetched, emulator.requests["list"]) == (45, listings)


@pytest.mark.parametrize("options", [EmulatorOptions(page_size=10, asked_page_size="ignored")])
async def test_urls_that_end_midway_are_renewed_by_the_pages_needed(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    ends = [False]

    def on_event(event: object) -> None:
        if isinstance(event, FilesFetched) and not ends[0]:
            ends[0] = True
            emulator.clock.advance(7200)

    report = await client.export("results", folder, options=ExportOptions(concurrency=2), on_event=on_event)
    assert results == tree_of(folder)
    assert (report.fetched, report.closes) == (45, True)
    assert report.retries["expired"] > 0
    assert emulator.requests["list"] <= 2 * 6


@pytest.mark.parametrize(
    "options", [EmulatorOptions(downloads=DownloadOptions(seconds=1), page_size=15, asked_page_size="ignored")]
)
async def test_urls_that_live_for_a_second_end_in_a_whole_tree(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    emulator.faults.add("download:slow,seconds=1.1,after=10,times=2")
    report = await client.export("results", folder, options=ExportOptions(concurrency=2))
    assert results == tree_of(folder)
    assert (report.fetched, report.closes) == (45, True)


async def test_a_file_that_is_gone_is_named_and_the_rest_comes(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    emulator.faults.add("download:status=404,match=img-00007,times=2")
    report = await client.export("results", folder)
    assert (report.fetched, report.failed, report.failures[0].reason) == (44, 1, FailReason.GONE)
    assert (await client.export("results", folder)).fetched == 1
    assert results == tree_of(folder)


async def test_a_file_that_always_arrives_damaged_is_named_and_never_lands(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    emulator.faults.add("download:corrupt,match=img-00007,times=3")
    report = await client.export("results", folder)
    assert (report.failed, report.failures[0].reason) == (1, FailReason.CORRUPT)
    assert not (folder / "images/img-00007.jpg").exists()


async def test_what_no_store_vouches_for_is_marked_unverified(tmp_path: Path) -> None:
    downloads = DownloadOptions(hashes="none", etag="none", length="unstated")
    async with Emulator(EmulatorOptions(downloads=downloads)) as emulator:
        await emulator.add_batch("bare", files=[("a.jpg", b"a"), ("b.tar", tar_of({"c.jpg": b"c"}))])
        settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state")
        async with Client(emulator.api_key, settings=settings) as client:
            report = await client.export("bare", tmp_path / "home")
    assert tree_of(tmp_path / "home") == {"a.jpg": b"a", "c.jpg": b"c"}
    assert report.unverified >= 1
    assert "a.jpg" in report.unverified_files


async def test_a_large_file_that_breaks_off_goes_on_where_it_did(
    client: Client, emulator: Emulator, folder: Path
) -> None:
    await emulator.add_batch("large", files=[("video.mp4", Made(8 << 20, 3))])
    emulator.faults.add("download:reset,after-bytes=5000000")
    report = await client.export("large", folder)
    assert (report.fetched, report.bytes) == (1, 8 << 20)
    assert (folder / "video.mp4").read_bytes() == await emulator.read_file("large", "video.mp4")
    assert report.bytes_received < 9 << 20


# stops


async def test_cancelled_it_leaves_no_thread_and_the_same_again_finishes(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    emulator.faults.add("download:stall,seconds=30,after=20")
    fetched = anyio.Event()

    def on_event(event: object) -> None:
        if isinstance(event, FilesFetched):
            fetched.set()

    async def cancel_once_it_stands_still() -> None:
        await fetched.wait()
        while emulator.faults.unconsumed():  # noqa: ASYNC110 - it has no event
            await anyio.sleep(0.01)
        scope.cancel()

    scope = anyio.CancelScope()
    with anyio.fail_after(20):
        async with anyio.create_task_group() as group:
            group.start_soon(cancel_once_it_stands_still)
            with scope:
                await client.export("results", folder, on_event=on_event)
            assert scope.cancelled_caught
    kept = {"rfbulk-call"}  # by the client, for its next calls
    for thread in threading.enumerate():
        if thread.name.startswith("rfbulk-") and thread.name not in kept:
            await anyio.to_thread.run_sync(thread.join, 5.0)  # it has told its end, and may not be gone yet
            assert not thread.is_alive(), thread.name
    report = await client.export("results", folder)
    assert results == tree_of(folder)
    assert (report.already_here > 0, report.closes) == (True, True)


async def test_a_stop_ends_it_gently(
    client: Client, emulator: Emulator, results: dict[str, bytes], folder: Path
) -> None:
    stop = anyio.Event()
    emulator.faults.add("download:slow,seconds=0.2,after=5,times=3")

    def on_event(event: object) -> None:
        if isinstance(event, FilesFetched):
            stop.set()

    report = await client.export("results", folder, options=ExportOptions(concurrency=2), on_event=on_event, stop=stop)
    assert (report.left > 0 or report.listed < 45, report.closes) == (True, True)
    emulator.faults.clear()
    assert (await client.export("results", folder)).left == 0
    assert results == tree_of(folder)


async def test_a_dead_store_ends_it_within_the_budget(emulator: Emulator, tmp_path: Path) -> None:
    await emulator.add_batch("dead", files=[("a.jpg", b"a")])
    emulator.faults.add("download:status=503,times=forever")
    policy = RetryPolicy(first_seconds=0.01, cap_seconds=0.05, budget_seconds=0.3)
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=policy)
    async with Client(emulator.api_key, settings=settings) as client:
        with pytest.raises(Exception, match="503") as caught:
            await client.export("dead", tmp_path / "home")
    report = getattr(caught.value, "export_report", None)
    assert report is not None
    assert (report.left, report.closes) == (1, True)
