"""A look at a cluster: what fits, what does not and why, as a table and as JSON, by exit codes."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

from rfbulk.emulator import Emulator
from tests.crash.commands import Commands, write_images
from tests.support.clusters import RealCluster, free_port, real_cluster

pytest.importorskip("distributed", reason="CLUSTERS ARE NOT TESTED: Dask is not installed; pip install 'rfbulk[dask]'")
Line: TypeAlias = list[str | Path]
pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "images", 12, size=700)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with real_cluster(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


def copied(images: Path, there: Path, *, has_same_content: bool) -> Path:
    """Files of the same sizes and times under other inode numbers."""
    for path in images.rglob("*.jpg"):
        copy = there / path.relative_to(images)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes() if has_same_content else bytes(path.stat().st_size))
        os.utime(copy, ns=(0, path.stat().st_mtime_ns))
    return there


async def test_workers_that_see_the_same_fit(commands: Commands, cluster: RealCluster, images: Path) -> None:
    ended = await commands.run("cluster", "check", images, "--cluster", cluster.address, "--json")
    assert (ended.code, ended.json["fit"]) == (0, 2), ended
    for worker in ended.json["workers"]:
        assert (
            worker["threads"],
            worker["faults"],
            worker["looked_at"],
            worker["other_inodes"],
        ) == (2, [], 5, False)
        assert ended.json["here"] == worker["versions"]
        assert abs(worker["clock_seconds"]) < 1.0


async def test_it_is_a_table_for_people(commands: Commands, cluster: RealCluster, images: Path) -> None:
    ended = await commands.run("cluster", "check", images, "--cluster", cluster.address)
    lines = ended.out.splitlines()
    assert "2 of 2 workers" in lines[0]
    assert lines[1].split() == ["worker", "threads", "rfbulk", "python", "distributed", "clock", "source", "line"]
    assert len(lines) == 4
    assert all(re.search(r" same$", line) for line in lines[2:]), lines


async def test_lines_are_measured_by_shards_into_a_batch_for_the_purpose(
    commands: Commands, emulator: Emulator, cluster: RealCluster
) -> None:
    speed = ["--speed-batch", "scratch", "--speed-bytes", "3MiB"]
    ended = await commands.run("cluster", "check", "--cluster", cluster.address, "--json", *speed)
    assert ended.code == 0, ended
    assert all(worker["bytes_per_second"] > 1e5 for worker in ended.json["workers"])
    assert ended.json["together_bytes_per_second"] > 1e5
    assert emulator.requests["put"] == 4, "each alone, then both together"
    commands.look_for_secrets()


async def test_a_line_that_leads_nowhere_is_a_fault(commands: Commands, cluster: RealCluster) -> None:
    url = f"http://127.0.0.1:{free_port()}/x?X-Goog-Signature=canary"
    ended = await commands.run("cluster", "check", "--cluster", cluster.address, "--speed-url", url, "--json")
    assert (ended.code, ended.json["fit"]) == (1, 0)
    assert all("its line" in worker["faults"][0] for worker in ended.json["workers"])
    assert "canary" not in ended.out + ended.err + cluster.said()


async def test_what_is_not_there_or_not_the_same_is_told(
    commands: Commands, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    """A folder that looks alike is not the same: other content, other times, files that are missing."""
    (tmp_path / "empty").mkdir()
    write_images(tmp_path / "other", 12, size=700, seed=2)
    whys = {"none": "is not there", "empty": "No such file", "other": "bytes there|another time there"}
    for name, why in whys.items():
        there = tmp_path / name
        line: Line = ["cluster", "check", images, "--cluster", cluster.address, "--json"]
        ended = await commands.run(*line, "--path-map", f"{images}={there}")
        assert (ended.code, ended.json["fit"]) == (1, 0), ended
        assert re.search(why, ended.json["workers"][0]["faults"][0]), ended


async def test_a_copy_that_differs_in_content_alone_is_found_out(
    commands: Commands, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    there = copied(images, tmp_path / "copy", has_same_content=False)
    line: Line = [
        "cluster",
        "check",
        images,
        "--cluster",
        cluster.address,
        "--json",
        "--path-map",
        f"{images}={there}",
    ]
    ended = await commands.run(*line)
    assert (ended.code, "other content" in ended.json["workers"][0]["faults"][0]) == (1, True), ended


async def test_a_mount_that_numbers_files_otherwise_is_fit_for_uploads(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    """Copies with the same sizes, times and contents: what a mount with inode numbers of its own looks like."""
    there = copied(images, tmp_path / "copy", has_same_content=True)
    mapped = ["--cluster", cluster.address, "--json", "--path-map", f"{images}={there}"]
    ended = await commands.run("cluster", "check", images, *mapped)
    assert (ended.code, ended.json["workers"][0]["other_inodes"]) == (0, True), ended
    line: Line = ["upload", "images", images, "--batch-id", "copies", "--quiet-period", "100ms", *mapped]
    ended = await commands.run(*line)
    assert (ended.code, ended.json["sent"]) == (0, 12), ended
    assert emulator.ledger("copies").hashes.total() == 12


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        ([], 2, "no cluster was named"),
        (["--cluster", "nonsense"], 2, "tcp://HOST:PORT"),
        (["--cluster", "tcp://10.9.8.7:1"], 2, "allow-insecure-cluster"),
        (["--cluster", "./not-there.json"], 2, "not-there.json"),
        (["--cluster", "local:0"], 2, "local:1"),
        (["--cluster", "local:1", "--cluster-ca", "x"], 2, "together"),
        (["--path-map", "/a=/b"], 2, "goes with --cluster"),
        (["--cluster", "local", "--path-map", "a"], 2, "absolute"),
    ],
)
async def test_wrong_input_is_told_at_once(commands: Commands, arguments: list[str], code: int, text: str) -> None:
    ended = await commands.run("cluster", "check", *arguments)
    assert (code, True) == (ended.code, text in " ".join(ended.err.split())), ended
    assert "Traceback" not in ended.err


async def test_a_scheduler_that_is_not_there_is_told(commands: Commands) -> None:
    ended = await commands.run("cluster", "check", "--cluster", f"tcp://127.0.0.1:{free_port()}", seconds=40)
    assert (ended.code, "scheduler" in ended.err) == (5, True), ended
