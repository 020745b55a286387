"""An audit finds what was lost, doubled, changed or left, by name, and is silent where nothing was."""

from __future__ import annotations

import json
import os
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import anyio
import orjson
import pytest

import rfbulk
from rfbulk import Client, PathList, VerifyOptions
from rfbulk.core.auditing import DifferenceKind, VerifyReport
from rfbulk.edge.locks import FileLock
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.support.clips import write_clips
from tests.support.folders import quick

pytestmark = pytest.mark.anyio
WriteImages = Callable[..., Path]


def named(report: VerifyReport) -> set[tuple[str, str]]:
    """What differs, by kind and name."""
    assert report.closes
    assert sum(report.books.differences.values()) == len(report.differences)
    return {(each.kind.value, each.name) for each in report.differences}


def agrees(report: VerifyReport, *, sent: int, in_source: int | None = None) -> bool:
    books = report.books
    assert set() == named(report)
    assert (sent, sent, sent) == (books.sent, books.once, books.listed)
    assert (sent if in_source is None else in_source) == books.in_source == books.same
    return report.agrees


# nothing to say


async def test_after_an_upload_all_agree(client: Client, write_images: WriteImages) -> None:
    await client.upload_images(write_images(120), "spring", options=quick())
    assert agrees(await client.verify("spring"), sent=120)


async def test_after_a_resumed_upload_with_changed_and_new_files_all_agree(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    emulator.faults.add("put:status=403", "put:swallow", "put:reset,after-bytes=4096")
    stop = anyio.Event()
    stop.set()
    await client.upload_images(folder, "spring", options=quick(), stop=stop)
    await client.upload_images(folder, "spring", options=quick())
    (folder / "img-00003.jpg").write_bytes(b"\xff\xd8another")
    (folder / "new.jpg").write_bytes(b"\xff\xd8new")
    await client.upload_images(folder, "spring", options=quick(on_changed="send"))
    report = await client.verify("spring")
    assert agrees(report, sent=122, in_source=121)


@pytest.mark.parametrize("names", ["auto", "path", "basename"])
async def test_names_and_selection_are_those_of_the_upload(
    client: Client, write_images: WriteImages, names: rfbulk.settings.Names
) -> None:
    folder = write_images(60)
    options = quick(names=names, include=("*.jpg",), exclude=("cam-2/",))
    await client.upload_images(folder, "spring", options=options)
    assert agrees(await client.verify("spring"), sent=40)
    assert agrees(await client.verify("spring", folder), sent=40)


async def test_a_file_outside_the_selection_of_the_last_run_is_not_called_gone(
    client: Client, write_images: WriteImages
) -> None:
    folder = write_images(30)
    await client.upload_images(folder, "spring", options=quick())
    await client.upload_images(folder, "spring", options=quick(include=("day-1/**",)))
    report = await client.verify("spring")
    assert (set(), True, 20) == (named(report), report.agrees, report.books.same)


async def test_images_one_by_one_and_videos_and_lists_agree(
    client: Client, write_images: WriteImages, tmp_path: Path
) -> None:
    folder = write_images(12)
    await client.upload_images(folder, "singles", options=quick(one_by_one=True))
    assert agrees(await client.verify("singles"), sent=12)
    clips = write_clips(tmp_path / "clips", 5)
    await client.upload_videos(clips, "clips", options=quick())
    assert agrees(await client.verify("clips"), sent=5)
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(f"images/{each.relative_to(folder)}" for each in folder.rglob("*.jpg")))
    await client.upload_images(PathList(listed, base=tmp_path), "listed", options=quick())
    assert agrees(await client.verify("listed"), sent=12)


ODD = (
    *(b"a__b.jpg", b"new\nline.jpg", b"\xff\xfe.jpg", b"50%25.jpg"),
    *(b"x%~0123abcd.jpg", b"a_/b.jpg", b"\xe2\x80\xae.jpg"),
)


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


async def test_odd_names_agree(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    long = [b"n" * 250 + b"/" + b"n" * 250 + b".jpg", b"m" * 250 + b"/" + b"m" * 250 + b".jpg"]
    for name in [*ODD, *long]:
        write(Path(os.fsdecode(os.path.join(os.fsencode(folder), name))), b"\xff\xd8" + name)
    await client.upload_images(folder, "odd", options=quick())
    assert agrees(await client.verify("odd"), sent=9)


async def test_two_folders_in_two_uploads_are_one_audit(client: Client, write_images: WriteImages) -> None:
    one, two = write_images(30, "one", seed=1), write_images(30, "two", seed=2)
    await client.upload_images(one, "both", options=quick(names="path"))
    await client.upload_images(two, "both", options=quick(names="path"))
    assert agrees(await client.verify("both"), sent=60)
    report = await client.verify("both", one)
    assert (set(), 30, 60) == (named(report), report.books.sent, report.books.known)


@pytest.mark.parametrize("options", [EmulatorOptions(index_delay_seconds=60)])
async def test_what_the_service_has_not_taken_in_yet_is_pending_and_not_lost(
    client: Client, write_images: WriteImages
) -> None:
    await client.upload_images(write_images(30), "spring", options=quick(wait=False))
    report = await client.verify("spring")
    assert Counter(kind for kind, _ in named(report)) == {"pending": 30}
    assert (report.books.sent, report.books.pending, report.books.lost) == (30, 30, 0)


# differences


async def test_what_changed_came_and_went_is_named(client: Client, write_images: WriteImages) -> None:
    folder = write_images(30)
    await client.upload_images(folder, "spring", options=quick())
    (folder / "img-00000.jpg").unlink()
    (folder / "img-00003.jpg").write_bytes(b"\xff\xd8 quite another image")
    (folder / "new.jpg").write_bytes(b"\xff\xd8")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("no image")
    report = await client.verify("spring")
    expected = {("gone", "img-00000.jpg"), ("changed", "img-00003.jpg"), ("new", "new.jpg"), ("refused", "")}
    assert expected == named(report)
    assert not report.agrees
    assert {str(folder / "img-00000.jpg"), str(folder / "empty.jpg")} <= {each.path for each in report.differences}
    quiet = await client.verify("spring", options=VerifyOptions(look_at_sources=False))
    assert (set(), True) == (named(quiet), quiet.agrees)


@pytest.mark.parametrize("options", [EmulatorOptions(if_generation_match=False, second_put="indexes-again")])
async def test_what_a_second_put_has_doubled_is_named(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(20)
    emulator.faults.add("put:swallow,keep=yes")
    await client.upload_images(folder, "spring", options=quick(wait=False))
    await emulator.settled()
    doubled = {name for name, count in emulator.ledger("spring").names.items() if count > 1}
    assert len(doubled) == 20
    report = await client.verify("spring")
    assert {("doubled", name) for name in doubled} == named(report)
    assert (report.books.twice, report.books.repeated, report.books.listed) == (20, 20, 40)


@pytest.mark.parametrize("options", [EmulatorOptions(equal_names="last-wins")])
async def test_what_another_upload_has_pushed_out_is_lost(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    """Two folders with equal names in one batch: the service keeps one of each, whichever comes last."""
    one, two = write_images(30, "one", seed=1), write_images(9, "two", seed=2)
    await client.upload_images(one, "spring", options=quick())
    await client.upload_images(two, "spring", options=quick(wait=False))
    await emulator.settled()
    report = await client.verify("spring")
    clashing = Counter(kind for kind, _ in named(report))
    assert clashing == {"lost": 9}
    assert (report.books.sent, report.books.lost) == (39, 9)


async def test_a_batch_that_was_emptied_has_lost_all(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(12)
    await client.upload_images(folder, "spring", options=quick())
    await emulator.remove_batch("spring")
    with pytest.raises(rfbulk.errors.UsageError, match="does not know it"):
        await client.verify("spring")
    await client.upload_images(write_images(3, "others", seed=3), "spring", options=quick(names="path"))
    report = await client.verify("spring", folder)
    assert Counter(kind for kind, _ in named(report)) == {"lost": 12}


async def test_an_unfinished_upload_is_told_by_what_it_left(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(60)
    emulator.faults.add("put:status=400,after=1,times=forever")
    report = await client.upload_images(folder, "spring", options=quick(shard_images=20, concurrency=1, wait=False))
    assert report.failed == 40
    audit = await client.verify("spring")
    assert Counter(kind for kind, _ in named(audit)) == {"failed": 40}
    assert (audit.books.sent, audit.books.unfinished) == (20, 40)


async def test_files_that_others_have_put_there_are_unknown(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    await client.upload_images(write_images(9), "spring", options=quick())
    stranger = rfbulk.Settings(api_url=emulator.url, state_dir=Path(write_images(3, "theirs", seed=5)).parent / "else")
    async with Client(emulator.api_key, settings=stranger) as other:
        await other.upload_images(
            Path(stranger.state_dir or "").parent / "theirs", "spring", options=quick(names="path")
        )
    report = await client.verify("spring")
    assert Counter(kind for kind, _ in named(report)) == {"unknown": 3}
    assert (report.books.listed, report.books.known, report.books.unknown) == (12, 9, 3)


# without a checkpoint


async def test_what_other_machines_have_sent_is_joined_by_name(
    client: Client, emulator: Emulator, write_images: WriteImages, tmp_path: Path
) -> None:
    """Twenty machines have sent a folder; one of them, or another, audits all of it."""
    folder = write_images(60)
    for place, half in enumerate((("day-1/**",), ("*.jpg",))):
        elsewhere = rfbulk.Settings(api_url=emulator.url, state_dir=tmp_path / f"machine-{place}")
        async with Client(emulator.api_key, settings=elsewhere) as other:
            without = ("day-1/",) if place else ()
            await other.upload_images(folder, "spring", options=quick(include=half, exclude=without, wait=False))
    await emulator.settled()
    with pytest.raises(rfbulk.errors.UsageError, match="nothing was sent into it from here"):
        await client.verify("spring")
    report = await client.verify("spring", folder)
    assert (set(), True, 60) == (named(report), report.agrees, report.books.elsewhere)
    assert report.notes == ["nothing was sent from here: the source was compared with the listing, by names alone"]
    (folder / "missing.jpg").write_bytes(b"\xff\xd8")
    async with Client(emulator.api_key, settings=elsewhere) as other:
        both = await other.verify("spring", folder, options=VerifyOptions(exclude=()))
    assert {("new", "missing.jpg")} == named(both)
    assert (both.books.same, both.books.elsewhere) == (20, 40)


# what the service does to the audit


@pytest.mark.parametrize("asked", ["kept", "ignored", "refused"])
async def test_a_listing_of_many_pages_is_read_to_its_end(
    emulator: Emulator, write_images: WriteImages, tmp_path: Path, asked: rfbulk.emulator.options.AskedPageSize
) -> None:
    async with Emulator(EmulatorOptions(page_size=7, asked_page_size=asked)) as paging:
        settings = rfbulk.Settings(api_url=paging.url, state_dir=tmp_path / "state")
        async with Client(paging.api_key, settings=settings) as client:
            await client.upload_images(write_images(60), "spring", options=quick())
            paging.faults.add("list:status=503", "list:reset", "shards:status=502", "count:status=500")
            assert agrees(await client.verify("spring"), sent=60)
        assert paging.faults.unconsumed() == []


async def test_a_count_that_lies_is_told(client: Client, emulator: Emulator, write_images: WriteImages) -> None:
    await client.upload_images(write_images(9), "spring", options=quick())
    emulator.faults.add('count:status=200,body={"count": 12}')
    report = await client.verify("spring")
    assert [(each.kind, each.detail) for each in report.differences] == [
        (DifferenceKind.MISCOUNTED, "the service counts 12 files and lists 9")
    ]


@pytest.mark.parametrize("options", [EmulatorOptions(max_shard_bytes=30_000, limit_statement="none")])
async def test_a_shard_that_the_service_could_not_take_in_is_named_with_its_files(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    report = await client.upload_images(write_images(120), "spring", options=quick(shard_images=20))
    assert report.ingest_failed
    audit = await client.verify("spring")
    counts = Counter(kind for kind, _ in named(audit))
    assert {"lost": report.failed, "failed-shard": audit.shards["error"]} == counts
    assert report.sent == audit.books.once
    assert {"the archive is larger than 30000 bytes" in each.detail for each in audit.differences} == {True}


async def test_an_upload_under_way_is_not_audited(client: Client, write_images: WriteImages) -> None:
    await client.upload_images(write_images(9), "spring", options=quick())
    lock = FileLock(next(client.state_dir.glob("*.lock")))
    lock.acquire()
    try:
        with pytest.raises(rfbulk.errors.CheckpointBusy):
            await client.verify("spring")
    finally:
        lock.release()
    assert (await client.verify("spring")).agrees


@pytest.mark.parametrize("damage", ["members", "file"])
async def test_a_damaged_checkpoint_is_named_and_the_source_compared_with_the_listing(
    client: Client, write_images: WriteImages, damage: str
) -> None:
    """It is then that an audit is asked for."""
    folder = write_images(60)
    await client.upload_images(folder, "spring", options=quick())
    checkpoint = next(client.state_dir.glob("*.sqlite"))
    if damage == "file":
        checkpoint.write_bytes(b"SQLite format 3\0" + bytes(5000))
    else:
        with closing(sqlite3.connect(checkpoint)) as db:
            db.execute("UPDATE members SET packed = zeroblob(100) WHERE shard = 2")
            db.commit()
    report = await client.verify("spring", folder)
    assert {("damaged-checkpoint", checkpoint.stem)} == named(report)
    assert report.books.same + report.books.elsewhere == 60
    assert not report.agrees


# references


async def test_references_are_audited_by_name_and_mark(client: Client, emulator: Emulator, tmp_path: Path) -> None:
    listed = tmp_path / "images.jsonl"
    rows = [{"name": f"a-{number}.jpg", "url": f"https://files.example/{number}.jpg"} for number in range(9)]
    listed.write_text("\n".join(map(json.dumps, rows)))
    await client.ingest_references(listed, "linked", "images", options=rfbulk.IngestOptions(quiet_seconds=0.2))
    assert agrees(await client.verify("linked"), sent=9)
    rows[0]["url"] = "https://files.example/other.jpg"
    listed.write_text(
        "\n".join(map(json.dumps, [*rows[:-1], {"name": "new.jpg", "url": "https://files.example/n.jpg"}]))
    )
    report = await client.verify("linked", listed)
    assert {("changed", "a-0.jpg"), ("new", "new.jpg"), ("gone", "a-8.jpg")} == named(report)


async def test_what_a_query_has_brought_is_not_called_unknown(client: Client, emulator: Emulator) -> None:
    await client.ingest_query("tag:street", "streets", options=rfbulk.IngestOptions(quiet_seconds=0.2))
    report = await client.verify("streets")
    assert (set(), True) == (named(report), report.agrees)
    assert report.books.unknown == report.books.listed > 0
    assert report.notes == ["a query or a list elsewhere fills this batch: its names are not known here"]


# the report file


async def test_the_report_file_has_every_difference(client: Client, write_images: WriteImages, tmp_path: Path) -> None:
    folder = write_images(30)
    await client.upload_images(folder, "spring", options=quick())
    for number in range(1200):
        (folder / f"new-{number}.jpg").write_bytes(b"\xff\xd8")
    target = tmp_path / "differences.jsonl"
    report = await client.verify("spring", options=VerifyOptions(report_file=target))
    summary, *lines = map(orjson.loads, target.read_bytes().splitlines())
    assert (len(report.differences), len(lines), summary["summary"]["books"]["differences"]) == (
        1000,
        1200,
        {"new": 1200},
    )
    assert {f"new-{number}.jpg" for number in range(1200)} == {line["name"] for line in lines}
    assert [target.name] == sorted(name for name in names_in(tmp_path) if "differences" in name)
