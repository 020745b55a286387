"""What happens behind a PUT: in the background, the stored object is read and its images enter the batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from rfbulk.emulator.events import FileStored, ObjectStored, ShardIndexed, ShardScanned
from rfbulk.emulator.state import pack_members, unpack_members
from rfbulk.emulator.tarscan import Scan
from rfbulk.emulator.underway import Underway
from rfbulk.emulator.webhooks.config import read_config
from rfbulk.emulator.webhooks.shapes import IngestEnd, ingest_bodies

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from rfbulk.emulator.service import Service
    from rfbulk.emulator.state import Batch, Shard
    from rfbulk.emulator.webhooks.delivering import Notifier

# Scans hash in threads; more of them at once only take turns.
_SCANS_AT_ONCE = 2


@dataclass(slots=True)
class Indexer:
    """Indexes stored objects in the tasks of the group it was given."""

    service: Service
    notifier: Notifier
    tasks: TaskGroup
    _underway: Underway = field(default_factory=Underway)
    _scans: anyio.Semaphore = field(default_factory=lambda: anyio.Semaphore(_SCANS_AT_ONCE))

    def resume(self) -> None:
        """Begin what an earlier process left."""
        for stored in self.service.state.unindexed():
            self.submit(stored, None)

    def submit(self, stored: ObjectStored, scan: Scan | None) -> None:
        """Index an object later; `scan` says what it holds if the store cannot."""
        self._underway.begin()
        self.tasks.start_soon(self._run, stored, scan)

    async def settled(self) -> None:
        """Wait until everything submitted has been indexed."""
        await self._underway.settled()

    async def _run(self, stored: ObjectStored, scan: Scan | None) -> None:
        with self._underway.ending():
            shard = self.service.state.uploads[stored.object_name]
            if shard.file_name is None:
                await self._index_shard(stored, shard, scan)
            else:
                await self._index_video(stored, shard, shard.file_name)

    async def _index_shard(self, stored: ObjectStored, shard: Shard, scan: Scan | None) -> None:
        if scan is None:
            async with self._scans:
                scan = await self.service.store.scan(stored.key)
        scan = self._within_limit(stored, scan)
        await self.service.record(ShardScanned(shard.shard_id, stored.generation, scan.accepted))
        await anyio.sleep(self.service.options.index_delay_seconds)
        if self._is_current(stored) or self._is_beside:
            indexed = self._indexed(stored, shard, scan)
            await self.service.record(indexed)
            await self._tell(shard, scan, indexed)

    async def _tell(self, shard: Shard, scan: Scan, indexed: ShardIndexed) -> None:
        config = read_config(scan.config)
        if config is None:
            return
        names = [member.name for member in unpack_members(indexed.members)]
        end = IngestEnd(config.ingest_id, shard.batch_id, shard.shard_id, names, indexed.failed, indexed.failure)
        for body in ingest_bodies(end, config.categories):
            await self.notifier.submit(config.notifications_url, body)

    async def _index_video(self, stored: ObjectStored, shard: Shard, name: str) -> None:
        sha256 = await self.service.store.sha256(stored.key)
        await anyio.sleep(self.service.options.index_delay_seconds)
        if not self._is_current(stored) and not self._is_beside:
            return
        await self.service.record(
            FileStored(
                shard.batch_id,
                name,
                stored.key,
                stored.size,
                sha256,
                self.service.clock.now(),
                instead=not self._is_beside,
                upload=stored.object_name,
            )
        )

    @property
    def _is_beside(self) -> bool:
        return self.service.options.second_put == "indexes-again"

    def _is_current(self, stored: ObjectStored) -> bool:
        # A later PUT to the same URL has its own indexing under way.
        return self.service.state.objects[stored.object_name].generation == stored.generation

    def _within_limit(self, stored: ObjectStored, scan: Scan) -> Scan:
        limit = self.service.options.max_shard_bytes
        if stored.size > limit:
            return Scan(failure=f"the archive is larger than {limit} bytes", config=scan.config)
        return scan

    def _indexed(self, stored: ObjectStored, shard: Shard, scan: Scan) -> ShardIndexed:
        now = self.service.clock.now()
        if scan.failure:
            return ShardIndexed(shard.shard_id, stored.key, now, failure=scan.failure, beside=self._is_beside)
        scan, dropped = self._settle_names(self.service.state.batches[shard.batch_id], shard, scan)
        return ShardIndexed(
            shard.shard_id,
            stored.key,
            now,
            count=len(scan.members),
            members=pack_members(scan.members),
            failed=tuple(scan.failed),
            beside=self._is_beside,
            dropped=dropped,
        )

    def _settle_names(self, batch: Batch, shard: Shard, scan: Scan) -> tuple[Scan, tuple[str, ...]]:
        mode = self.service.options.equal_names
        if mode == "keep-both":
            return scan, ()
        if mode == "last-wins":
            last = {member.name: member for member in scan.members}
            present = set(batch.names())
            return Scan(tuple(last.values()), scan.failed), tuple(name for name in last if name in present)
        replaced = None if self._is_beside else shard.shard_id
        return _fail_later(scan, set(batch.names(except_shard=replaced))), ()


def _fail_later(scan: Scan, present: set[str]) -> Scan:
    kept, failed = [], list(scan.failed)
    for member in scan.members:
        if member.name in present:
            failed.append((member.name, "a file of this name is in the batch already"))
        else:
            present.add(member.name)
            kept.append(member)
    return Scan(tuple(kept), tuple(failed))
