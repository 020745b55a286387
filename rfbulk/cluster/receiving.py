"""Fetches remote files by the workers of a cluster, into a folder that all of them and the coordinator share.

A worker answers once what it has landed is durable by its own machine. Members of archives are moved to their places by
the coordinator, which alone decides where they belong.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from rfbulk.cluster.attempts import Attempt
from rfbulk.cluster.link import Link, open_link
from rfbulk.cluster.probing import OF_BUCKETS, Sample
from rfbulk.core.clusters import MOST_AT_ONCE, path_there

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Manner
    from rfbulk.core.clusters import ClusterOptions
    from rfbulk.core.fetching import FetchJob, FetchResult, Landed, Move
    from rfbulk.edge.ways import Ways
    from rfbulk.receivers.inline import InlineReceiver

AT_ONCE_PER_THREAD = 3
LEAST_AT_ONCE = 64


class ClusterReceiver:
    """Makes attempts on a cluster. Made by `open_cluster_receiver`."""

    def __init__(self, link: Link, inline: InlineReceiver, path_map: tuple[tuple[str, str], ...]) -> None:
        self._link = link
        self._inline = inline
        self._path_map = path_map

    @property
    def interpreters(self) -> int:
        """How many processes share the work."""
        return self._link.interpreters

    @property
    def first_at_once(self) -> int:
        """How many groups give each thread of the cluster one, and another that waits."""
        return min(self.most_at_once, 2 * self._link.threads)

    @property
    def most_at_once(self) -> int:
        """How many groups in flight the cluster may be given."""
        return min(MOST_AT_ONCE, max(LEAST_AT_ONCE, AT_ONCE_PER_THREAD * self._link.threads))

    def cpu_seconds(self) -> float:
        """Return the processor time of all that receives."""
        return self._link.cpu_seconds() + self._inline.cpu_seconds()

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        """Fetch files in their order, each once, as `InlineReceiver.fetch`. What is whole is durable."""
        there = tuple(
            msgspec.structs.replace(
                job, target=path_there(job.target, self._path_map), staging=path_there(job.staging, self._path_map)
            )
            for job in jobs
        )
        return cast("list[FetchResult]", await self._link.carry(Attempt(there, on_bytes)))

    async def land(self, moves: Sequence[Move]) -> list[Landed]:
        """Move members of archives to their places, as `InlineReceiver.land`."""
        return await self._inline.land(moves)

    async def sync(self) -> None:
        """Return once what was landed from here is durable."""
        await self._inline.sync()

    async def discard(self) -> None:
        """Remove all that is in staging. Nothing may be in flight."""
        await self._inline.discard()


@asynccontextmanager
async def open_cluster_receiver(
    options: ClusterOptions,
    ways: Ways,
    manner: Manner,
    target: bytes,
    warn: Callable[[str], None],
    *,
    inline: InlineReceiver,
) -> AsyncIterator[ClusterReceiver]:
    """Yield a receiver whose attempts are made by a cluster, each of whose workers sees what is written to `target`.

    Raises:
        UsageError: the cluster cannot be used, or none of its workers fits.
        TroublePassing: it cannot be reached, or has no workers.
    """
    if ways.ca_file is not None:
        authorities = await asyncio.to_thread(Path(ways.ca_file).read_text)
        manner = msgspec.structs.replace(manner, authorities=authorities)
    async with (
        marked_target(options, Sample(manner), target) as sample,
        open_link(options, sample, warn, wait_seconds=options.wait_seconds, rate=manner.rate) as link,
    ):
        yield ClusterReceiver(link, inline, options.path_map)


@asynccontextmanager
async def marked_target(options: ClusterOptions, sample: Sample, target: bytes) -> AsyncIterator[Sample]:
    """Add to a sample a target that workers are to see, and a file in it that is there for as long."""
    mark, inode = await asyncio.to_thread(_marked, target, sample.manner.run)
    try:
        there = path_there(target, options.path_map)
        roots = (*sample.roots, there) if sample.manner.kind not in OF_BUCKETS else sample.roots
        yield msgspec.structs.replace(sample, roots=roots, target=there, mark=mark, mark_inode=inode)
    finally:
        await asyncio.shield(asyncio.to_thread(_unmark, target, mark))


def _marked(target: bytes, run: str) -> tuple[str, int]:
    """Write a file that workers must see. It stays as long as they may join."""
    name = f".rfbulk-{run}"
    path = os.path.join(target, os.fsencode(name))
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0), 0o644)
    try:
        os.write(descriptor, run.encode())
        return name, os.fstat(descriptor).st_ino
    finally:
        os.close(descriptor)


def _unmark(target: bytes, name: str) -> None:
    Path(os.fsdecode(os.path.join(target, os.fsencode(name)))).unlink(missing_ok=True)
