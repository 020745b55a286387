"""Killed, interrupted, out of room or with a failing disk: said again, an upload sends each image exactly once."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import anyio
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import (
    KEY,
    RFBULK,
    Commands,
    Ended,
    chance_of,
    closes,
    hashes_of,
    read,
    together,
    until,
    write_images,
)
from tests.support.strace import injecting, why_no_strace

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + signal.SIGKILL
INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}
CYCLES = int(os.environ.get("RFBULK_CRASH_CYCLES", "10"))
SEED = int(os.environ.get("RFBULK_CRASH_SEED", "1"))
IMAGES = 120
RATE = "512KiB"
PROMPT_SECONDS = 6.0
DYING_SECONDS = 1.0


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Some 1.3 MiB: an upload takes about three seconds at the rate of these tests."""
    return write_images(tmp_path / "images", IMAGES, size=15_000)


def line(images: Path, *more: str) -> list[str | Path]:
    """An upload slow enough to be met under way."""
    shape = ["--shard-images", "10", "--quiet-period", "100ms", "--json"]
    return ["upload", "images", images, "--batch-id", "crash", *shape, *(more or ("--limit-rate", RATE))]


async def finish(commands: Commands, emulator: Emulator, images: Path) -> None:
    """Say it again, undisturbed: each image is in the batch once."""
    ended = await commands.run(*line(images, "--concurrency", "4"))
    assert ended.code == 0, ended
    report = ended.json
    assert (report["sent"], report["is_confirmed"], closes(report)) == (IMAGES, True, True), report
    assert hashes_of(images) == emulator.ledger("crash").hashes
    commands.look_for_secrets()


@asynccontextmanager
async def another(home: Path) -> AsyncIterator[tuple[Commands, Emulator]]:
    """A service and a user of its own, beside others in the same test."""
    await anyio.Path(home).mkdir()
    async with Emulator(EmulatorOptions(api_key=KEY, index_delay_seconds=0.05)) as emulator:
        yield Commands(emulator.url, home), emulator


@pytest.mark.timeout(60 + 6 * CYCLES)
async def test_killed_again_and_again_at_any_moment_each_image_arrives_once(tmp_path: Path, images: Path) -> None:
    """Two rows of deaths at a time. RFBULK_CRASH_CYCLES asks for more deaths, RFBULK_CRASH_SEED for other ones."""

    async def die_often(row: int, deaths: int) -> None:
        chance = chance_of(SEED, row)
        async with another(tmp_path / f"row-{row}") as (commands, emulator):
            for death in range(deaths):
                code = await killed_after(commands, images, chance.uniform(0.2, 1.6))
                if code != KILLED or death == deaths - 1:
                    assert code in {0, KILLED}, (row, death)
                    await finish(commands, emulator, images)
                    shutil.rmtree(commands.state, ignore_errors=True)
                    break
        if death < deaths - 1:
            await die_often(row + 2, deaths - 1 - death)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(die_often, 0, CYCLES // 2)
        tasks.start_soon(die_often, 1, CYCLES - CYCLES // 2)


async def killed_after(commands: Commands, images: Path, seconds: float) -> int:
    async with commands.started(*line(images)) as running:
        with anyio.move_on_after(seconds):
            return (await running.ended()).code
        running.signal(signal.SIGKILL)
        return (await running.ended()).code


@pytest.mark.parametrize("number", INTERRUPTED)
async def test_a_signal_at_any_moment_ends_the_upload_promptly_and_a_resume_sends_the_rest(
    tmp_path: Path, images: Path, number: signal.Signals
) -> None:
    chance = chance_of(SEED, number)

    async def interrupt(home: Path, seconds: list[float]) -> None:
        async with another(home) as (commands, emulator):
            for moment in seconds:
                ended = await interrupted_after(commands, images, number, moment)
                assert ended.code in {0, INTERRUPTED[number]}, ended
                assert "Traceback" not in ended.err
            await finish(commands, emulator, images)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(interrupt, tmp_path / "one", [chance.uniform(0.1, 0.6), chance.uniform(0.9, 2.0)])
        tasks.start_soon(interrupt, tmp_path / "two", [chance.uniform(0.5, 1.0), chance.uniform(0.5, 3.0)])


async def interrupted_after(commands: Commands, images: Path, number: signal.Signals, seconds: float) -> Ended:
    async with commands.started(*line(images)) as running:
        await anyio.sleep(seconds)
        running.signal(number)
        ended = await running.ended(PROMPT_SECONDS)
        if '"planned"' in ended.out and ended.code != 0:
            assert "run the same again to resume" in ended.err
            assert closes(ended.json)
        return ended


@pytest.mark.parametrize("number", INTERRUPTED)
async def test_an_interrupted_upload_says_how_to_resume(
    commands: Commands, emulator: Emulator, images: Path, number: signal.Signals
) -> None:
    async with commands.started(*line(images)) as running:
        await until(lambda: emulator.requests["put"])
        running.signal(number)
        ended = await running.ended(PROMPT_SECONDS)
    assert ended.code == INTERRUPTED[number]
    assert "stopping: what is in flight may finish" in ended.err
    assert "run the same again to resume" in ended.err
    report = ended.json
    assert closes(report)
    assert report["left"] > 0
    await finish(commands, emulator, images)


async def test_a_second_signal_ends_at_once(commands: Commands, emulator: Emulator, images: Path) -> None:
    async with commands.started(*line(images, "--limit-rate", "20KiB")) as running:
        await until(lambda: emulator.requests["put"])
        running.signal(signal.SIGINT)
        await running.said("stopping")
        running.signal(signal.SIGINT)
        ended = await running.ended(DYING_SECONDS)
    assert ended.code == 130
    await finish(commands, emulator, images)


async def test_the_second_process_on_a_checkpoint_leaves_at_once_and_names_the_first(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    async with commands.started(*line(images, "--limit-rate", "768KiB")) as first:
        await until(lambda: emulator.requests["put"])
        second = await commands.run(*line(images))
        assert (second.code, second.out) == (5, "")
        assert f"process {first.process.pid} " in second.err
        assert second.err.count("\n") == 1
        assert (await first.ended()).code == 0
    assert hashes_of(images) == emulator.ledger("crash").hashes


# disks


@cache
def why_no_mount() -> str:
    """Why no file system of any size can be had here, or nothing."""
    if shutil.which("unshare") is None or shutil.which("mount") is None:
        return "unshare and mount are not installed"
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], check=False, capture_output=True, timeout=10
    )
    return tried.stderr.decode().strip()


FULL_DISK = """
mount -t tmpfs -o mode=700,size="$ROOM" tmpfs "$RFBULK_STATE_DIR" || exit 99
"$@" 2>"$HOME/first.err" >"$HOME/first.out"
echo $? >"$HOME/first.code"
mount -o remount,size=64m "$RFBULK_STATE_DIR" || exit 98
exec "$@"
"""


async def test_a_full_disk_ends_the_upload_with_a_clear_error_and_room_lets_it_go_on(
    tmp_path: Path, images: Path
) -> None:
    """The first upload has little room for its checkpoint; the same again finds more."""
    errors = await fill_disks(tmp_path, images, ["48k", "112k", "320k"])
    for room in ("112k", "320k"):
        assert "the disk is full (make room, then run the same again)" in errors[room]


async def test_a_disk_that_fills_while_the_checkpoint_is_made_leaves_no_damaged_one(
    tmp_path: Path, images: Path
) -> None:
    await fill_disks(tmp_path, images, ["72k", "80k"])


async def fill_disks(tmp_path: Path, images: Path, rooms: list[str]) -> dict[str, str]:
    if why := why_no_mount():
        pytest.skip(f"a file system of this size cannot be mounted: {why}")

    errors: dict[str, str] = {}

    async def fill(room: str) -> None:
        async with another(tmp_path / room) as (commands, emulator):
            commands.state.mkdir()
            program = ("unshare", "--mount", "sh", "-c", FULL_DISK, "sh", *RFBULK)
            ended = await commands.run(*line(images, "--concurrency", "2"), program=program, ROOM=room)
            code, error = int(read(commands.home / "first.code")), read(commands.home / "first.err")
            errors[room] = error
            assert (ended.code, code) == (0, 1), (error, ended)
            assert "Traceback" not in error
            assert re.search(r"^error: .* the disk (is full|failed to read or write it) \(", error), error
            assert (ended.json["sent"], closes(ended.json)) == (IMAGES, True)
            assert hashes_of(images) == emulator.ledger("crash").hashes

    await together(fill, rooms)
    return errors


@pytest.mark.parametrize("moments", [("1+", "5+", "10+"), ("16+", "22", "33")])
async def test_a_failed_sync_is_fatal_and_what_was_not_durable_is_not_called_sent(
    tmp_path: Path, images: Path, moments: tuple[str, ...]
) -> None:
    """The disk fails from some sync on, or once; the first dozen syncs make the checkpoint's file."""
    if why := why_no_strace():
        pytest.skip(f"no call can be made to fail: {why}")

    async def fail_at(moment: str) -> None:
        async with another(tmp_path / moment) as (commands, emulator):
            await one_failed_sync(commands, images, moment)
            await finish(commands, emulator, images)

    await together(fail_at, moments)


async def one_failed_sync(commands: Commands, images: Path, moment: str) -> None:
    program = (*injecting("fdatasync,fsync", f"error=EIO:when={moment}"), *RFBULK)
    ended = await commands.run(*line(images, "--concurrency", "2"), program=program)
    assert ended.code == 1, ended
    assert "Traceback" not in ended.err
    assert "the disk failed to read or write it" in ended.err
    assert '"is_confirmed":true' not in ended.out


@pytest.mark.parametrize("moment", ["20+", "45+"])
async def test_a_disk_without_room_for_a_write_is_told_and_room_lets_it_go_on(
    tmp_path: Path, images: Path, moment: str
) -> None:
    """Some writes are those of the checkpoint's file, later ones of its log. Nothing that failed is called sent."""
    if why := why_no_strace():
        pytest.skip(f"no call can be made to fail: {why}")
    async with another(tmp_path / "home") as (commands, emulator):
        program = (*injecting("pwrite64", f"error=ENOSPC:when={moment}"), *RFBULK)
        ended = await commands.run(*line(images, "--concurrency", "2"), program=program)
        assert ended.code == 1, ended
        assert "the disk is full (make room, then run the same again)" in ended.err
        assert "Traceback" not in ended.err
        await finish(commands, emulator, images)


SEAMS = {"fdatasync,fsync": (3, 12, 19), "sendto,sendmsg": (1, 2)}
"""Calls between which everything outside happens, and the how many-th of a thread is surely made: one writes the
checkpoint, and each shard has one that sends its head, and its body."""


@pytest.mark.parametrize("calls", SEAMS)
async def test_killed_at_a_call_of_the_system_each_image_arrives_once(tmp_path: Path, images: Path, calls: str) -> None:
    if why := why_no_strace():
        pytest.skip(f"no call can be made to kill: {why}")

    async def die_at(moment: int) -> None:
        async with another(tmp_path / str(moment)) as (commands, emulator):
            program = (*injecting(calls, f"signal=KILL:when={moment}"), *RFBULK)
            ended = await commands.run(*line(images, "--concurrency", "2"), program=program)
            assert ended.code == KILLED, ended
            await finish(commands, emulator, images)

    await together(die_at, SEAMS[calls])
