"""Killed at any named place and said again, an ingest of references asks for each exactly once."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rfbulk.core.failpoints import OF_INGESTS, Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, together

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + 9
VIDEOS = 5_100
REPEATED = {Failpoint.INGEST_INTENDED, Failpoint.INGEST_ANSWERED, Failpoint.INGEST_RECORDED}
"""What each request meets: two of at most 5,000."""


def write_list(path: Path, signature: str) -> Path:
    """Videos elsewhere, signed anew for each run, as lists are."""
    rows = [
        {"name": f"{number}.mp4", "url": f"https://bucket.example/{number}?X-Goog-Signature={signature}"}
        for number in range(VIDEOS)
    ]
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


async def test_killed_at_a_failpoint_and_said_again_each_reference_is_asked_for_once(tmp_path: Path) -> None:
    cases = [f"{each}:{number}" for each in REPEATED for number in (1, 2)]
    cases += [str(each) for each in OF_INGESTS - REPEATED]
    await together(lambda case: die_and_resume(tmp_path / case.replace(":", "-"), case), cases)


async def die_and_resume(home: Path, failpoint: str) -> None:
    write_list(home / "list.key", "canary-1")
    async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
        commands = Commands(emulator.url, home)
        line = ["upload", "references", str(home / "list.key"), "-b", "clips", "--kind", "videos"]
        line += ["--json", "--quiet-period", "0"]
        killed = await commands.run(*line, RFBULK_FAILPOINT=failpoint)
        assert killed.code == KILLED, killed
        write_list(home / "list.key", "canary-2")
        report = (await commands.run(*line)).json
        assert (report["planned"], report["sent"], report["requests"]) == (VIDEOS, VIDEOS, 2)
        assert report["is_confirmed"]
        assert emulator.ledger("clips").names == Counter(f"{number}.mp4" for number in range(VIDEOS))
        commands.look_for_secrets()
