"""A target on a real disk and a receiver into it."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from blockbuster import blockbuster_ctx

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchJob, FetchKind, Move, UnpackLimits
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.receivers.inline import Folders, InlineReceiver, open_inline_receiver
from tests.edge import conftest as edge

if TYPE_CHECKING:
    from rfbulk.core.fetching import Unpacked
    from rfbulk.core.secrets import SignedUrl
    from rfbulk.edge.threads import Rate

authority = edge.authority  # a fixture

OPTIONS = TransportOptions(connect_seconds=5.0, environment={})
LIMITS = UnpackLimits(reserve_bytes=0)
Open = Callable[..., AbstractAsyncContextManager[InlineReceiver]]


class Unlimited:
    """A rate that never makes anybody wait, and counts."""

    def __init__(self) -> None:
        self.counted: list[int] = []

    def due(self, count: int) -> float:
        self.counted.append(count)
        return 0.0


@dataclass
class Target:
    """The folder of an export, and what is beside it that must stay as it is."""

    path: Path
    staging: Path
    reached: list[Failpoint] = field(default_factory=list)

    @property
    def folders(self) -> Folders:
        return Folders(os.fsencode(self.path), os.fsencode(self.staging))

    def job(self, url: SignedUrl, number: int = 1, path: str = "a.jpg", **fields: Any) -> FetchJob:
        return FetchJob(number, url, self.folders.target, self.folders.staging, path, **fields)

    def tar(self, url: SignedUrl, number: int = 1) -> FetchJob:
        return self.job(url, number, f"archive-{number}", kind=FetchKind.TAR_GZ)

    def move(self, member: Unpacked, path: str = "", *, overwrite: bool = False) -> Move:
        where = self.folders.target, self.folders.staging, member.staged, path or member.name
        return Move(*where, member.size, member.crc32c, overwrite)

    def landed(self) -> dict[str, bytes]:
        """All files but those in staging."""
        return {name: data for name, data in tree(self.path).items() if not name.startswith(".staging")}

    def staged(self) -> dict[str, bytes]:
        return tree(self.staging)


def tree(folder: Path) -> dict[str, bytes]:
    """All that is in a folder: files with their content, links with where they lead, empty folders as such."""
    found: dict[str, bytes] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = b"-> " + os.fsencode(path.readlink())
        elif path.is_file():
            found[name] = path.read_bytes()
        elif not any(path.iterdir()):
            found[name + "/"] = b""
    return found


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    """A target with a neighbour that nothing may touch."""
    folder = tmp_path / "target"
    folder.mkdir()
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_bytes(b"precious")
    yield Target(folder, folder / ".staging")
    assert tree(tmp_path / "outside") == {"precious": b"precious"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["outside", "target"]


@pytest.fixture(autouse=True)
def _no_blocking_on_the_loop() -> Iterator[None]:
    with blockbuster_ctx("rfbulk"):
        yield


@pytest.fixture
def open_receiver(target: Target) -> Open:
    """Open a receiver into the target; its failpoints are noted there."""

    @asynccontextmanager
    async def open_it(
        *,
        options: TransportOptions = OPTIONS,
        rate: Rate | None = None,
        stall_seconds: float = 5.0,
        most_at_once: int = 4,
        limits: UnpackLimits = LIMITS,
        reach: Callable[[Failpoint], None] | None = None,
    ) -> AsyncIterator[InlineReceiver]:
        async with (
            open_transport(options) as transport,
            open_inline_receiver(
                transport,
                target.folders,
                stall_seconds=stall_seconds,
                rate=rate or Unlimited(),
                most_at_once=most_at_once,
                limits=limits,
                reach=reach or target.reached.append,
            ) as receiver,
        ):
            yield receiver

    return open_it
