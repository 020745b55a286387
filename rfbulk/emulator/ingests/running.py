"""What happens behind an accepted ingest: in the background, what it brings enters the batch, and somebody is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from rfbulk.emulator.adding import NewFile, add_files
from rfbulk.emulator.images import sample_image
from rfbulk.emulator.ingests.events import IngestEnded, is_reachable, unreachable
from rfbulk.emulator.underway import Underway
from rfbulk.emulator.webhooks.shapes import IngestEnd, ingest_bodies

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from rfbulk.emulator.ingests.events import IngestAccepted, IngestShard
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.webhooks.delivering import Notifier

_SAMPLES = 5


@dataclass(slots=True)
class Ingester:
    """Ends ingests in the tasks of the group it was given."""

    service: Service
    notifier: Notifier
    tasks: TaskGroup
    _underway: Underway = field(default_factory=Underway)

    def resume(self) -> None:
        """Begin what an earlier process left."""
        for accepted in self.service.state.open_ingests():
            self.submit(accepted)

    def submit(self, accepted: IngestAccepted) -> None:
        """End an ingest later."""
        self._underway.begin()
        self.tasks.start_soon(self._run, accepted)

    async def settled(self) -> None:
        """Wait until every accepted ingest has ended."""
        await self._underway.settled()

    async def _run(self, accepted: IngestAccepted) -> None:
        with self._underway.ending():
            await anyio.sleep(self.service.options.index_delay_seconds)
            if accepted.batch_id in self.service.state.batches:
                await self._end(accepted)

    async def _end(self, accepted: IngestAccepted) -> None:
        samples: list[NewFile] = []
        if accepted.query is not None:
            samples = await to_thread.run_sync(_samples, accepted.shards[0].shard_id)
            if not self._has_files_of(accepted):  # from a process that ended before it could say so
                await add_files(self.service, accepted.batch_id, samples, None)
        now = self.service.clock.now()
        await self.service.record(IngestEnded(accepted.batch_id, accepted.ingest_id, now, len(samples)))
        for shard in accepted.shards if accepted.notifications_url is not None else ():
            await self._tell(accepted, shard, [each.name for each in samples])

    def _has_files_of(self, accepted: IngestAccepted) -> bool:
        files = self.service.state.batches[accepted.batch_id].files
        return any(each.shard_id == accepted.shards[0].shard_id for each in files)

    async def _tell(self, accepted: IngestAccepted, shard: IngestShard, samples: list[str]) -> None:
        names = samples or [name for name, url in shard.references if is_reachable(url)]
        failed = unreachable(shard.references)
        end = IngestEnd(accepted.ingest_id, accepted.batch_id, shard.shard_id, names, failed, shard.failure)
        for body in ingest_bodies(end, accepted.categories):
            await self.notifier.submit(str(accepted.notifications_url), body)


def _samples(shard_id: str | None) -> list[NewFile]:
    return [NewFile(f"asset-{number}.png", sample_image(number), shard_id=shard_id) for number in range(_SAMPLES)]
