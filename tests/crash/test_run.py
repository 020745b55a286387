"""Killed at any named place and said again, a run makes one batch, one job, one export."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from rfbulk.core.failpoints import OF_RUNS, Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, hash_of, together

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + 9
IMAGES = 40
PLACES = [
    Failpoint.GRANT_RECEIVED,
    Failpoint.ANSWER_RECEIVED,
    Failpoint.CONFIRMED,
    *sorted(OF_RUNS),
    Failpoint.FETCH_STARTED,
    Failpoint.FETCHED_RECORDED,
    Failpoint.MANIFEST_WRITTEN,
]
"""The run's own failpoints, and some of its upload and its export, whose others have tests of their own."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    for number in range(IMAGES):
        path = folder / ["", "day-1"][number % 2] / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(sample_image(number))
    return folder


async def test_killed_anywhere_and_said_again_a_run_makes_one_of_each(tmp_path: Path, images: Path) -> None:
    async def die(failpoint: Failpoint) -> None:
        home = tmp_path / failpoint
        home.mkdir()
        await die_and_resume(home, images, failpoint)

    await together(die, PLACES)


async def die_and_resume(home: Path, images: Path, failpoint: Failpoint) -> None:
    options = EmulatorOptions(api_key=KEY, jobs=JobOptions(JobScript(seconds=0.2)))
    async with Emulator(options) as emulator:
        commands = Commands(emulator.url, home)
        line: list[str | Path] = [
            "run",
            images,
            "-w",
            "detect",
            "-o",
            home / "out",
            "--merge",
            home / "all.jsonl",
            "--json",
        ]
        line += ["--quiet-period", "100ms", "--shard-images", "20"]
        killed = await commands.run(*line, RFBULK_FAILPOINT=str(failpoint))
        assert (killed.code, failpoint) == (KILLED, failpoint)
        ended = await commands.run(*line)
        assert ended.code == 0, ended
        if failpoint is Failpoint.JOB_ENDED:
            again = await commands.run(*line)
            assert (again.code, again.json["job_id"]) == (0, ended.json["job_id"])
        assert emulator.requests["start"] == 1
        await one_of_each(commands, emulator, ended.json["batch_id"], images)
        rows = [json.loads(row) for row in (home / "all.jsonl").read_text().splitlines()]
        assert Counter(row["sha256"] for row in rows) == hashes(images)
        commands.look_for_secrets()


async def one_of_each(commands: Commands, emulator: Emulator, batch: str, images: Path) -> None:
    jobs = (await commands.run("job", "list", "--json")).lines
    assert len(jobs) == 1
    batches = {row["batch_id"] for row in (await commands.run("batch", "list", "--json")).lines}
    made = {name for name in batches if name.startswith(jobs[0]["job_id"])}
    assert batches - made == {batch}
    assert hashes(images) == emulator.ledger(batch).hashes


def hashes(folder: Path) -> Counter[str]:
    return Counter(hash_of(path.read_bytes()) for path in folder.rglob("*.png"))
