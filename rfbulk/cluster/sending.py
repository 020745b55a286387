"""Sends shards by the workers of a cluster: a sender like any other, whose attempts are made elsewhere."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec

from rfbulk.cluster.attempts import Attempt
from rfbulk.cluster.link import Link, open_link
from rfbulk.cluster.parcels import Manner
from rfbulk.cluster.probing import OF_BUCKETS, Sample, head_of
from rfbulk.core.clusters import MOST_AT_ONCE, path_there

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.clusters import ClusterOptions
    from rfbulk.core.model import Entry, ShardJob, ShardResult
    from rfbulk.edge.ways import Ways
    from rfbulk.senders.inline import InlineSender

AT_ONCE_PER_THREAD = 6
LEAST_AT_ONCE = 64
"""Workers may come while a transfer is under way."""


class ClusterSender:
    """Makes attempts on a cluster. Made by `open_cluster_sender`."""

    def __init__(self, link: Link, inline: InlineSender, path_map: tuple[tuple[str, str], ...]) -> None:
        self._link = link
        self._inline = inline
        self._path_map = path_map
        self._roots: dict[tuple[bytes, ...], tuple[bytes, ...]] = {}

    @property
    def interpreters(self) -> int:
        """How many processes share the work."""
        return self._link.interpreters

    @property
    def first_at_once(self) -> int:
        """How many shards give each thread of the cluster one, while another is being granted."""
        return min(self.most_at_once, 2 * self._link.threads)

    @property
    def most_at_once(self) -> int:
        """How many shards in flight the cluster may be given."""
        return min(MOST_AT_ONCE, max(LEAST_AT_ONCE, AT_ONCE_PER_THREAD * self._link.threads))

    def cpu_seconds(self) -> float:
        """Return the processor time of all that sends."""
        return self._link.cpu_seconds() + self._inline.cpu_seconds()

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Make an attempt, as `InlineSender.send`. What no worker can be told is sent from here."""
        there = msgspec.structs.replace(job, roots=self._roots_there(job.roots))
        try:
            return cast("ShardResult", await self._link.carry(Attempt(there, on_bytes)))
        except OverflowError:
            return await self._inline.send(job, on_bytes)

    def _roots_there(self, roots: tuple[bytes, ...]) -> tuple[bytes, ...]:
        found = self._roots.get(roots)
        if found is None:
            found = self._roots[roots] = roots_there(roots, self._path_map)
        return found


def roots_there(roots: Sequence[bytes], path_map: tuple[tuple[str, str], ...]) -> tuple[bytes, ...]:
    """Return how workers call these folders. Addresses of buckets stay as they are."""
    return tuple(path_there(root, path_map) if root.startswith(b"/") else root for root in roots)


def sample_of(
    manner: Manner, roots: tuple[bytes, ...], entries: Sequence[Entry], path_map: tuple[tuple[str, str], ...]
) -> Sample:
    """Return some entries as workers are to see them. Blocking."""
    heads: tuple[int, ...] = ()
    kept = list(entries)
    if manner.kind not in OF_BUCKETS:
        seen = []
        for entry in entries:
            try:
                seen.append((entry, head_of(roots[entry.root].rstrip(b"/") + b"/" + entry.path)))
            except OSError:
                continue  # it has gone, or may not be read: no witness
        kept, heads = [entry for entry, _ in seen], tuple(head for _, head in seen)
    used = {entry.root for entry in kept}
    if not kept:
        return Sample(manner, ())
    shown = tuple(root if number in used else roots[kept[0].root] for number, root in enumerate(roots))
    return Sample(manner, roots_there(shown, path_map), tuple(kept), heads)


def new_run() -> str:
    """Return a name for what one command has workers do: no other's."""
    return uuid.uuid4().hex[:12]


@asynccontextmanager
async def open_cluster_sender(
    options: ClusterOptions,
    ways: Ways,
    sample: Sample,
    warn: Callable[[str], None],
    *,
    rate: int | None,
    inline: InlineSender,
) -> AsyncIterator[ClusterSender]:
    """Yield a sender whose attempts are made by a cluster. Each of its workers was looked at.

    Raises:
        UsageError: the cluster cannot be used, or none of its workers fits.
        TroublePassing: it cannot be reached, or has no workers.
    """
    manner = sample.manner
    if ways.ca_file is not None:
        authorities = await asyncio.to_thread(Path(ways.ca_file).read_text)
        manner = msgspec.structs.replace(manner, authorities=authorities)
    sample = msgspec.structs.replace(sample, manner=manner)
    async with open_link(options, sample, warn, wait_seconds=options.wait_seconds, rate=rate) as link:
        yield ClusterSender(link, inline, options.path_map)
