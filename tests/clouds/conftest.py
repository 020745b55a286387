"""The same tests against every cloud that can be had on this machine."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rfbulk import Client, Settings
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.support.clouds import Bucket, NewBucket, all_clouds, azurite, azurite_is_missing, google, moto

QUICK = RetryPolicy(first_seconds=0.01, cap_seconds=0.05, budget_seconds=5.0)
SERVERS = {"s3": moto, "gs": google, "az": azurite}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop: what is tried here happens in threads and in the servers."""
    return "asyncio", {"use_uvloop": True}


@pytest.fixture(scope="session", params=list(SERVERS))
def new_bucket(request: pytest.FixtureRequest) -> Iterator[NewBucket]:
    yield from _served(request.param)


@pytest.fixture(scope="session")
def new_container() -> Iterator[NewBucket]:
    yield from _served("az")


@pytest.fixture(scope="session")
def new_google_bucket() -> Iterator[NewBucket]:
    yield from _served("gs")


def _served(cloud: str) -> Iterator[NewBucket]:
    if cloud == "az" and (why := azurite_is_missing()):
        assert not all_clouds(), why
        pytest.skip(why)
    with SERVERS[cloud]() as new_bucket:
        yield new_bucket


def found_by(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """Put a bucket's variables into the environment, and nothing else of any cloud."""
    monkeypatch.setenv("HOME", "/nowhere")
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    return bucket


@pytest.fixture
def bucket(new_bucket: NewBucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return found_by(new_bucket(), monkeypatch)


@pytest.fixture
def container(new_container: NewBucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return found_by(new_container(), monkeypatch)


@pytest.fixture
def google_bucket(new_google_bucket: NewBucket, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    return found_by(new_google_bucket(), monkeypatch)


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions()


@pytest.fixture
async def emulator(options: EmulatorOptions) -> AsyncIterator[Emulator]:
    async with Emulator(options) as emulator:
        yield emulator
        assert emulator.faults.unconsumed() == []


@pytest.fixture
async def client(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Client]:
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=QUICK, stall_seconds=5.0)
    async with Client(emulator.api_key, settings=settings) as client:
        yield client
