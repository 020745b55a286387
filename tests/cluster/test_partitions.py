"""Several commands without a common coordinator, each with its share: together the whole, each image once."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Any, TypeAlias

import anyio
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, Ended, closes, hashes_of, write_images

Line: TypeAlias = list[str | Path]
pytestmark = [pytest.mark.anyio, pytest.mark.slow]
IMAGES = 150
QUICK = ["--quiet-period", "200ms", "--json", "--shard-images", "7", "--processes", "1"]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", IMAGES, size=600)


async def shares(commands: Commands, images: Path, count: int, *more: str) -> list[Ended]:
    """Send all shares at once, each by a process of its own."""
    ended: dict[int, Ended] = {}

    async def send(index: int) -> None:
        line: Line = [
            "upload",
            "images",
            images,
            "--batch-id",
            "shared",
            "--partition",
            f"{index}/{count}",
            *QUICK,
            *more,
        ]
        ended[index] = await commands.run(*line)

    async with anyio.create_task_group() as group:
        for index in range(1, count + 1):
            group.start_soon(send, index)
    return [ended[index] for index in sorted(ended)]


def assert_whole(ended: list[Ended], emulator: Emulator, images: Path) -> None:
    assert [0] * len(ended) == [each.code for each in ended], ended
    reports: list[dict[str, Any]] = [each.json for each in ended]
    assert all(closes(report) for report in reports)
    assert sum(report["sent"] for report in reports) == IMAGES
    assert all(report["is_confirmed"] or not report["sent"] for report in reports)
    assert hashes_of(images) == emulator.ledger("shared").hashes


@pytest.mark.parametrize("count", [1, 3, 7])
async def test_shares_sent_side_by_side_are_the_whole_exactly_once(
    commands: Commands, emulator: Emulator, images: Path, count: int
) -> None:
    assert_whole(await shares(commands, images, count), emulator, images)
    again = await shares(commands, images, count)
    assert sum(each.json["already_sent"] for each in again) == IMAGES
    assert hashes_of(images) == emulator.ledger("shared").hashes
    commands.look_for_secrets()


async def test_what_is_added_later_moves_nothing(commands: Commands, emulator: Emulator, images: Path) -> None:
    await shares(commands, images, 3)
    before = emulator.requests["put"]
    (images / "new.jpg").write_bytes(b"\xff\xd8 one more")
    ended = await shares(commands, images, 3)
    assert [each.code for each in ended] == [0, 0, 0]
    assert emulator.requests["put"] - before == 1
    assert hashes_of(images) == emulator.ledger("shared").hashes


async def test_a_file_that_cannot_be_sent_is_named_by_one_share_alone(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    bad = images / "damaged.jpg"
    bad.write_bytes(b"")
    ended = await shares(commands, images, 2)
    assert sorted(each.code for each in ended) == [0, 3], ended
    named = Counter(failure["path"] for each in ended for failure in each.json["failures"])
    assert {os.fspath(bad): 1} == dict(named)


LIMITED = EmulatorOptions(api_key=KEY, max_shard_bytes=40_000, limit_statement="none")


@pytest.mark.parametrize("options", [LIMITED], ids=["large shards fail"])
async def test_a_shard_that_the_service_fails_is_told_by_its_own_share_alone(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    """The batch's count and rows are of everybody: what others bring must hide nothing, what they lack not alarm."""
    (images / "large.jpg").write_bytes(b"\xff\xd8" + bytes(60_000))
    ended = await shares(commands, images, 3)
    assert sorted(each.code for each in ended) == [0, 0, 6], ended
    failing = next(each.json for each in ended if each.code)
    assert "not-listed" in {failure["reason"] for failure in failing["failures"]}
    assert failing["failed"] == IMAGES + 1 - emulator.ledger("shared").hashes.total()


@pytest.mark.parametrize("options", [EmulatorOptions(api_key=KEY, shard_id_in_url=False)], ids=["ids unknown"])
async def test_shares_are_told_apart_by_names_where_ids_are_not_known(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    assert_whole(await shares(commands, images, 3), emulator, images)


async def test_a_share_of_nothing_is_done(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    few = write_images(tmp_path / "few", 2, size=300)
    ended = await shares(commands, few, 5)
    assert [each.code for each in ended] == [0] * 5, ended
    assert hashes_of(few) == emulator.ledger("shared").hashes


async def test_shares_of_another_count_are_refused(commands: Commands, emulator: Emulator, images: Path) -> None:
    line: Line = ["upload", "images", images, "--batch-id", "shared", *QUICK]
    assert (await commands.run(*line, "--partition", "1/2")).code == 0
    for other in (["--partition", "1/3"], []):
        ended = await commands.run(*line, *other)
        assert (ended.code, "1/2" in ended.err) == (2, True), ended
    assert (await commands.run(*line, "--partition", "2/2")).code == 0
    assert hashes_of(images) == emulator.ledger("shared").hashes


async def test_slurm_and_kubernetes_say_which_share_it_is(commands: Commands, emulator: Emulator, images: Path) -> None:
    line: Line = ["upload", "images", images, "--batch-id", "shared", *QUICK, "--partition"]
    for index in ("0", "1"):
        slurm: dict[str, Any] = {
            "SLURM_ARRAY_TASK_ID": index,
            "SLURM_ARRAY_TASK_MIN": "0",
            "SLURM_ARRAY_TASK_COUNT": "2",
        }
        assert (await commands.run(*line, "auto", **slurm)).code == 0
    assert hashes_of(images) == emulator.ledger("shared").hashes
    ended = await commands.run(*line, "auto/2", "--dry-run", JOB_COMPLETION_INDEX="1")
    assert 0 < ended.json["images"] < IMAGES


async def test_videos_are_shared_too(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(9):
        (clips / f"clip-{number}.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + os.urandom(500))
    codes = []

    async def send(index: int) -> None:
        line: Line = ["upload", "videos", clips, "--batch-id", "films", "--partition", f"{index}/2"]
        codes.append((await commands.run(*line, "--quiet-period", "200ms", "--json")).code)

    async with anyio.create_task_group() as group:
        group.start_soon(send, 1)
        group.start_soon(send, 2)
    assert codes == [0, 0]
    assert hashes_of(clips) == emulator.ledger("films").hashes
