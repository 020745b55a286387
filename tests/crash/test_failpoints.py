"""Killed at any named place of a shard's life and said again, an upload sends each image exactly once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from rfbulk.core.failpoints import OF_UPLOADS, Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, SMALL, Commands, closes, hashes_of, together, write_images

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + 9
IMAGES = 120


@dataclass(frozen=True, slots=True)
class Road:
    """How an upload is led to a failpoint that an ordinary one does not meet."""

    options: EmulatorOptions = field(default_factory=lambda: EmulatorOptions(api_key=KEY))
    faults: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


ROADS = {
    Failpoint.SPLIT_RECORDED: Road(faults=("put:status=413,times=2",)),
    Failpoint.REPACK_RECORDED: Road(options=EmulatorOptions(api_key=KEY, max_shard_bytes=20_000)),
    Failpoint.UNSURE_RECORDED: Road(
        # one shard at a time, so that the second answer of each pair meets the shard whose first answer was lost
        faults=("put:swallow", "put:status=403") * 2,
        arguments=("--concurrency", "1"),
    ),
}
ONCE = {Failpoint.CHECKPOINT_OPENED, Failpoint.SCAN_FINISHED, Failpoint.CONFIRM_STARTED, Failpoint.CONFIRMED}
"""What a run meets only once: there the second run dies too."""


@pytest.mark.parametrize("failpoint", sorted(OF_UPLOADS))
async def test_killed_at_a_failpoint_and_said_again_each_image_arrives_once(
    failpoint: Failpoint, tmp_path: Path
) -> None:
    rows = [[str(failpoint)] * 2] if failpoint in ONCE else [[str(failpoint)], [f"{failpoint}:2"]]
    road = ROADS.get(failpoint, Road())

    async def die(row: int) -> None:
        await die_and_resume(tmp_path / str(row), road, rows[row])

    await together(die, range(len(rows)))


async def die_and_resume(home: Path, road: Road, deaths: list[str]) -> None:
    images = write_images(home / "images", IMAGES)
    async with Emulator(road.options) as emulator:
        emulator.faults.add(*road.faults)
        commands = Commands(emulator.url, home)
        for death in deaths:
            ended = await upload(commands, images, *road.arguments, failpoint=death)
            assert (ended, death) == (KILLED, death)
        assert await upload(commands, images, *road.arguments) == 0
        assert hashes_of(images) == emulator.ledger("crash").hashes
        assert emulator.faults.unconsumed() == []
        commands.look_for_secrets()


async def upload(commands: Commands, images: Path, *arguments: str, failpoint: str = "") -> int:
    line = ["upload", "images", str(images), "--batch-id", "crash", "--json", *SMALL, *arguments]
    ended = await commands.run(*line, RFBULK_FAILPOINT=failpoint)
    assert "Traceback" not in ended.err
    if ended.code != KILLED:
        report = ended.json
        assert closes(report), report
        assert (report["sent"], report["is_confirmed"]) == (IMAGES, True), report
    return ended.code


def change_a_file(images: Path, _emulator: Emulator) -> None:
    (images / "img-00000.jpg").write_bytes(b"other than it was when it was planned")


def let_grants_end(_images: Path, emulator: Emulator) -> None:
    emulator.clock.advance(7200)


CHANGES: list[tuple[Failpoint, Callable[[Path, Emulator], None], Failpoint]] = [
    (Failpoint.GRANT_INTENDED, change_a_file, Failpoint.REPACK_RECORDED),
    (Failpoint.GRANT_RECORDED, change_a_file, Failpoint.REPACK_RECORDED),
    (Failpoint.GRANT_RECORDED, let_grants_end, Failpoint.GRANT_INTENDED),
    (Failpoint.BODY_STARTED, let_grants_end, Failpoint.UNSURE_RECORDED),
    (Failpoint.ANSWER_RECEIVED, let_grants_end, Failpoint.UNSURE_RECORDED),
]


async def test_what_changes_while_it_is_dead_does_no_harm_either(tmp_path: Path) -> None:
    async def die_twice(case: int) -> None:
        first, change, second = CHANGES[case]
        images = write_images(tmp_path / str(case) / "images", IMAGES)
        async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
            commands = Commands(emulator.url, tmp_path / str(case))
            assert (first, await upload(commands, images, failpoint=first)) == (first, KILLED)
            change(images, emulator)
            assert (second, await upload(commands, images, failpoint=second)) == (second, KILLED)
            assert await upload(commands, images) == 0
            assert hashes_of(images) == emulator.ledger("crash").hashes
            commands.look_for_secrets()

    await together(die_twice, range(len(CHANGES)))


async def test_an_unknown_failpoint_is_refused(commands: Commands, images: Path) -> None:
    ended = await commands.run("upload", "images", images, "--batch-id", "crash", RFBULK_FAILPOINT="nowhere")
    assert ended.code == 2
    assert "RFBULK_FAILPOINT" in ended.err
