"""What befalls objects and their store while they are relayed, injected into the verifier in Google's place."""

from __future__ import annotations

import pytest

from rfbulk import Client
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator
from rfbulk.errors import NotAuthorised
from tests.clouds.test_relay import clips, hashes_of, images
from tests.support.clouds import Bucket
from tests.support.folders import quick

pytestmark = pytest.mark.anyio


async def test_objects_are_sent_as_they_are_then_or_named_and_the_others_go_on(
    google_bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    objects = images(60)
    replaced, gone, denied, busy, short, *_ = objects
    google_bucket.put_all(objects)
    google_bucket.store.faults |= {
        replaced: ["replaced"],
        gone: ["gone"],
        denied: ["403"],
        busy: ["503", "429", "500"],
        short: ["short"],
    }
    report = await client.upload_images(f"{google_bucket.url}/in", "befallen", options=quick())
    expected = {key: data for key, data in objects.items() if key not in {gone, denied}}
    expected[replaced] = expected[replaced][::-1]
    assert hashes_of(expected) == emulator.ledger("befallen").hashes
    assert (report.planned, report.sent, report.quarantined, report.closes) == (60, 58, 2, True)
    assert {(failure.path.partition("/in/")[2], failure.reason) for failure in report.failures} == {
        (gone.removeprefix("in/"), RefusalReason.VANISHED),
        (denied.removeprefix("in/"), RefusalReason.UNREADABLE),
    }
    assert not any(google_bucket.store.faults.values())


async def test_a_video_whose_stream_breaks_off_goes_on_within_its_one_put(
    google_bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    films = clips(4 << 20)
    google_bucket.put_all(films)
    google_bucket.store.faults[next(iter(films))] = ["", "short", "short", "503"]  # the first look is at its beginning
    report = await client.upload_videos(f"{google_bucket.url}/in", "broken-off", options=quick())
    assert (report.sent, report.is_confirmed, report.retries) == (1, True, {})
    assert (hashes_of(films), emulator.requests["put"]) == (emulator.ledger("broken-off").hashes, 1)
    assert not any(google_bucket.store.faults.values())


async def test_a_video_that_is_replaced_meanwhile_is_sent_as_it_is_then(
    google_bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    """Never the beginning of one version and the end of another."""
    [(key, data)] = clips(4 << 20).items()
    google_bucket.put(key, data)
    google_bucket.store.faults[key] = ["", "short", "replaced"]
    report = await client.upload_videos(f"{google_bucket.url}/in", "replaced", options=quick())
    assert (report.sent, report.retries, report.unused_grants) == (1, {"source changed": 1}, 0)
    assert hashes_of({key: data[::-1]}) == emulator.ledger("replaced").hashes


async def test_a_video_that_keeps_changing_or_is_gone_is_named(
    google_bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    restless, gone, still = clips(3 << 20, 4 << 20, 100)
    films = clips(3 << 20, 4 << 20, 100)
    google_bucket.put_all(films)
    # looked into, read and replaced, looked at: three times
    google_bucket.store.faults |= {restless: ["", *["replaced", ""] * 4], gone: ["", "short", "gone"]}
    report = await client.upload_videos(f"{google_bucket.url}/in", "restless", options=quick())
    assert {(failure.path, failure.reason) for failure in report.failures} == {
        (f"{google_bucket.url}/{restless}", RefusalReason.KEEPS_CHANGING),
        (f"{google_bucket.url}/{gone}", RefusalReason.VANISHED),
    }
    assert (report.sent, report.quarantined, report.closes) == (1, 2, True)
    assert hashes_of({still: films[still]}) == emulator.ledger("restless").hashes
    google_bucket.store.faults.clear()


async def test_credentials_that_end_meanwhile_end_the_upload_and_blame_no_object(
    google_bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    objects = images(30)
    google_bucket.put_all(objects)
    google_bucket.store.faults[next(iter(objects))] = ["401"]
    with pytest.raises(NotAuthorised) as raised:
        await client.upload_images(f"{google_bucket.url}/in", "ended", options=quick())
    assert raised.value.report is not None
    assert raised.value.report.failures == []
    report = await client.upload_images(f"{google_bucket.url}/in", "ended", options=quick())
    assert (report.sent, report.closes) == (30, True)
    assert hashes_of(objects) == emulator.ledger("ended").hashes


async def test_a_listing_that_breaks_off_meanwhile_goes_on(
    google_bucket: Bucket, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = images(60)
    google_bucket.put_all(objects)
    monkeypatch.setattr(google_bucket.store, "page_size", 7)
    google_bucket.store.faults["list"] = ["", "", "503", "", "500", "500"]
    report = await client.upload_images(f"{google_bucket.url}/in", "listed", options=quick())
    assert (report.sent, report.closes) == (60, True)
    assert hashes_of(objects) == emulator.ledger("listed").hashes
    assert not google_bucket.store.faults["list"]
