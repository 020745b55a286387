"""Videos, single images and checked images by the command line: what is said, what is printed, the exit codes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.emulator.images import write_images as write_pngs
from tests.crash.commands import KEY, Commands, Ended, hashes_of, write_images
from tests.support.clips import write_clips

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
QUICK = ("--quiet-period", "100ms")


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
def clips(tmp_path: Path) -> Path:
    folder = write_clips(tmp_path / "clips", 16)
    (folder / "text.mp4").write_text("no video")
    return folder


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Real images, one of them cut short, and a text with an image's name."""
    folder = tmp_path / "pictures"
    write_pngs(folder, 30, 1)
    whole = next(folder.glob("*.png"))
    (folder / "cut.png").write_bytes(whole.read_bytes()[:-20])
    (folder / "page.jpg").write_text("<html>")
    return folder


def is_right(ended: Ended, code: int = 0) -> str:
    assert ended.code == code, ended
    return ended.out


async def test_videos_are_told_in_their_own_words(commands: Commands, emulator: Emulator, clips: Path) -> None:
    line = ["upload", "videos", str(clips), "-b", "films", *QUICK]
    assert "would send 17 videos" in is_right(await commands.run(*line, "--dry-run"))
    out = is_right(await commands.run(*line), 3)
    assert "batch films: 16 videos stored and indexed by the service" in out
    assert "in 16 files" in out
    assert "no-video" in out
    assert emulator.ledger("films").names.total() == 16
    again = (await commands.run(*line, "--json", "--exclude", "text.mp4")).json
    assert (again["already_sent"], again["content"]) == (16, "videos")


async def test_images_one_by_one_are_told_as_requests(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", 12)
    line = ["upload", "images", str(images), "-b", "small", "--one-by-one", *QUICK]
    out = is_right(await commands.run(*line))
    assert "12 images stored and indexed by the service" in out
    assert "in 12 requests" in out
    assert emulator.ledger("small").hashes == hashes_of(images)
    refused = await commands.run("upload", "images", images, "-b", "small", *QUICK)
    assert "filled by single uploads" in refused.err
    is_right(refused, 2)
    told = await commands.run(*line, "--notifications-url", "https://me.example/")
    is_right(told, 2)


async def test_checked_images_are_named_and_the_rest_goes(
    commands: Commands, emulator: Emulator, pictures: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    line = ["upload", "images", str(pictures), "-b", "checked", "--check-images", "--report", str(report), *QUICK]
    out = is_right(await commands.run(*line), 3)
    assert "30 images stored and indexed" in out
    assert "planned 32 = sent 30 + quarantined 2 + failed 0 + left 0" in out
    assert "cut short: it has no IEND" in out
    assert "a text that begins with <" in out
    assert {"cut.png", "page.jpg"}.isdisjoint(emulator.ledger("checked").names)
    assert emulator.ledger("checked").granted == 1
    assert report.read_text().count('"damaged-image"') == 2
    unchecked = await commands.run("upload", "images", pictures, "-b", "all", *QUICK)
    assert "32 images stored" in is_right(unchecked, unchecked.code)
