"""An upload by a real cluster of several processes, any of which dies at any moment: each image exactly once."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from rfbulk.emulator import Emulator
from tests.crash.commands import Commands, Ended, closes, hashes_of, until, write_images
from tests.crash.test_sending_processes import children_of, runs
from tests.support.clusters import RealCluster, real_cluster

pytest.importorskip("distributed", reason="CLUSTERS ARE NOT TESTED: Dask is not installed; pip install 'rfbulk[dask]'")
IMAGES = int(os.environ.get("RFBULK_TEST_CLUSTER_IMAGES", "5000"))  # `make cluster` has twenty times as many
SHARDS = 100 if IMAGES <= 5000 else 200
SCALE = max(1, IMAGES // SHARDS // 50)
"""How much larger a shard is, and so how much faster the slow lines are."""

SLOW = f"put:slow,bytes-per-second={500_000 * SCALE},times=forever"
pytestmark = [
    pytest.mark.anyio,
    pytest.mark.crash,
    pytest.mark.slow,
    pytest.mark.timeout(240 if IMAGES <= 5000 else 900),
]
KILLED = 128 + signal.SIGKILL
SECONDS = 60.0 if IMAGES <= 5000 else 240.0
PROMPT_SECONDS = 4.0
"""The grace, and less than what a worker that tells nothing would be waited for."""

_SIGNED = re.compile(r"X-Goog-Signature|X-Goog-Credential|Signature=", re.IGNORECASE)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "images", IMAGES, size=700)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with real_cluster(tmp_path / "cluster", 2) as cluster:
        yield cluster


def line(images: Path, cluster: str, *more: str) -> list[str | Path]:
    shape = ["--shard-images", str(IMAGES // SHARDS), "--quiet-period", "200ms", "--json"]
    return ["upload", "images", images, "--batch-id", "far", "--cluster", cluster, *shape, *more]


def assert_whole(ended: Ended, emulator: Emulator, images: Path) -> None:
    assert ended.code == 0, ended
    assert (ended.json["sent"], ended.json["is_confirmed"], closes(ended.json)) == (IMAGES, True, True)
    assert hashes_of(images) == emulator.ledger("far").hashes


async def test_workers_send_all_and_no_log_of_the_cluster_shows_a_secret(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path
) -> None:
    assert_whole(await commands.run(*line(images, cluster.address)), emulator, images)
    assert emulator.requests["put"] == SHARDS
    assert "rfbulk-" in cluster.said(), "the logs tell of our tasks"
    assert not _SIGNED.search(cluster.said())
    commands.look_for_secrets()


async def test_workers_that_are_killed_cost_nothing_but_time(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path
) -> None:
    emulator.faults.add(SLOW)
    async with commands.started(*line(images, cluster.address)) as running:
        await until(lambda: emulator.requests["put"] > 20, SECONDS)
        cluster.workers[0].kill()
        cluster.start_worker()
        await until(lambda: emulator.requests["put"] > 60, SECONDS)
        cluster.workers[1].kill()
        ended = await running.ended(SECONDS)
    assert_whole(ended, emulator, images)
    commands.look_for_secrets()


async def test_a_scheduler_that_is_killed_and_comes_back_is_waited_for(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path
) -> None:
    emulator.faults.add(SLOW)
    async with commands.started(*line(images, cluster.address, "-v")) as running:
        await until(lambda: emulator.requests["put"] > 20, SECONDS)
        assert cluster.scheduler is not None
        cluster.scheduler.kill()
        for worker in cluster.workers:
            worker.kill()
        cluster.start_scheduler()
        cluster.start_worker()
        ended = await running.ended(SECONDS)
    assert_whole(ended, emulator, images)


async def test_a_cluster_that_is_gone_for_good_is_told_and_another_resumes(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path
) -> None:
    emulator.faults.add(SLOW)
    async with commands.started(*line(images, cluster.address, "--retry-for", "3s")) as running:
        await until(lambda: emulator.requests["put"] > 20, SECONDS)
        cluster.end()
        ended = await running.ended(SECONDS)
    assert (ended.code, "cluster" in ended.err) == (5, True), ended
    emulator.faults.clear()
    assert_whole(await commands.run(*line(images, "local:2"), seconds=SECONDS), emulator, images)


async def test_a_coordinator_that_is_killed_resumes_and_its_workers_stop_meanwhile(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path
) -> None:
    emulator.faults.add(f"put:slow,bytes-per-second={8000 * SCALE},times=forever")
    async with commands.started(*line(images, cluster.address)) as running:
        await until(lambda: emulator.requests["put"] > 7, SECONDS)
        running.signal(signal.SIGKILL)
        assert (await running.ended()).code == KILLED
    await anyio.sleep(2.0)  # they look several times a second whether somebody waits for them
    arrived = emulator.ledger("far").hashes.total()
    emulator.faults.clear()
    await anyio.sleep(6.5)  # longer than a shard would have taken
    assert arrived == emulator.ledger("far").hashes.total(), "workers go on for a coordinator that is dead"
    assert_whole(await commands.run(*line(images, cluster.address), seconds=SECONDS), emulator, images)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_an_interrupt_ends_it_promptly_and_nothing_is_left_in_doubt(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, number: signal.Signals
) -> None:
    emulator.faults.add(f"put:slow,bytes-per-second={3000 * SCALE},times=forever")
    async with commands.started(*line(images, cluster.address, "--grace", "300ms")) as running:
        await until(lambda: emulator.requests["put"] > 3, SECONDS)
        running.signal(number)
        began = time.monotonic()
        ended = await running.ended(SECONDS)
    assert time.monotonic() - began < PROMPT_SECONDS
    assert 128 + number == ended.code, ended
    assert closes(ended.json)
    assert "Traceback" not in ended.err
    emulator.faults.clear()
    assert_whole(await commands.run(*line(images, cluster.address), seconds=SECONDS), emulator, images)


async def test_a_local_cluster_mends_itself_and_dies_with_its_coordinator(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    emulator.faults.add(SLOW)
    async with commands.started(*line(images, "local:2")) as running:
        await until(lambda: emulator.requests["put"] > 10, SECONDS)
        scheduler, *workers = sorted(children_of(running.process.pid))
        assert len(workers) == 2
        os.kill(workers[0], signal.SIGKILL)
        await until(lambda: len(set(children_of(running.process.pid)) - {scheduler, *workers}) == 1, SECONDS)
        os.kill(scheduler, signal.SIGKILL)
        ended = await running.ended(SECONDS)
    assert_whole(ended, emulator, images)
    emulator.faults.clear()
    emulator.faults.add(f"put:slow,bytes-per-second={4000 * SCALE},times=forever")
    before = emulator.requests["put"]
    async with commands.started(*line(images, "local:2", "--restart")) as running:
        await until(lambda: emulator.requests["put"] > before + 2, SECONDS)
        children = children_of(running.process.pid)
        running.signal(signal.SIGKILL)
        await running.ended()
        await until(lambda: not any(map(runs, children)), SECONDS)
