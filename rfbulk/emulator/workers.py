"""All that works in the background: indexing, ingests, jobs, notifications."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator.indexing import Indexer
from rfbulk.emulator.ingests.running import Ingester
from rfbulk.emulator.jobs.running import Runner
from rfbulk.emulator.webhooks.delivering import Notifier

if TYPE_CHECKING:
    import aiohttp
    from anyio.abc import TaskGroup

    from rfbulk.emulator.service import Service


@dataclass(frozen=True, slots=True)
class Workers:
    """The workers of one emulator."""

    indexer: Indexer
    ingester: Ingester
    runner: Runner
    notifier: Notifier

    def resume(self) -> None:
        """Go on with what an earlier process left."""
        self.indexer.resume()
        self.ingester.resume()
        self.runner.resume()
        self.notifier.resume()

    async def settled(self) -> None:
        """Wait until everything that was stored or ingested so far is in its batch."""
        await self.indexer.settled()
        await self.ingester.settled()


def make_workers(service: Service, tasks: TaskGroup, session: aiohttp.ClientSession) -> Workers:
    """Return workers that work in a task group and send through a session."""
    notifier = Notifier(service, tasks, session)
    indexer, ingester = Indexer(service, notifier, tasks), Ingester(service, notifier, tasks)
    return Workers(indexer, ingester, Runner(service, notifier, tasks), notifier)
