"""Lists of paths as sources of an upload, as their user meets them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, SMALL, Commands, closes, hashes_of, write_images

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
IMAGES = 60
PIPE = ("sh", "-c", 'tr "\\n" "${END:-\\n}" < "$LIST" | "$0" "$@"', sys.executable, "-m", "rfbulk")
"""The command behind a pipe that gives it the list."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY)


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", IMAGES)


def write_list(path: Path, folder: Path, *more: str) -> Path:
    """Everything that `find` tells of a folder, and some more."""
    told = subprocess.run(["find", "."], cwd=folder, capture_output=True, text=True, check=True).stdout
    path.write_text(told + "".join(f"{line}\n" for line in more))
    return path


LINE = ("--batch-id", "listed", "--json", *SMALL)


async def test_a_list_is_sent_once_and_again_brings_what_is_new(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    listed = write_list(tmp_path / "list.txt", images, "./img-00000.jpg", "gone.jpg")
    ended = await commands.run("upload", "images", f"@{listed}", *LINE, cwd=images)
    assert (ended.code, ended.json["sent"], ended.json["refused"]) == (3, IMAGES, 1), ended
    assert [(each["reason"], Path(each["path"]).name) for each in ended.json["failures"]] == [("missing", "gone.jpg")]
    assert closes(ended.json)
    assert emulator.ledger("listed").hashes == hashes_of(images)
    write_images(images / "later", 10, seed=2)
    write_list(listed, images)
    again = await commands.run("upload", "images", f"@{listed}", *LINE, cwd=images)
    assert (again.code, again.json["already_sent"], again.json["sent"]) == (0, IMAGES, IMAGES + 10), again
    assert emulator.ledger("listed").hashes == hashes_of(images)


@pytest.mark.parametrize("end", ["\\n", "\\0"])
async def test_a_list_comes_through_a_pipe_and_a_killed_upload_of_it_resumes(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path, end: str
) -> None:
    listed = write_list(tmp_path / "list.txt", images)
    line = ["upload", "images", "-", *LINE]
    killed = await commands.run(
        *line, program=PIPE, cwd=images, LIST=str(listed), END=end, RFBULK_FAILPOINT="sent-recorded"
    )
    assert killed.code in {137, -9}, killed
    ended = await commands.run(*line, program=PIPE, cwd=images, LIST=str(listed), END=end)
    assert (ended.code, ended.json["sent"], ended.json["is_confirmed"]) == (0, IMAGES, True), ended
    assert emulator.ledger("listed").hashes == hashes_of(images)


async def test_a_list_that_is_not_there_is_a_usage_error(commands: Commands) -> None:
    ended = await commands.run("upload", "images", "@nowhere.txt", *LINE)
    assert (ended.code, "nowhere.txt" in ended.err) == (2, True)
