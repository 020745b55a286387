"""What befalls objects and their store while they are relayed, injected into the verifier in Google's place."""

from __future__ import annotations

import pytest

from rfbulk import Client
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator
from rfbulk.errors import NotAuthorised
from tests.clouds.test_relay import hashes_of, images
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
