"""A cluster of this machine, for as long as one transfer takes: a scheduler and workers, each a process of its own.

They speak TLS with keys that are made for the occasion and never written, since whoever reaches a scheduler, be it
another user of this machine, can have its workers do anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, cast

import msgspec

from rfbulk.core.clusters import checked_local
from rfbulk.errors import TroublePassing, UsageError

_PROGRAM: Final = (
    "import json, sys; sys.path[:] = json.loads(sys.stdin.readline());"
    " from rfbulk.cluster.local_child import main; main()"
)
_SECRET: Final = ("ROBOFLOW_", "RFBULK_")
START_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 0.5
MAX_RESTARTS: Final = 20


class Part(msgspec.Struct):
    """What one process of a local cluster is told: a scheduler if no `address` is named, else a worker of it."""

    address: str = ""
    name: str = ""
    threads: int = 1
    security: dict[str, str] = {}


@dataclass(slots=True)
class LocalCluster:
    """A cluster of processes. Made by `local_cluster`, which sees to it that dead workers are replaced."""

    count: int
    security: Any
    for_children: dict[str, str]
    address: str = ""
    scheduler: subprocess.Popen[bytes] | None = None
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    restarts: int = 0

    async def begin(self) -> None:
        """Start the scheduler and, as soon as it says where it is, the workers."""
        self.scheduler = _started(Part(security=self.for_children))
        self.address = await asyncio.wait_for(asyncio.to_thread(_said_by, self.scheduler), START_SECONDS)
        for number in range(self.count):
            self.workers.append(self._new_worker(number))

    async def keep(self) -> None:
        """Replace what dies, until cancelled. A scheduler that dies takes its workers along."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self.scheduler is not None and self.scheduler.poll() is not None and self._may_restart():
                _end(self.workers)
                self.workers.clear()
                await self.begin()
            for place, worker in enumerate(self.workers):
                if worker.poll() is not None and self._may_restart():
                    self.workers[place] = self._new_worker(place)

    def end(self) -> None:
        """End all processes."""
        _end([*self.workers, *([self.scheduler] if self.scheduler else [])])

    def _may_restart(self) -> bool:
        self.restarts += 1
        return self.restarts <= MAX_RESTARTS

    def _new_worker(self, place: int) -> subprocess.Popen[bytes]:
        name = f"local-{place}-{self.restarts}"
        return _started(Part(self.address, name, _threads(self.count), self.for_children))


@asynccontextmanager
async def local_cluster(count: int | None) -> AsyncIterator[LocalCluster]:
    """Start a cluster of so many processes (None: one for each core), and end it with the context.

    Raises:
        TroublePassing: it does not start.
    """
    security, for_children = await asyncio.to_thread(_made_security)
    cluster = LocalCluster(checked_local(cores() if count is None else count), security, for_children)
    try:
        try:
            await cluster.begin()
        except (OSError, TimeoutError, EOFError) as error:
            cause = str(error) or type(error).__name__
            raise TroublePassing("start", "a local cluster", cause=cause, advice="try again") from None
        keeper = asyncio.get_running_loop().create_task(cluster.keep())
        try:
            yield cluster
        finally:
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeper
    finally:
        await asyncio.shield(asyncio.to_thread(cluster.end))


def _made_security() -> tuple[Any, dict[str, str]]:
    """Return keys for this occasion: as Dask's own record, and as text for the processes."""
    try:
        import distributed  # noqa: PLC0415 - an extra

        security: Any = cast("Any", distributed).Security.temporary()
    except ImportError:
        raise UsageError(
            "use", "a local cluster", cause="Dask is not installed", advice="pip install 'rfbulk[dask]'"
        ) from None
    names = ("tls_ca_file", "tls_scheduler_cert", "tls_scheduler_key", "tls_worker_cert", "tls_worker_key")
    return security, {name: str(getattr(security, name)) for name in names}


def _started(part: Part) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(  # noqa: S603 - our own interpreter, a constant program
        [sys.executable, "-I", "-c", _PROGRAM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=inherited(os.environ),
        process_group=0,  # a Ctrl-C is the coordinator's to heed
    )
    if child.stdin is None:
        raise AssertionError("it was asked for")
    child.stdin.write(msgspec.json.encode(sys.path) + b"\n" + msgspec.json.encode(part) + b"\n")
    child.stdin.flush()
    return child


def inherited(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a worker of ours gets: all but our own variables, among which the api key is."""
    return {name: value for name, value in environment.items() if not name.startswith(_SECRET)}


def _said_by(child: subprocess.Popen[bytes]) -> str:
    line = child.stdout.readline() if child.stdout else b""
    if not line:
        raise EOFError("its scheduler ended at once")
    return line.decode().strip()


def _end(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.kill()
    for child in children:
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _threads(count: int) -> int:
    """Two shards at once for each process: one is sent while another is read."""
    return max(2, 2 * cores() // count)


def cores() -> int:
    """How many processors this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
