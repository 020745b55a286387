"""Images arrive exactly once, whatever the service and the line do."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rfbulk import Client
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.support.folders import hashes_of, quick

pytestmark = pytest.mark.anyio
WriteImages = Callable[..., Path]


async def test_a_folder_arrives_whole_and_the_books_close(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    report = await client.upload_images(folder, "whole", options=quick())
    assert hashes_of(folder) == emulator.ledger("whole").hashes
    assert (report.planned, report.sent, report.is_confirmed, report.closes) == (120, 120, True, True)
    assert report.unverified_shards == 0


@pytest.mark.slow
async def test_a_403_a_lost_answer_a_reset_and_a_corrupted_body_leave_no_trace(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(1024)
    emulator.faults.add("put:status=403", "put:swallow", "put:reset,after-bytes=4096", "put:corrupt,keep=no")
    report = await client.upload_images(folder, "rough", options=quick(shard_images=100))
    assert hashes_of(folder) == emulator.ledger("rough").hashes
    assert report.is_confirmed
    assert report.closes
    assert not report.has_failures


@pytest.mark.parametrize(
    "fault",
    [
        "put:status=503,times=2",
        "put:status=429,Retry-After=0",
        "put:status=500,after-bytes=100",
        "put:stall,seconds=30",
        "put:html",
        "put:slow,bytes-per-second=500000",
        "grant:status=503,times=2",
        "grant:reset",
        "grant:swallow",
        "count:status=502",
        "shards:reset",
        "batch:status=500",
        "workspace:status=503",
    ],
)
async def test_a_passing_fault_is_survived(
    client: Client, emulator: Emulator, write_images: WriteImages, fault: str
) -> None:
    folder = write_images(120)
    emulator.faults.add(fault)
    report = await client.upload_images(folder, "fault", options=quick())
    assert hashes_of(folder) == emulator.ledger("fault").hashes
    assert report.is_confirmed
    assert not report.has_failures


@pytest.mark.parametrize("options", [EmulatorOptions(if_generation_match=False)])
async def test_a_shard_whose_hash_differs_is_sent_to_the_same_url_again(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    emulator.faults.add("put:wrong-hash", "put:corrupt")
    report = await client.upload_images(folder, "hash", options=quick())
    assert hashes_of(folder) == emulator.ledger("hash").hashes
    assert report.retries["hash differs"] == 2
    assert not report.has_failures


async def test_a_damaged_copy_that_cannot_be_replaced_is_named_and_never_taken_for_sent(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    emulator.faults.add("put:corrupt")
    report = await client.upload_images(folder, "damaged", options=quick())
    assert (report.planned, report.sent + report.failed, report.closes) == (120, 120, True)
    assert report.failed in {50, 20}  # one shard, whichever came first
    again = await client.upload_images(folder, "damaged", options=quick())
    assert (again.sent, again.failed) == (report.sent, report.failed)


async def test_the_same_again_sends_nothing(client: Client, emulator: Emulator, write_images: WriteImages) -> None:
    folder = write_images(120)
    await client.upload_images(folder, "again", options=quick())
    puts = emulator.requests["put"]
    report = await client.upload_images(folder, "again", options=quick())
    assert puts == emulator.requests["put"]
    assert (report.sent, report.already_sent, report.is_confirmed) == (120, 120, True)


async def test_new_files_are_added_and_changed_ones_named(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    await client.upload_images(folder, "more", options=quick())
    (folder / "new.png").write_bytes(b"new")
    changed = folder / "img-00000.jpg"
    changed.write_bytes(b"changed")
    report = await client.upload_images(folder, "more", options=quick())
    assert (report.sent, report.changed) == (121, 1)
    assert [(failure.path, failure.reason) for failure in report.failures] == [(str(changed), RefusalReason.CHANGED)]
    assert emulator.ledger("more").hashes.total() == 121


async def test_changed_files_are_sent_under_a_new_name_if_asked_for(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(10)
    await client.upload_images(folder, "send", options=quick())
    (folder / "img-00000.jpg").write_bytes(b"changed")
    report = await client.upload_images(folder, "send", options=quick(on_changed="send"))
    assert report.sent == 11
    assert set(emulator.ledger("send").names.values()) == {1}
    again = await client.upload_images(folder, "send", options=quick(on_changed="send"))
    assert again.sent == 11


async def test_what_cannot_be_sent_is_named(client: Client, emulator: Emulator, write_images: WriteImages) -> None:
    folder = write_images(10)
    (folder / "empty.png").touch()
    (folder / "photo.heic").write_bytes(b"x")
    (folder / "notes.txt").write_text("x")
    with (folder / "huge.png").open("wb") as file:
        file.truncate(20_971_521)
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    os.mkfifo(folder / "pipe.jpg")
    report = await client.upload_images(folder, "named", options=quick())
    assert (report.sent, report.refused, report.skipped) == (10, 5, 1)
    assert {failure.reason for failure in report.failures} == {
        RefusalReason.EMPTY,
        RefusalReason.UNSUPPORTED_IMAGE,
        RefusalReason.TOO_LARGE,
        RefusalReason.DANGLING_LINK,
        RefusalReason.SPECIAL,
    }


@pytest.mark.parametrize("options", [EmulatorOptions(max_shard_bytes=20_000)])
async def test_a_grant_smaller_than_planned_splits_the_shard(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    report = await client.upload_images(folder, "small", options=quick())
    assert hashes_of(folder) == emulator.ledger("small").hashes
    assert report.is_confirmed


@pytest.mark.parametrize("options", [EmulatorOptions(max_shard_bytes=20_000, limit_statement="none")])
async def test_a_limit_that_no_grant_states_is_named_when_the_service_tells(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    report = await client.upload_images(folder, "untold", options=quick())
    assert report.closes
    assert report.planned == 120
    assert report.sent == emulator.ledger("untold").hashes.total()


@pytest.mark.parametrize(
    "options",
    [
        EmulatorOptions(if_generation_match=False),
        EmulatorOptions(shard_id_in_url=False),
        EmulatorOptions(shard_id_in_url=False, list_unfilled_shards=False),
        EmulatorOptions(count_mode="accepted", index_delay_seconds=0.1),
        EmulatorOptions(index_delay_seconds=0.1, page_size=1),
        EmulatorOptions(state_method=False, limit_statement="field"),
        EmulatorOptions(date_skew_seconds=10_800),
        EmulatorOptions(date_skew_seconds=-10_800),
    ],
)
async def test_the_promise_holds_however_the_service_behaves(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(120)
    emulator.faults.add("put:swallow", "put:status=403", "grant:swallow")
    report = await client.upload_images(folder, "switch", options=quick())
    assert hashes_of(folder) == emulator.ledger("switch").hashes
    assert report.is_confirmed
    assert not report.has_failures
