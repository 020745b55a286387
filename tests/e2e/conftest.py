"""A folder of small images, an emulator, and the account of what arrived."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from rfbulk import Client, Settings
from rfbulk.core.retry import RetryPolicy
from rfbulk.emulator import Emulator, EmulatorOptions

QUICK = RetryPolicy(first_seconds=0.01, cap_seconds=0.05, budget_seconds=5.0)


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
def write_images(tmp_path: Path) -> Callable[..., Path]:
    """Write `count` files that are images by their names, a third of them in subfolders."""

    def write(count: int, folder: str = "images", seed: int = 1, size: int = 2000) -> Path:
        chance = random.Random(seed)
        root = tmp_path / folder
        for number in range(count):
            below = ["", "day-1", "day-1/cam-2"][number % 3]
            path = root / below / f"img-{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"\xff\xd8" + chance.randbytes(chance.randrange(1, size)))
        return root

    return write


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
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=QUICK, stall_seconds=2.0)
    async with Client(emulator.api_key, settings=settings) as client:
        yield client
