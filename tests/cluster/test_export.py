"""An export by a real cluster into a folder that its workers share, one of which dies: each file whole and once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from rfbulk.emulator import Emulator
from tests.crash.commands import Commands, Ended, hashes_of, until, write_images
from tests.support.clusters import RealCluster, real_cluster

pytest.importorskip("distributed", reason="CLUSTERS ARE NOT TESTED: Dask is not installed; pip install 'rfbulk[dask]'")
Line: TypeAlias = list[str | Path]
pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow, pytest.mark.timeout(240)]
FILES = 1500
SECONDS = 60.0


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "images", FILES, size=700)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RealCluster]:
    with real_cluster(tmp_path / "cluster", 2) as cluster:
        yield cluster


async def filled(commands: Commands, images: Path) -> None:
    line: Line = ["upload", "images", images, "--batch-id", "home", "--quiet-period", "100ms", "--quiet"]
    assert (await commands.run(*line)).code == 0


async def export(commands: Commands, target: Path, cluster: str, *more: str) -> Ended:
    return await commands.run("export", "home", target, "--cluster", cluster, "--json", *more, seconds=SECONDS)


def assert_here(ended: Ended, target: Path, images: Path) -> None:
    assert (ended.code, ended.json["left"], ended.json["failed"]) == (0, 0, 0), ended
    (target / "home.manifest.jsonl").unlink()
    assert hashes_of(images) == hashes_of(target), "whole, and nothing beside: no mark, no staging"


async def test_workers_bring_all_home_and_again_nothing(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    await filled(commands, images)
    ended = await export(commands, tmp_path / "target", cluster.address)
    assert ended.code == 0, ended
    before = emulator.requests["download"]
    again = await export(commands, tmp_path / "target", cluster.address)
    assert (0, before) == (again.code, emulator.requests["download"]), again
    assert_here(again, tmp_path / "target", images)
    assert "X-Goog-Signature" not in cluster.said()
    commands.look_for_secrets()


async def test_a_worker_that_dies_costs_nothing_but_time(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    await filled(commands, images)
    target = tmp_path / "target"
    line: Line = ["export", "home", target, "--cluster", cluster.address, "--json"]
    async with commands.started(*line) as running:
        await until(lambda: emulator.requests["download"] > 100, SECONDS)
        cluster.workers[0].kill()
        ended = await running.ended(SECONDS)
    assert_here(ended, target, images)


async def test_a_target_that_workers_do_not_share_is_refused(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    await filled(commands, images)
    target, other = tmp_path / "target", tmp_path / "other"
    other.mkdir()
    before = emulator.requests["download"]
    ended = await export(commands, target, cluster.address, "--path-map", f"{target}={other}")
    assert (2, before) == (ended.code, emulator.requests["download"]), ended
    assert "not seen there" in ended.err
    assert list(other.iterdir()) == []
    other.rmdir()
    other.symlink_to(target)
    ended = await export(commands, target, cluster.address, "--path-map", f"{target}={other}")
    assert_here(ended, target, images)
