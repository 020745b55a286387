"""What the library raises and tells, however deep one looks, holds no secret."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from rfbulk import Client, Settings, UploadOptions
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.errors import RfbulkError
from tests.canary.conftest import KEY
from tests.canary.looking import Canaries, all_text_of
from tests.canary.test_commands import GRANTS, QUOTED, XML, fault
from tests.crash.commands import write_images

if TYPE_CHECKING:
    from rfbulk.events import Event

pytestmark = pytest.mark.anyio
IMPATIENT = RetryPolicy(first_seconds=0.01, cap_seconds=0.02, budget_seconds=0.1)


@pytest.mark.parametrize(
    ("operation", "status", "body"),
    [
        ("workspace", 401, QUOTED),
        ("workspace", 200, QUOTED[:-4]),
        ("grant", 403, QUOTED),
        ("grant", 200, QUOTED),
        ("grant", 200, f'{{"signedURLDetails": {{"uploadURL": "{GRANTS["userinfo"]}"}}}}'),
        ("put", 403, XML),
        ("put", 503, XML),
        ("shards", 500, QUOTED),
    ],
)
async def test_an_upload_that_fails_says_no_secret(
    canaries: Canaries, tmp_path: Path, caplog: pytest.LogCaptureFixture, operation: str, status: int, body: str
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[Event] = []
    images = write_images(tmp_path / "images", 4)
    async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
        emulator.faults.add(fault(operation, status, body, times=None))
        settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=IMPATIENT)
        text = b""
        async with Client(KEY, settings=settings) as client:
            text += repr((client, vars(client), settings)).encode()
            try:
                options = UploadOptions(quiet_seconds=0.05, wait_seconds=0.5)
                report = await client.upload_images(images, "a", options=options, on_event=told.append)
                text += repr(report).encode()
            except RfbulkError as error:
                text += all_text_of(error)
        assert emulator.faults.unconsumed() == []
    assert canaries.within(text) == set()
    assert canaries.within(repr(told).encode() + str(list(map(str, told))).encode()) == set()
    assert canaries.within(caplog.text.encode()) == set()
    assert text
