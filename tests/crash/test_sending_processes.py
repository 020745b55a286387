"""Sending processes and their coordinator die at any moment, alone or together: each image arrives exactly once."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from rfbulk.emulator import Emulator
from tests.crash.commands import Commands, chance_of, closes, hashes_of, read, until, write_images

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
IMAGES = 240
SLOW = "put:slow,bytes-per-second=60000,times=forever"
SLOW_SECONDS = 30.0  # what a machine that is busy with other things may take
KILLED = 128 + signal.SIGKILL


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_images(tmp_path / "images", IMAGES, size=6000)


def line(images: Path, *more: str) -> list[str | Path]:
    shape = ["--shard-images", "10", "--quiet-period", "100ms", "--json", "--processes", "2", "--concurrency", "6"]
    return ["upload", "images", images, "--batch-id", "crash", *shape, *more]


def children_of(pid: int) -> list[int]:
    """The sending processes that a command has started, from any of its threads."""
    found: list[int] = []
    for thread in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += map(int, read(thread).split())
    return found


async def both_children_of(pid: int) -> list[int]:
    await until(lambda: len(children_of(pid)) == 2, SLOW_SECONDS)
    return children_of(pid)


def runs(pid: int) -> bool:
    with suppress(OSError):
        return "Z (zombie)" not in read(Path(f"/proc/{pid}/status"))
    return False


async def test_sending_processes_that_are_killed_cost_nothing_but_time(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    emulator.faults.add(SLOW)
    chance = chance_of(7)
    async with commands.started(*line(images)) as running:
        for victim in await both_children_of(running.process.pid):
            await anyio.sleep(chance.uniform(0.2, 0.6))
            os.kill(victim, signal.SIGKILL)
        ended = await running.ended()
    assert ended.code == 0, ended
    assert (ended.json["sent"], ended.json["is_confirmed"], closes(ended.json)) == (IMAGES, True, True)
    assert hashes_of(images) == emulator.ledger("crash").hashes
    commands.look_for_secrets()


async def test_a_coordinator_that_is_killed_takes_its_processes_along_and_a_resume_sends_the_rest(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    emulator.faults.add(SLOW)
    async with commands.started(*line(images)) as running:
        children = await both_children_of(running.process.pid)
        await until(lambda: emulator.requests["put"] > 6, SLOW_SECONDS)
        running.signal(signal.SIGKILL)
        assert (await running.ended()).code == KILLED
        await until(lambda: not any(map(runs, children)), SLOW_SECONDS)
    emulator.faults.clear()
    ended = await commands.run(*line(images))
    assert (ended.code, ended.json["sent"]) == (0, IMAGES), ended
    assert hashes_of(images) == emulator.ledger("crash").hashes


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_an_upload_by_processes_promptly(
    commands: Commands, emulator: Emulator, images: Path, number: signal.Signals
) -> None:
    emulator.faults.add("put:slow,bytes-per-second=2000,times=forever")
    async with commands.started(*line(images, "--grace", "300ms")) as running:
        children = await both_children_of(running.process.pid)
        await until(lambda: emulator.requests["put"] > 3, SLOW_SECONDS)
        running.signal(number)
        ended = await running.ended(SLOW_SECONDS)
    assert ended.code == 128 + number
    assert "Traceback" not in ended.err
    assert closes(ended.json)
    await until(lambda: not any(map(runs, children)), SLOW_SECONDS)
    emulator.faults.clear()
    assert (await commands.run(*line(images))).code == 0
    assert hashes_of(images) == emulator.ledger("crash").hashes
