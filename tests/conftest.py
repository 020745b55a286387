"""Both event loops for every async test, and no blocking call on either."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blockbuster import blockbuster_ctx

if TYPE_CHECKING:
    from collections.abc import Iterator

WATCHED = frozenset({"edge", "pipeline"})
"""Rooms of the tests whose subjects must never hold up the loop."""


@pytest.fixture(
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


@pytest.fixture(autouse=True)
def _no_blocking_on_the_loop(request: pytest.FixtureRequest) -> Iterator[None]:
    """A call of rfbulk that blocks the loop raises there; the tests themselves may look at files as they like."""
    path: Path = request.path
    if path.parent.name not in WATCHED or request.node.get_closest_marker("anyio") is None:
        yield
        return
    with blockbuster_ctx("rfbulk"):
        yield
