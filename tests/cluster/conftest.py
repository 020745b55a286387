"""Real processes, real clusters of several, one service, and its account of what arrived."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY)


@pytest.fixture
async def emulator(options: EmulatorOptions) -> AsyncIterator[Emulator]:
    async with Emulator(options) as emulator:
        yield emulator
        assert emulator.faults.unconsumed() == []


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Commands:
    home = tmp_path / "home"
    home.mkdir()
    return Commands(emulator.url, home)
