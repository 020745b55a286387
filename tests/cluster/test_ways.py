"""Clusters that are reached, mounted, limited or disturbed otherwise; and the library in other programs' loops."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import anyio
import pytest
import trustme

from rfbulk import Client, Settings, UploadOptions
from rfbulk.core.clusters import ClusterOptions
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import Emulator
from rfbulk.emulator.images import sample_image
from rfbulk.events import Event, Warned
from tests.crash.commands import Commands, hashes_of, until, write_images
from tests.support.clusters import RealCluster, real_cluster

pytest.importorskip("distributed", reason="CLUSTERS ARE NOT TESTED: Dask is not installed; pip install 'rfbulk[dask]'")
Line: TypeAlias = list[str | Path]
pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(240)]
IMAGES = 400
QUICK = ["--shard-images", "20", "--quiet-period", "100ms", "--json"]
SECONDS = 60.0
POLICY = RetryPolicy(first_seconds=0.05, cap_seconds=0.5, budget_seconds=30.0)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("source") / "images", IMAGES, size=700)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealCluster]:
    with real_cluster(tmp_path_factory.mktemp("cluster"), 2) as cluster:
        yield cluster


def client_of(emulator: Emulator, folder: Path, stall_seconds: float = 60.0) -> Client:
    settings = Settings(api_url=emulator.url, state_dir=folder, retry=POLICY, stall_seconds=stall_seconds)
    return Client(emulator.api_key, settings=settings)


def options_of(cluster: str, **more: object) -> UploadOptions:
    few = {"shard_images": 20, "quiet_seconds": 0.1} | more
    return UploadOptions(cluster=ClusterOptions(cluster), **few)  # type: ignore[arg-type]  # of one kind each


@pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"use_uvloop": loop}) for loop in (False, True)], ids=["asyncio", "uvloop"]
)
async def test_a_program_sends_by_a_cluster_from_its_own_loop_and_two_at_once(
    emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    reports = {}
    async with client_of(emulator, tmp_path / "state") as client, anyio.create_task_group() as group:

        async def send(batch: str) -> None:
            reports[batch] = await client.upload_images(images, batch, options=options_of(cluster.address))

        group.start_soon(send, "one")
        group.start_soon(send, "two")
    for batch in ("one", "two"):
        assert (reports[batch].sent, reports[batch].is_confirmed) == (IMAGES, True)
        assert hashes_of(images) == emulator.ledger(batch).hashes


async def test_a_frozen_worker_is_given_up_and_what_it_says_later_changes_nothing(
    emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    """A zombie: stopped in the middle of shards, woken when others have sent them."""
    emulator.faults.add("put:slow,bytes-per-second=60000,times=forever")
    warnings: list[str] = []

    def on_event(event: Event) -> None:
        if isinstance(event, Warned):
            warnings.append(event.text)

    async def freeze(cluster: RealCluster) -> None:
        await until(lambda: emulator.requests["put"] > 5, SECONDS)
        cluster.workers[0].kill(signal.SIGSTOP)
        await until(lambda: any("silent" in text for text in warnings), SECONDS)
        await anyio.sleep(1.0)
        cluster.workers[0].kill(signal.SIGCONT)

    with real_cluster(tmp_path / "cluster", 2) as cluster:
        async with (
            client_of(emulator, tmp_path / "state", stall_seconds=2.0) as client,
            anyio.create_task_group() as group,
        ):
            group.start_soon(freeze, cluster)
            options = options_of(cluster.address)
            report = await client.upload_images(images, "frozen", options=options, on_event=on_event)
    assert (report.sent, report.is_confirmed) == (IMAGES, True), report
    assert hashes_of(images) == emulator.ledger("frozen").hashes


async def test_tls_is_spoken_with_certificates_of_ones_own(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    authority, folder = trustme.CA(), tmp_path / "keys"
    folder.mkdir()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(folder / "ca.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    files = [f"{folder}/{name}.pem" for name in ("ca", "cert", "key")]
    tls = [
        word for name, file in zip(("ca-file", "cert", "key"), files, strict=True) for word in (f"--tls-{name}", file)
    ]
    with real_cluster(tmp_path / "cluster", 1, tls=tls) as cluster:
        assert cluster.address.startswith("tls://")
        line: Line = ["upload", "images", images, "--batch-id", "tls", "--cluster", cluster.address, *QUICK]
        mine = ["--cluster-ca", files[0], "--cluster-cert", files[1], "--cluster-key", files[2]]
        ended = await commands.run(*line, *mine, seconds=SECONDS)
        assert (ended.code, ended.json["sent"]) == (0, IMAGES), ended
        without = await commands.run(*line, "--cluster-wait", "3s", seconds=SECONDS)
        assert without.code in {2, 5}
        assert "Traceback" not in without.err
    assert hashes_of(images) == emulator.ledger("tls").hashes


async def test_a_schedulers_file_says_where_it_is(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    file = tmp_path / "scheduler.json"
    file.write_text(f'{{"type": "Scheduler", "address": "{cluster.address}", "workers": {{}}}}')
    ended = await commands.run("upload", "images", images, "--batch-id", "file", "--cluster", file, *QUICK)
    assert (ended.code, ended.json["sent"]) == (0, IMAGES), ended


async def test_folders_that_workers_call_otherwise_are_mapped(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path, tmp_path: Path
) -> None:
    there = tmp_path / "mnt"
    there.symlink_to(images)
    line: Line = [
        "upload",
        "images",
        images,
        "--batch-id",
        "mapped",
        "--cluster",
        cluster.address,
        *QUICK,
        "--path-map",
    ]
    wrong = await commands.run(*line, f"{images}=/nowhere/at/all")
    assert (wrong.code, emulator.requests["put"]) == (2, 0), wrong
    assert "/nowhere/at/all" in wrong.err
    ended = await commands.run(*line, f"{images.parent}={tmp_path / 'gone'}", "--path-map", f"{images}={there}")
    assert (ended.code, ended.json["sent"]) == (0, IMAGES), ended


async def test_a_limited_rate_is_shared_by_all_workers(
    commands: Commands, emulator: Emulator, cluster: RealCluster, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.mkdir()
    for number in range(12):
        (large / f"{number}.jpg").write_bytes(b"\xff\xd8" + os.urandom(250_000))
    line: Line = [
        "upload",
        "images",
        large,
        "--batch-id",
        "slow",
        "--cluster",
        cluster.address,
        "--json",
        "--no-wait",
    ]
    began = time.monotonic()
    ended = await commands.run(*line, "--limit-rate", "500KB", "--shard-images", "1", seconds=SECONDS)
    assert (ended.code, ended.json["sent"]) == (0, 12), ended
    assert time.monotonic() - began > 3_000_000 / 500_000 - 1.5


async def test_files_that_change_are_sent_as_they_are_and_bad_ones_are_named(
    commands: Commands, emulator: Emulator, cluster: RealCluster, tmp_path: Path
) -> None:
    odd = write_images(tmp_path / "odd", 40, size=700)
    secret = odd / "secret.jpg"
    secret.write_bytes(b"\xff\xd8 cannot be read")
    (odd / "empty.jpg").write_bytes(b"")
    line: Line = ["upload", "images", odd, "--batch-id", "odd", "--cluster", cluster.address, *QUICK]
    ended = await commands.run(*line)
    assert (ended.code, ended.json["sent"]) == (3, 41), ended
    (odd / "img-00000.jpg").write_bytes(b"\xff\xd8 other than before")
    ended = await commands.run(*line, "--on-changed", "send")
    assert ended.json["sent"] == 42, ended


async def test_a_run_goes_by_a_cluster_up_and_down(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for number in range(30):
        (real / f"{number:03}.png").write_bytes(sample_image(number))
    line: Line = ["run", real, "-w", "detect", "-o", tmp_path / "results", "--cluster", "local:2", "--json"]
    ended = await commands.run(*line, "--quiet-period", "100ms", seconds=SECONDS)
    assert (ended.code, ended.json["is_done"]) == (0, True), ended
    assert any(path.is_file() for path in (tmp_path / "results").rglob("*"))
    assert list((tmp_path / "results").glob(".rfbulk-*")) == []


async def test_videos_go_by_a_cluster(
    commands: Commands, emulator: Emulator, cluster: RealCluster, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for number in range(6):
        (clips / f"clip-{number}.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + os.urandom(50_000))
    line: Line = ["upload", "videos", clips, "--batch-id", "films", "--cluster", cluster.address, "--json"]
    ended = await commands.run(*line, "--quiet-period", "100ms")
    assert (ended.code, ended.json["sent"]) == (0, 6), ended
    assert hashes_of(clips) == emulator.ledger("films").hashes


async def test_overload_of_the_store_slows_all_workers_down(
    commands: Commands, emulator: Emulator, cluster: RealCluster, images: Path
) -> None:
    emulator.faults.add("put:answer,status=429,retry-after=1,times=3")
    emulator.faults.add("put:answer,status=503,times=2")
    line: Line = ["upload", "images", images, "--batch-id", "busy", "--cluster", cluster.address, *QUICK]
    ended = await commands.run(*line, seconds=SECONDS)
    assert (ended.code, ended.json["sent"]) == (0, IMAGES), ended
    assert ended.json["retries"] == {"store 429": 3, "store 503": 2}
    assert hashes_of(images) == emulator.ledger("busy").hashes


async def test_dask_that_is_missing_is_told(commands: Commands, images: Path, tmp_path: Path) -> None:
    hidden = tmp_path / "hidden"
    (hidden / "distributed").mkdir(parents=True)
    (hidden / "distributed" / "__init__.py").write_text("raise ImportError('hidden')")
    begin = f"import sys; sys.path.insert(0, {str(hidden)!r})"
    program = (sys.executable, "-c", f"{begin}; from rfbulk.cli.main import main; main()")
    line: Line = ["upload", "images", images, "--batch-id", "none", "--cluster", "local:1"]
    ended = await commands.run(*line, program=program)
    assert (ended.code, "rfbulk[dask]" in ended.err) == (2, True), ended
