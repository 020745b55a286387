"""Objects of a bucket by a cluster: workers read with their own credentials, the coordinator sends none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rfbulk.emulator import Emulator
from tests.clouds.test_relay import hashes_of, images
from tests.crash.commands import Commands
from tests.support.clouds import Bucket, moto
from tests.support.clusters import RealCluster, real_cluster

pytest.importorskip("distributed", reason="CLUSTERS ARE NOT TESTED: Dask is not installed; pip install 'rfbulk[dask]'")
pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(240)]
OBJECTS = 300


@pytest.fixture(scope="module")
def bucket() -> Iterator[Bucket]:
    with moto() as new_bucket:
        bucket = new_bucket()
        bucket.put_all(images(OBJECTS))
        yield bucket


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, bucket: Bucket) -> Iterator[RealCluster]:
    with real_cluster(tmp_path_factory.mktemp("cluster"), 2, environment=dict(bucket.environment)) as cluster:
        yield cluster


def variables(bucket: Bucket) -> dict[str, Any]:
    return dict(bucket.environment)


def line(bucket: Bucket, cluster: RealCluster) -> list[str]:
    shape = ["--shard-images", "20", "--quiet-period", "100ms", "--json"]
    return ["upload", "images", f"{bucket.url}/in", "--batch-id", "far", "--cluster", cluster.address, *shape]


async def test_workers_read_objects_with_credentials_of_their_own(
    commands: Commands, emulator: Emulator, bucket: Bucket, cluster: RealCluster
) -> None:
    ended = await commands.run(*line(bucket, cluster), seconds=60, **variables(bucket))
    assert (ended.code, ended.json["sent"]) == (0, OBJECTS), ended
    assert hashes_of(images(OBJECTS)) == emulator.ledger("far").hashes
    assert not any(secret in cluster.said() for secret in bucket.secrets)
    commands.look_for_secrets()


async def test_workers_without_credentials_get_no_work(
    commands: Commands, emulator: Emulator, bucket: Bucket, tmp_path: Path
) -> None:
    nobody = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": bucket.environment.get("AWS_ENDPOINT_URL", "")}
    with real_cluster(tmp_path / "cluster", 1, environment=nobody) as cluster:
        checked = await commands.run(
            "cluster", "check", f"{bucket.url}/in", "--cluster", cluster.address, seconds=60, **variables(bucket)
        )
        assert checked.code == 1, checked
        ended = await commands.run(*line(bucket, cluster), seconds=60, **variables(bucket))
        assert (ended.code, emulator.requests["put"]) == (2, 0), ended
        assert not any(secret in cluster.said() for secret in bucket.secrets)


async def test_a_bucket_is_sent_in_shares(commands: Commands, emulator: Emulator, bucket: Bucket) -> None:
    line = ["upload", "images", f"{bucket.url}/in", "--batch-id", "shared", "--quiet-period", "100ms", "--json"]
    sent = []
    for index in (1, 2, 3):
        ended = await commands.run(*line, "--partition", f"{index}/3", seconds=60, **variables(bucket))
        assert ended.code == 0, ended
        sent.append(ended.json["sent"])
    assert (sum(sent), min(sent) > OBJECTS // 6) == (OBJECTS, True)
    assert hashes_of(images(OBJECTS)) == emulator.ledger("shared").hashes
