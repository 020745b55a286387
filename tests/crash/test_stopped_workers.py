"""A worker process that is stopped, and holds its pipes and connections, costs the stall limit and nothing else."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path

import anyio
import pytest

from rfbulk import Client, ExportOptions, Settings, UploadOptions
from rfbulk.emulator import Emulator
from tests.crash.commands import KEY, hashes_of, read, until, write_images
from tests.support.batches import results_batch, tree_of

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
STALL_SECONDS = 1.5
SLOW_SECONDS = 20.0  # what a busy machine may take
SLOW = "put:slow,bytes-per-second=40000,times=forever"
IMAGES = 160


def workers() -> set[int]:
    """The worker processes of this one that make an attempt: one thread listens, one says that it lives, one works."""
    found: set[int] = set()
    for thread in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError):
            found |= set(map(int, read(thread).split()))
    return {pid for pid in found if "rfbulk.workers.child" in command_of(pid) and threads_of(pid) >= 3}


def command_of(pid: int) -> str:
    with suppress(OSError):
        return read(Path(f"/proc/{pid}/cmdline"))
    return ""


def threads_of(pid: int) -> int:
    with suppress(OSError):
        return len(list(Path(f"/proc/{pid}/task").iterdir()))
    return 0


def client(emulator: Emulator, tmp_path: Path) -> Client:
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", stall_seconds=STALL_SECONDS)
    return Client(KEY, settings=settings)


async def test_an_upload_outlives_workers_that_are_stopped(emulator: Emulator, tmp_path: Path) -> None:
    images = write_images(tmp_path / "images", IMAGES, size=6000)
    emulator.faults.add(SLOW)
    stopped: set[int] = set()

    async def stop_one(count: int) -> None:
        found = await until(lambda: workers() - stopped, SLOW_SECONDS)
        await until(lambda: emulator.requests["put"] >= count, SLOW_SECONDS)
        os.kill(min(found), signal.SIGSTOP)
        stopped.add(min(found))

    async def stop_two() -> None:
        await stop_one(5)
        await stop_one(9)
        emulator.faults.clear()

    options = UploadOptions(shard_images=10, processes=2, concurrency=6, quiet_seconds=0.1)
    async with client(emulator, tmp_path) as opened:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(stop_two)
            with anyio.fail_after(60):
                report = await opened.upload_images(images, "crash", options=options)
        assert report.sent == IMAGES
        assert report.is_confirmed
    assert len(stopped) == 2
    assert hashes_of(images) == emulator.ledger("crash").hashes
    assert not any(map(command_of, stopped)), "it must be gone"


async def test_an_export_outlives_workers_that_are_stopped(emulator: Emulator, tmp_path: Path) -> None:
    parts, tree = results_batch()
    await emulator.add_batch("results", parts=parts)
    emulator.faults.add("download:slow,seconds=0.2,times=30")
    stopped: list[int] = []

    async def stop_all() -> None:
        found = await until(lambda: workers() if len(workers()) == 2 else set(), SLOW_SECONDS)
        await until(lambda: emulator.requests["download"] >= 6, SLOW_SECONDS)
        for pid in found:
            os.kill(pid, signal.SIGSTOP)
            stopped.append(pid)

    async with client(emulator, tmp_path) as opened, anyio.create_task_group() as tasks:
        tasks.start_soon(stop_all)
        with anyio.fail_after(60):
            options = ExportOptions(processes=2, concurrency=4)
            report = await opened.export("results", tmp_path / "target", options=options)
    emulator.faults.clear()
    assert len(stopped) == 2
    assert (report.failed, report.left) == (0, 0)
    assert tree == tree_of(tmp_path / "target")
    assert not any(map(command_of, stopped)), "it must be gone"
