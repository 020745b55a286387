"""What failed is sent again, and nothing else: without a look at the rest of the source."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import rfbulk
from rfbulk import Client
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.emulator.faults import Fault
from rfbulk.events import Event, UploadProgress, Warned
from tests.support.clips import write_clips
from tests.support.folders import hashes_of, quick

pytestmark = pytest.mark.anyio
WriteImages = Callable[..., Path]


def whole(content: bytes) -> bytes:
    """A PNG, as far as its beginning and its end tell."""
    return b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + content + b"\0\0\0\0IEND\xaeB`\x82"


def retry(**changes: object) -> rfbulk.UploadOptions:
    return quick(retry_failed=True, **changes)


@pytest.mark.parametrize("way", ["shards", "videos"])
async def test_what_the_store_refused_is_sent_again_and_no_more(
    client: Client, emulator: Emulator, write_images: WriteImages, tmp_path: Path, way: str
) -> None:
    if way == "videos":
        folder, upload = write_clips(tmp_path / "clips", 9), client.upload_videos
    else:
        folder, upload = write_images(60), client.upload_images
    emulator.faults.add("put:status=400,times=2")
    first = await upload(folder, "spring", options=quick(shard_images=20, concurrency=1))
    assert first.failed == (2 if way == "videos" else 40)
    (folder / ("new.mp4" if way == "videos" else "new.jpg")).write_bytes(b"\0\0\0\x18ftypmp42")
    second = await upload(folder, "spring", options=retry())
    assert (first.planned, first.planned, 0) == (second.planned, second.sent, second.failed)
    assert (first.sent, True, True) == (second.already_sent, second.closes, second.is_confirmed)
    (folder / ("new.mp4" if way == "videos" else "new.jpg")).unlink()
    assert hashes_of(folder) == emulator.ledger("spring").hashes


async def test_a_file_that_was_quarantined_is_sent_as_it_is_now(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(30)
    for path in folder.rglob("*.jpg"):
        path.write_bytes(whole(path.read_bytes()))
    for number in (0, 3, 6):
        (folder / f"img-{number:05}.jpg").write_bytes(b"no image")
    first = await client.upload_images(folder, "spring", options=quick(check_images=True))
    assert (first.quarantined, first.sent) == (3, 27)
    (folder / "img-00000.jpg").write_bytes(whole(b"mended"))
    (folder / "img-00003.jpg").unlink()
    second = await client.upload_images(folder, "spring", options=retry(check_images=True))
    assert (second.planned, second.sent, second.quarantined) == (30, 28, 2)
    assert second.closes
    reasons = {failure.name: failure.reason for failure in second.failures}
    assert reasons == {"img-00003.jpg": RefusalReason.VANISHED, "img-00006.jpg": RefusalReason.DAMAGED}
    (folder / "img-00006.jpg").unlink()
    assert hashes_of(folder) == emulator.ledger("spring").hashes


@pytest.mark.parametrize(
    "options",
    [
        EmulatorOptions(max_shard_bytes=30_000, limit_statement="none"),
        EmulatorOptions(max_shard_bytes=30_000, limit_statement="none", shard_id_in_url=False),
    ],
)
async def test_what_the_service_could_not_take_in_goes_again_in_smaller_shards(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    """Said again without the option, files that are not listed are named, and never sent."""
    folder = write_images(60)
    first = await client.upload_images(folder, "spring", options=quick(shard_images=50))
    assert first.ingest_failed
    assert first.failed >= 50
    second = await client.upload_images(folder, "spring", options=retry(shard_images=10))
    assert (second.planned, second.sent, second.failed, second.closes) == (60, 60, 0, True)
    assert (second.is_confirmed, second.ingest_failed) == (True, False)
    assert hashes_of(folder) == emulator.ledger("spring").hashes
    report = await client.verify("spring")
    assert {"failed-shard"} == {each.kind.value for each in report.differences}


async def test_files_that_came_in_late_are_not_sent_twice(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    """Named as not listed when the wait ended, and listed since."""
    folder = write_images(30)
    nothing = '{"filesMetadata": [], "nextPageToken": null}'
    emulator.faults.add(Fault("list", "answer", status=200, body=nothing))
    first = await client.upload_images(folder, "spring", options=quick(verify="names"))
    assert first.failed == 30
    second = await client.upload_images(folder, "spring", options=retry())
    assert (second.sent, second.failed, second.already_sent) == (30, 0, 30)
    assert Counter(hashes_of(folder)) == emulator.ledger("spring").hashes


async def test_images_one_by_one_are_sent_again(client: Client, emulator: Emulator, write_images: WriteImages) -> None:
    folder = write_images(12)
    emulator.faults.add("image:status=400,times=3")
    first = await client.upload_images(folder, "small", options=quick(one_by_one=True))
    assert first.failed == 3
    second = await client.upload_images(folder, "small", options=retry(one_by_one=True))
    assert (second.sent, second.already_sent, second.is_confirmed) == (12, 9, True)
    assert hashes_of(folder) == emulator.ledger("small").hashes


async def test_where_nothing_failed_nothing_is_sent(
    client: Client, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(30)
    await client.upload_images(folder, "spring", options=quick())
    grants = emulator.requests["grant"]
    said: list[Event] = []
    report = await client.upload_images(folder, "spring", options=retry(), on_event=said.append)
    assert (30, False, grants) == (report.sent, report.has_failures, emulator.requests["grant"])
    assert Warned("nothing that failed can be sent again: nothing is sent") in said
    assert all(each.scan_finished for each in said if isinstance(each, UploadProgress))


async def test_an_upload_that_is_not_known_cannot_be_retried(client: Client, write_images: WriteImages) -> None:
    with pytest.raises(rfbulk.errors.UsageError, match="no upload of it into batch spring is known here"):
        await client.upload_images(write_images(3), "spring", options=retry())
    assert list(client.state_dir.glob("*.sqlite")) == []
    with pytest.raises(rfbulk.errors.UsageError, match="without --restart"):
        retry(restart=True)
