"""What earlier uploads did in how long: remembered in checkpoints, the latest of the same road and service counts."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest
from msgspec.structs import replace

from rfbulk.client.context import entered_in_thread
from rfbulk.client.measuring import FACT, latest_measured, remember
from rfbulk.core.advice import Measured
from rfbulk.core.model import BatchId
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio
MEASURED = Measured(100.0, 1 << 30, 1000)


@asynccontextmanager
async def opened(folder: Path, batch: str, road: str = "upload-images", used: float = 0.0) -> AsyncIterator[Checkpoint]:
    """A checkpoint that was used last at a time of the test's choice."""
    identity = Identity("https://api.test", "workspace", BatchId(batch), ("/source",), road)
    async with entered_in_thread(open_checkpoint(folder, identity)) as checkpoint:
        yield checkpoint
        path = checkpoint.path
    os.utime(path, (used, used))


async def found(
    folder: Path, road: str = "upload-images", service: str = "https://api.test"
) -> tuple[Measured, str] | None:
    latest = await anyio.to_thread.run_sync(partial(latest_measured, folder, road=road, service=service))
    return None if latest is None else (replace(latest[0], ended=0.0), latest[1])


async def test_the_latest_upload_that_was_measured_is_found(tmp_path: Path) -> None:
    async with opened(tmp_path, "old", used=100.0) as checkpoint:
        await remember(checkpoint, Measured(50.0, 9, 9))
    async with opened(tmp_path, "new", used=200.0) as checkpoint:
        await remember(checkpoint, MEASURED)
    async with opened(tmp_path, "newest", used=300.0) as checkpoint:
        await remember(checkpoint, Measured(1.0, 9, 9))  # it says nothing
    async with opened(tmp_path, "videos", "upload-videos", used=400.0) as checkpoint:
        await remember(checkpoint, Measured(70.0, 9, 9))
    assert await found(tmp_path) == (MEASURED, "the rate of the upload into batch new 5 s ago")
    assert await found(tmp_path, "upload-videos") == (
        Measured(70.0, 9, 9),
        "the rate of the upload into batch videos 5 s ago",
    )
    assert await found(tmp_path, service="https://other.test") is None


async def test_a_later_run_takes_the_place_of_an_earlier_one(tmp_path: Path) -> None:
    async with opened(tmp_path, "spring") as checkpoint:
        await remember(checkpoint, Measured(50.0, 9, 9))
        await remember(checkpoint, MEASURED)
        await remember(checkpoint, Measured(0.0, 0, 0))
    latest = await found(tmp_path)
    assert latest is not None
    assert latest[0] == MEASURED


@pytest.mark.parametrize("text", ["", "[]", '{"seconds":1}', "\x00"])
async def test_what_cannot_be_read_is_left_out(text: str, tmp_path: Path) -> None:
    async with opened(tmp_path, "good", used=100.0) as checkpoint:
        await remember(checkpoint, MEASURED)
    async with opened(tmp_path, "bad", used=200.0) as checkpoint:
        await checkpoint.record_fact(FACT, text)
    (tmp_path / "broken.sqlite").write_bytes(b"no database")
    assert await found(tmp_path) == (MEASURED, "the rate of the upload into batch good 5 s ago")


async def test_a_machine_that_never_sent_knows_nothing(tmp_path: Path) -> None:
    assert await found(tmp_path / "nowhere") is None
