"""Second tries and resumed runs, killed where it hurts: each image arrives exactly once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk.core.failpoints import Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, SMALL, Commands, closes, hashes_of, write_images

pytestmark = [pytest.mark.anyio, pytest.mark.crash]
KILLED = 137


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, jobs=JobOptions(task_files=3))


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


@pytest.mark.parametrize(
    "failpoint",
    [
        Failpoint.CHECKPOINT_OPENED,
        Failpoint.GRANT_RECEIVED,
        Failpoint.ATTEMPT_RECORDED,
        Failpoint.ANSWER_RECEIVED,
        Failpoint.SENT_RECORDED,
        Failpoint.CONFIRM_STARTED,
    ],
)
@pytest.mark.parametrize("options", [EmulatorOptions(api_key=KEY, max_shard_bytes=30_000, limit_statement="none")])
async def test_a_second_try_is_killed_and_said_again(
    commands: Commands, emulator: Emulator, tmp_path: Path, failpoint: Failpoint
) -> None:
    folder = write_images(tmp_path / "images", 100)
    line: list[str | Path] = ["upload", "images", folder, "-b", "spring", *SMALL, "--json"]
    first = await commands.run(*line)
    assert (first.code, first.json["failed"] > 0) == (6, True)
    killed = await commands.run(*line, "--retry-failed", RFBULK_FAILPOINT=str(failpoint))
    assert killed.code == KILLED, killed
    ended = await commands.run(*line, "--retry-failed")
    assert (ended.code, ended.json["sent"], ended.json["is_confirmed"]) == (0, 100, True), ended
    assert closes(ended.json)
    assert hashes_of(folder) == emulator.ledger("spring").hashes


async def test_a_killed_run_goes_on_by_the_id_of_its_upload(
    commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:03}.png").write_bytes(sample_image(number))
    line = ["run", folder.name, "-w", "detect", "--param", "confidence=0.4", "-o", "results", "--batch-id", "spring"]
    killed = await commands.run(*line, cwd=tmp_path, RFBULK_FAILPOINT=f"{Failpoint.SENT_RECORDED}:1")
    assert killed.code == KILLED, killed
    listed = await commands.run("checkpoint", "list", "--json")
    (known,) = [each for each in listed.lines if each["kind"] == "upload"]
    ended = await commands.run("checkpoint", "resume", known["id"])
    assert ended.code == 0, ended
    assert any(path.is_file() for path in (tmp_path / "results").rglob("*"))
    assert hashes_of(folder) == emulator.ledger("spring").hashes
    again = await commands.run(*line, "--json", cwd=tmp_path)
    assert again.code == 0, again
