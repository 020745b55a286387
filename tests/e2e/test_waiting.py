"""Waiting for a batch by what this machine has sent into it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from rfbulk import Client, UploadOptions
from rfbulk.client.batches import wait_for_batch
from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.errors import WaitTimeout
from rfbulk.events import Event, ShardSent, ignore

pytestmark = pytest.mark.anyio
OPTIONS = UploadOptions(quiet_seconds=0.1, shard_images=5, concurrency=1)


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(index_delay_seconds=0.3)


async def test_what_was_uploaded_is_expected(client: Client, write_images: Callable[..., Path]) -> None:
    unwaited = UploadOptions(wait=False, shard_images=5)
    await client.upload_images(write_images(12), "spring", options=unwaited)
    state = await client.wait_for_batch("spring")
    assert (state.count, state.expected, state.is_ready) == (12, 12, True)


async def test_several_uploads_into_one_batch_are_expected_together(
    client: Client, write_images: Callable[..., Path]
) -> None:
    for number in (1, 2):
        source = write_images(6, folder=f"day-{number}", seed=number)
        await client.upload_images(source, "spring", options=UploadOptions(names="path", quiet_seconds=0.1))
    await client.upload_images(write_images(3, folder="other"), "summer", options=OPTIONS)
    assert (await client.wait_for_batch("spring")).expected == 12


async def test_a_shard_that_was_granted_and_never_filled_holds_nothing_up(
    client: Client, write_images: Callable[..., Path], emulator: Emulator
) -> None:
    """After a 403 the store is sent another; the service may list the first for ever."""
    emulator.faults.add("put:status=403")
    report = await client.upload_images(write_images(12), "spring", options=OPTIONS)
    assert (report.sent, report.unused_grants) == (12, 1)
    state = await wait_for_batch(client._context, "spring", None, 20.0, ignore, quiet_seconds=0.3)
    assert (state.is_ready, state.pending, state.unused_grants) == (True, 1, 1)
    with pytest.raises(WaitTimeout, match="1 shards are pending"):
        await wait_for_batch(client._context, "spring", 13, 1.0, ignore, quiet_seconds=0.3)


async def test_a_batch_whose_upload_was_stopped_is_not_ready(
    client: Client, write_images: Callable[..., Path], emulator: Emulator
) -> None:
    stop = anyio.Event()

    def on_event(event: Event) -> None:
        if isinstance(event, ShardSent):
            stop.set()

    images = write_images(60)
    report = await client.upload_images(images, "spring", options=OPTIONS, on_event=on_event, stop=stop)
    assert report.left
    await emulator.settled()
    with pytest.raises(WaitTimeout, match="its upload has not come to an end"):
        await client.wait_for_batch("spring", seconds=0.5)
    await client.upload_images(images, "spring", options=OPTIONS)
    assert (await client.wait_for_batch("spring", seconds=5.0)).is_ready
