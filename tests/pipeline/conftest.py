"""Small worlds: a few files, a service, and a checkpoint on disk."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.support.export_fakes import Remote
from tests.support.export_world import ExportWorld
from tests.support.fakes import FakeSource
from tests.support.world import MEMORY, World

MakeWorld: TypeAlias = Callable[..., World]
MakeExport: TypeAlias = Callable[..., ExportWorld]


@pytest.fixture
def state_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as text:
        yield Path(text)


@pytest.fixture
def make_world(state_folder: Path) -> Iterator[MakeWorld]:
    """Make worlds with some files of a hundred bytes each, or with files by name and size."""
    worlds: list[World] = []

    def make(files: int | dict[str, int] = 6, *, group_size: int = 1000) -> World:
        if isinstance(files, int):
            files = {f"{number:03}.png": 100 for number in range(files)}
        world = World(state_folder / str(len(worlds)), FakeSource(files, group_size=group_size))
        _in_thread(world.open)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()


def _in_thread(work: Callable[[], None]) -> None:
    """Opening a checkpoint blocks, which a thread with a loop is not allowed to."""
    with ThreadPoolExecutor(1) as threads:
        threads.submit(work).result()


@pytest.fixture
def make_export(state_folder: Path) -> Iterator[MakeExport]:
    """Make worlds of exports: with so many files of a content of their own, or with these."""
    worlds: list[ExportWorld] = []

    def make(files: int | list[Remote] = 6) -> ExportWorld:
        if isinstance(files, int):
            files = [Remote(f"{number:03}.jpg", f"image {number}".encode()) for number in range(files)]
        world = ExportWorld(state_folder / f"export-{len(worlds)}", files)
        _in_thread(world.open)
        worlds.append(world)
        return world

    yield make
    for world in worlds:
        world.close()


@pytest.fixture
def exporting(make_export: MakeExport) -> ExportWorld:
    return make_export()
