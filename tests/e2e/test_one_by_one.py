"""Images that are posted one by one arrive once each, although the service keeps whatever it is given."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from rfbulk import Client, RetryPolicy, Settings, UploadOptions
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator
from rfbulk.errors import RfbulkError, TroublePassing, UsageError
from rfbulk.events import Event, Warned
from tests.crash.commands import hashes_of

pytestmark = pytest.mark.anyio
IMAGES = 30


def options(**values: Any) -> UploadOptions:
    return UploadOptions(quiet_seconds=0.05, one_by_one=True, **values)


@pytest.fixture
def images(write_images: Callable[..., Path]) -> Path:
    return write_images(IMAGES)


async def test_every_image_arrives_once_under_its_name(client: Client, emulator: Emulator, images: Path) -> None:
    report = await client.upload_images(images, "small", options=options())
    assert (report.sent, report.is_confirmed, report.is_one_by_one, report.closes) == (IMAGES, True, True, True)
    ledger = emulator.ledger("small")
    assert ledger.hashes == hashes_of(images)
    assert "day-1__cam-2__img-00002.jpg" in ledger.names
    again = await client.upload_images(images, "small", options=options())
    assert (again.sent, again.already_sent) == (IMAGES, IMAGES)
    assert emulator.ledger("small").hashes == hashes_of(images)


FAULTS = [
    "image:swallow,times=5",
    "image:reset,times=3",
    "image:status=503,retry-after=0,times=6",
    "image:status=429,times=4",
    "image:status=500,times=4",
    "image:malformed,times=3",
    "image:html,times=3",
    "image:stall,seconds=0,times=2",
]


async def test_what_is_counted_is_confirmed_without_a_wait_for_quiet(
    client: Client, emulator: Emulator, images: Path
) -> None:
    """Single images have no rows to wait for: an hour of quiet would be waited for to the end."""
    patient = UploadOptions(quiet_seconds=3600.0, one_by_one=True)
    with anyio.fail_after(20):
        report = await client.upload_images(images, "prompt", options=patient)
    assert (report.sent, report.is_confirmed) == (IMAGES, True)
    assert emulator.ledger("prompt").hashes.total() == IMAGES


@pytest.mark.parametrize("fault", FAULTS)
async def test_whatever_goes_wrong_each_image_arrives_once(
    client: Client, emulator: Emulator, images: Path, fault: str
) -> None:
    emulator.faults.add(fault)
    report = await client.upload_images(images, "small", options=options())
    assert (report.sent, report.is_confirmed, report.closes) == (IMAGES, True, True)
    assert sum(report.retries.values()) > 0
    assert emulator.ledger("small").hashes == hashes_of(images)


async def test_what_is_unsure_may_be_left_or_sent_again(client: Client, emulator: Emulator, images: Path) -> None:
    emulator.faults.add("image:swallow")
    report = await client.upload_images(images, "small", options=options(on_unsure="skip"))
    assert (report.sent, report.left, report.shards_unsure) == (IMAGES - 1, 1, 1)
    report = await client.upload_images(images, "small", options=options())
    assert (report.sent, report.left, report.is_confirmed) == (IMAGES, 0, True)
    assert emulator.ledger("small").hashes == hashes_of(images)


async def test_a_refused_image_is_named_and_the_others_arrive(client: Client, emulator: Emulator, images: Path) -> None:
    emulator.faults.add("image:status=400,match=img-00003")
    report = await client.upload_images(images, "small", options=options())
    assert (report.sent, report.failed) == (IMAGES - 1, 1)
    assert report.failures[0].reason is RefusalReason.REFUSED_BY_SERVICE
    report = await client.upload_images(images, "small", options=options())
    assert (report.sent, report.failed) == (IMAGES, 0)


async def test_a_wrong_key_ends_it_and_nothing_is_doubled(client: Client, emulator: Emulator, images: Path) -> None:
    emulator.faults.add("image:status=401,after=5")
    with pytest.raises(RfbulkError) as caught:
        await client.upload_images(images, "small", options=options(concurrency=2))
    assert caught.value.report is not None
    assert caught.value.report.closes
    await client.upload_images(images, "small", options=options())
    assert emulator.ledger("small").hashes == hashes_of(images)


async def test_a_service_that_is_down_is_told_once_and_resumed(
    emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    emulator.faults.add("image:status=503,times=forever")
    policy = RetryPolicy(first_seconds=0.01, cap_seconds=0.05, budget_seconds=0.5)
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=policy)
    async with Client(emulator.api_key, settings=settings) as client:
        with pytest.raises(TroublePassing):
            await client.upload_images(images, "small", options=options(concurrency=2))
        emulator.faults.clear()
        report = await client.upload_images(images, "small", options=options())
    assert (report.sent, report.is_confirmed) == (IMAGES, True)
    assert emulator.ledger("small").hashes == hashes_of(images)


async def test_cancelled_anywhere_and_said_again_each_arrives_once(
    client: Client, emulator: Emulator, images: Path
) -> None:
    for seconds in (0.01, 0.03, 0.06):
        with anyio.move_on_after(seconds):
            await client.upload_images(images, "small", options=options(concurrency=3))
    report = await client.upload_images(images, "small", options=options())
    assert report.sent == IMAGES
    assert emulator.ledger("small").hashes == hashes_of(images)


async def test_shards_and_single_images_do_not_meet_in_a_batch(client: Client, images: Path) -> None:
    await client.upload_images(images, "single", options=options())
    await client.upload_images(images, "shards", options=UploadOptions(quiet_seconds=0.05))
    with pytest.raises(UsageError, match="filled by single uploads"):
        await client.upload_images(images, "single", options=UploadOptions())
    with pytest.raises(UsageError, match="holds shards"):
        await client.upload_images(images, "shards", options=options())


async def test_more_than_5000_are_hinted_at(client: Client, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(5001):
        (folder / f"{number}.png").write_bytes(b"x")
    events: list[Event] = []
    stop = anyio.Event()

    def on_event(event: Event) -> None:
        events.append(event)
        if isinstance(event, Warned):
            stop.set()

    await client.upload_images(folder, "small", options=options(grace_seconds=0.0), on_event=on_event, stop=stop)
    assert [event.text for event in events if isinstance(event, Warned) and "5,000 images" in event.text]


async def test_checked_images_are_looked_into_before_they_are_finished(
    client: Client, emulator: Emulator, tmp_path: Path
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    (folder / "whole.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x04ab\xff\xda\0\x02data\xff\xd9")
    (folder / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0\0\x04ab\xff\xda\0\x02data")
    report = await client.upload_images(folder, "small", options=options(check_images=True))
    assert (report.sent, report.quarantined) == (1, 1)
    assert report.failures[0].reason is RefusalReason.DAMAGED
    assert set(emulator.ledger("small").names) == {"whole.jpg"}
