"""Objects of a bucket arrive in a batch exactly once, whatever becomes of them meanwhile."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from rfbulk import Client, UploadOptions
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.errors import UsageError
from tests.support.clips import MARKS
from tests.support.clouds import Bucket, hash_of
from tests.support.folders import quick

pytestmark = pytest.mark.anyio

ODD = [
    "a b.jpg",
    "ünï/cödé.png",
    "50%.jpg",
    "50%25.jpg",
    "q?x#y&z=+.jpg",
    "tilde~'(1)!.jpg",
    "a__b.jpg",
    "日本/語.webp",
]
"""Keys whose spelling in a URL is easily got wrong."""


def images(count: int, *, seed: int = 1, size: int = 2000) -> dict[str, bytes]:
    chance = random.Random(seed)
    folders = ["", "day-1/", "day-1/cam-2/"]
    return {
        f"in/{folders[number % 3]}img-{number:05}.jpg": b"\xff\xd8" + chance.randbytes(chance.randrange(1, size))
        for number in range(count)
    }


def hashes_of(objects: dict[str, bytes]) -> Counter[str]:
    return Counter(map(hash_of, objects.values()))


async def test_a_folder_of_a_bucket_arrives_whole_and_again_sends_nothing(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    objects = (
        images(120) | {f"in/{key}": key.encode() for key in ODD} | {"in/large.png": random.Random(2).randbytes(5 << 20)}
    )
    bucket.put_all(objects | {"other/img.jpg": b"not meant", "in/notes.txt": b"x"})
    report = await client.upload_images(f"{bucket.url}/in", "whole", options=quick())
    assert hashes_of(objects) == emulator.ledger("whole").hashes
    assert (report.planned, report.sent, report.is_confirmed, report.closes) == (129, 129, True, True)
    assert {"ünï__cödé.png", "day-1__cam-2__img-00002.jpg"} <= set(emulator.ledger("whole").names)
    assert report.skipped == 1
    puts = emulator.requests["put"]
    again = await client.upload_images(f"{bucket.url}/in/", "whole", options=quick())
    assert (again.sent, again.already_sent, emulator.requests["put"]) == (129, 129, puts)


async def test_what_cannot_be_sent_is_named_as_a_file_is(bucket: Bucket, client: Client, emulator: Emulator) -> None:
    bucket.put_all({"in/a.jpg": b"x", "in/empty.png": b"", "in/b.heic": b"x", "in/huge.png": bytes(20_971_521)})
    report = await client.upload_images(f"{bucket.url}/in", "named", options=quick())
    assert (report.sent, report.refused) == (1, 3)
    assert {(failure.path, failure.reason) for failure in report.failures} == {
        (f"{bucket.url}/in/empty.png", RefusalReason.EMPTY),
        (f"{bucket.url}/in/b.heic", RefusalReason.UNSUPPORTED_IMAGE),
        (f"{bucket.url}/in/huge.png", RefusalReason.TOO_LARGE),
    }


async def test_globs_filters_and_single_objects_take_what_they_say(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    keys = ["cam-1/a.jpg", "cam-1/deep/b.jpg", "cam-2/c.png", "cam-10/d.jpg", "x.jpg", "cam-1/thumbs/t.jpg"]
    bucket.put_all({key: key.encode() for key in keys})
    cases: dict[str, tuple[str, UploadOptions, set[str]]] = {
        "star": ("cam-?/*.jpg", quick(), {"cam-1/a.jpg"}),
        "deep": ("cam-[12]/**", quick(exclude=("thumbs/",)), {"cam-1/a.jpg", "cam-1/deep/b.jpg", "cam-2/c.png"}),
        "flat": ("", quick(recursive=False), {"x.jpg"}),
        "only": ("cam-2/c.png", quick(), {"cam-2/c.png"}),
        "prefix": ("cam-1", quick(include=("*.jpg",), exclude=("deep",)), {"cam-1/a.jpg", "cam-1/thumbs/t.jpg"}),
    }
    for batch, (path, options, expected) in cases.items():
        await client.upload_images(f"{bucket.url}/{path}", batch, options=options)
        assert {hash_of(key.encode()) for key in expected} == set(emulator.ledger(batch).hashes), batch


async def test_objects_that_change_or_vanish_are_told_as_files_are(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    objects = images(60)
    bucket.put_all(objects)
    await client.upload_images(f"{bucket.url}/in", "more", options=quick())
    first = next(iter(objects))
    bucket.put(first, b"changed")
    bucket.put("in/new.png", b"new")
    report = await client.upload_images(f"{bucket.url}/in", "more", options=quick())
    assert (report.sent, report.changed) == (61, 1)
    assert [(failure.path, failure.reason) for failure in report.failures] == [
        (f"{bucket.url}/{first}", RefusalReason.CHANGED)
    ]
    assert hashes_of(objects | {"in/new.png": b"new"}) == emulator.ledger("more").hashes


@pytest.mark.parametrize("options", [EmulatorOptions(grant_seconds=3600)])
async def test_faults_of_the_store_and_the_service_leave_no_trace(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    objects = images(120)
    bucket.put_all(objects)
    emulator.faults.add("put:status=503", "put:swallow", "put:reset,after-bytes=4096", "grant:status=503")
    report = await client.upload_images(f"{bucket.url}/in", "rough", options=quick())
    assert hashes_of(objects) == emulator.ledger("rough").hashes
    assert (report.is_confirmed, report.closes, report.has_failures) == (True, True, False)


def clips(*sizes: int) -> dict[str, bytes]:
    """Videos by their first bytes, each of another content."""
    return {f"in/clip-{size}.mp4": MARKS["mp4"] + random.Random(size).randbytes(size) for size in sizes}


async def test_videos_stream_from_a_bucket_to_urls_of_their_own(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    films = clips(1, 700_000, 5 << 20)
    bucket.put_all(films | {"in/a.jpg": b"x", "in/empty.mov": b""})
    emulator.faults.add("put:reset,after-bytes=5000", "put:status=503", "video:swallow")
    report = await client.upload_videos(f"{bucket.url}/in", "films", options=quick())
    assert (report.sent, report.refused, report.is_confirmed, report.closes) == (3, 1, True, True)
    assert report.unverified_shards == 0
    assert hashes_of(films) == emulator.ledger("films").hashes
    again = await client.upload_videos(f"{bucket.url}/in", "films", options=quick())
    assert (again.already_sent, emulator.ledger("films").hashes) == (3, hashes_of(films))


async def test_what_is_no_video_by_its_first_bytes_is_named_and_asks_for_no_grant(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    films = clips(100, 200)
    bucket.put_all(films | {"in/text.mp4": b"no video at all" * 1000, "in/short.avi": b"x"})
    report = await client.upload_videos(f"{bucket.url}/in", "films", options=quick())
    assert {(failure.path, failure.reason) for failure in report.failures} == {
        (f"{bucket.url}/in/text.mp4", RefusalReason.NO_VIDEO),
        (f"{bucket.url}/in/short.avi", RefusalReason.NO_VIDEO),
    }
    assert (report.sent, report.quarantined, report.unused_grants, report.closes) == (2, 2, 0, True)
    assert (hashes_of(films), emulator.requests["video"]) == (emulator.ledger("films").hashes, 2)


def whole_and_damaged() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """Objects whose content is whole, and others that are cut short or no images, small and streamed ones of both."""
    chance = random.Random(3)
    whole = {
        f"in/{number:03}.jpg": b"\xff\xd8\xff\xda\0\2" + chance.randbytes(300) + b"\xff\xd9" for number in range(60)
    }
    whole["in/large.png"] = b"\x89PNG\r\n\x1a\n" + bytes(3 << 20) + b"IEND\xaeB`\x82"
    damaged = {"in/007a.jpg": b"\xff\xd8\xff" + bytes(100), "in/033a.png": b"GIF89a" + bytes(50)}
    return whole, damaged | {"in/large-cut.png": whole["in/large.png"][:-1], "in/zero.bmp": bytes(10)}


@pytest.mark.parametrize("one_by_one", [False, True])
async def test_what_is_no_whole_image_is_named_where_that_is_asked_for(
    bucket: Bucket, client: Client, emulator: Emulator, *, one_by_one: bool
) -> None:
    whole, damaged = whole_and_damaged()
    bucket.put_all(whole | damaged)
    options = quick(check_images=True, one_by_one=one_by_one)
    report = await client.upload_images(f"{bucket.url}/in", "looked-into", options=options)
    assert {(failure.path, failure.reason) for failure in report.failures} == {
        (f"{bucket.url}/{key}", RefusalReason.DAMAGED) for key in damaged
    }
    assert (report.sent, report.quarantined, report.closes) == (61, 4, True)
    assert hashes_of(whole) == emulator.ledger("looked-into").hashes
    if not one_by_one:
        assert report.retries["source changed"] <= 2  # all of a shard are found at once


async def test_images_are_posted_one_by_one_from_a_bucket(bucket: Bucket, client: Client, emulator: Emulator) -> None:
    objects = images(40) | {"in/large.png": random.Random(2).randbytes(5 << 20)}
    bucket.put_all(objects)
    emulator.faults.add("image:status=503,retry-after=0,times=2", "image:swallow", "image:reset")
    options = quick(one_by_one=True, quiet_seconds=0.05)
    report = await client.upload_images(f"{bucket.url}/in", "single", options=options)
    assert (report.sent, report.is_one_by_one, report.is_confirmed, report.closes) == (41, True, True, True)
    assert hashes_of(objects) == emulator.ledger("single").hashes
    again = await client.upload_images(f"{bucket.url}/in", "single", options=options)
    assert (again.already_sent, hashes_of(objects)) == (41, emulator.ledger("single").hashes)
    with pytest.raises(UsageError, match="single uploads"):
        await client.upload_images(f"{bucket.url}/in", "single", options=quick())


async def test_what_buckets_cannot_do_is_said_before_anything_is_sent(
    bucket: Bucket, client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    bucket.put_all(images(3))
    with pytest.raises(UsageError, match="folders and buckets"):
        await client.upload_images([bucket.url, tmp_path], "cannot")
    with pytest.raises(UsageError, match="at once"):
        await client.upload_images(bucket.url, "cannot", options=quick(concurrency=30))
    assert emulator.requests["grant"] == 0
