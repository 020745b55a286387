"""The C programs of the benchmarks, compiled once, and a bench whose sets lie in a folder of the test."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.bench import Bench
from benchmarks.sink import Sink


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("there is no C compiler, so the programs of the benchmarks are NOT tried")
    return tmp_path_factory.mktemp("build")


@pytest.fixture(scope="session")
def running_sink(build: Path) -> Iterator[Sink]:
    with Sink(build) as sink:
        yield sink


@pytest.fixture
def sink(running_sink: Sink) -> Sink:
    running_sink.reset(sums=True)
    return running_sink


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """What a small run is made of. It may not install anything."""
    return Bench(
        rounds=0,
        scale=None,
        smoke=True,
        data=tmp_path / "data",
        build=tmp_path / "build",
        python=Path(sys.executable),
        inference=tmp_path / "nowhere" / "inference",
    )
