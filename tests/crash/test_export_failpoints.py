"""Killed at any named place of a remote file's way home and said again, an export ends with the same tree."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from rfbulk.core.failpoints import OF_EXPORTS, Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, chance_of, together, until
from tests.support.batches import results_batch, tree_of

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + 9
BATCH = "results"
IN_THE_WAY = "images/img-00003.jpg"
MINE = b"a file of the user's own"


def lay_in_the_way(home: Path) -> None:
    path = home / "target" / IN_THE_WAY
    path.parent.mkdir(parents=True)
    path.write_bytes(MINE)


@dataclass(frozen=True, slots=True)
class Road:
    """How an export is led to a failpoint that an ordinary one does not meet.

    `before` is done to the user's folder first; `runs_first` has a whole export go before, of which files are lost.
    """

    faults: tuple[str, ...] = ()
    before: Callable[[Path], None] = lambda _home: None
    runs_first: bool = False


ROADS = {
    Failpoint.FAILED_RECORDED: Road(faults=("download:status=418,match=img-00005",)),
    Failpoint.OTHER_PATH_RECORDED: Road(before=lay_in_the_way),
    Failpoint.RESTORE_RECORDED: Road(runs_first=True),
}
OFTEN = {Failpoint.PAGE_RECORDED, Failpoint.FETCH_STAGED, Failpoint.FETCH_ENDED}
"""What a run meets more than once: there it also dies the second time."""


@pytest.mark.parametrize("failpoint", sorted(OF_EXPORTS))
async def test_killed_at_a_failpoint_and_said_again_the_tree_is_the_same(failpoint: Failpoint, tmp_path: Path) -> None:
    deaths = [f"{failpoint}", f"{failpoint}:2"] if failpoint in OFTEN else [f"{failpoint}"]

    async def die(row: int) -> None:
        home = tmp_path / str(row)
        home.mkdir()
        await die_and_resume(home, ROADS.get(failpoint, Road()), deaths[row])

    await together(die, range(len(deaths)))


async def die_and_resume(home: Path, road: Road, death: str) -> None:
    parts, tree = results_batch()
    target = home / "target"
    road.before(home)
    async with Emulator(EmulatorOptions(api_key=KEY, page_size=15, asked_page_size="ignored")) as emulator:
        await emulator.add_batch(BATCH, parts=parts)
        commands = Commands(emulator.url, home)
        if road.runs_first:
            assert (await export(commands, target) or {})["fetched"] == 45
            lose_some(target)
        emulator.faults.add(*road.faults)
        assert await export(commands, target, failpoint=death) is None
        report = await export(commands, target)
        assert report is not None
        assert report["left"] + report["failed"] == 0, report
        if road.before is lay_in_the_way:
            tree |= {IN_THE_WAY: MINE, "images/img-00003~2.jpg": tree[IN_THE_WAY]}
        assert tree == tree_of(target)
        assert (target / f"{BATCH}.manifest.jsonl").read_bytes().count(b"\n") == report["files"]
        assert emulator.faults.unconsumed() == []
        commands.look_for_secrets()


async def test_killed_again_and_again_at_random_times_it_ends_with_the_same_tree(tmp_path: Path) -> None:
    parts, tree = results_batch()
    target, chance = tmp_path / "target", chance_of(7)
    async with Emulator(
        EmulatorOptions(api_key=KEY, page_size=15, asked_page_size="ignored", latency_seconds=0.02)
    ) as emulator:
        await emulator.add_batch(BATCH, parts=parts)
        commands = Commands(emulator.url, tmp_path)
        for _ in range(6):
            async with commands.started("export", BATCH, target, "--concurrency", "2") as running:
                await anyio.sleep(0.3 + chance.random() * 0.5)
                running.signal(signal.SIGKILL)
                await running.ended()
        report = await export(commands, target)
        assert report is not None
        assert report["left"] + report["failed"] == 0, report
        assert tree == tree_of(target)
        commands.look_for_secrets()


async def test_a_first_ctrl_c_keeps_the_checkpoint_and_says_how_to_resume(tmp_path: Path) -> None:
    parts, tree = results_batch()
    target = tmp_path / "target"
    async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
        await emulator.add_batch(BATCH, parts=parts)
        emulator.faults.add("download:slow,seconds=1,after=10,times=5")
        commands = Commands(emulator.url, tmp_path)
        async with commands.started("export", BATCH, target) as running:
            await until(lambda: emulator.requests["download"] > 10)
            running.signal(signal.SIGINT)
            ended = await running.ended()
        assert ended.code == 130
        assert "run the same again to resume" in ended.err
        emulator.faults.clear()
        assert await export(commands, target) is not None
        assert tree == tree_of(target)


def lose_some(target: Path) -> None:
    (target / "images/img-00001.jpg").unlink()
    (target / "archives/crop-001.png").unlink()


async def export(commands: Commands, target: Path, *, failpoint: str = "") -> dict[str, Any] | None:
    """Run the command. Returns its report, None if it was killed."""
    here = ["--processes", "1"] if failpoint.startswith(Failpoint.FETCH_STAGED) else []  # others are not led there
    ended = await commands.run("export", BATCH, target, "--json", *here, RFBULK_FAILPOINT=failpoint)
    assert "Traceback" not in ended.err
    if ended.code == KILLED:
        return None
    assert (ended.code, failpoint) == (0, ""), ended
    report: dict[str, Any] = ended.json
    sides = report["fetched"] + report["already_here"] + report["failed"] + report["left"]
    assert report["listed"] == sides, report
    return report
