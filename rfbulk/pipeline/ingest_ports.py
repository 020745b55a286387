"""What an ingest without upload needs of the outside, and all that it knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.ingest_wire import IngestAnswer, IngestBody
    from rfbulk.core.ingesting import Accepted, IngestTotals, PlannedRequest, ReferenceGroup, SortedReferences
    from rfbulk.core.model import BatchId
    from rfbulk.core.references import Reference
    from rfbulk.core.wire import BatchMetadata
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.bell import Bell
    from rfbulk.pipeline.ports import Clock, Service


class IngestService(Protocol):
    """The calls that fill a batch without an upload. Each is one attempt."""

    async def ingest(self, batch: BatchId, body: IngestBody, display_name: str) -> IngestAnswer:
        """Ask for an ingest, creating the batch if need be."""

    async def batch(self, batch: BatchId) -> BatchMetadata | None:
        """Describe the batch, None if there is none."""

    async def count(self, batch: BatchId) -> int | None:
        """Count what the batch holds, None if there is no batch."""


class ReferenceSource(Protocol):
    """Where references come from. Its methods block: they are called in threads, one at a time."""

    def scan(self) -> Iterator[ReferenceGroup]:
        """Give all references, group by group, in an order that is the same on every run.

        No two references of a scan may have one name.
        """

    def urls_of(self, references: Sequence[Reference]) -> Sequence[str]:
        """Return their URLs, in order. Asked for each attempt, so that what is signed now lives long."""

    def place_of(self, reference: Reference) -> str:
        """Return where it is, without what permits to read it; "" if that may not be told."""


class IngestCheckpoint(Protocol):
    """The durable record. Each change is durable when its call returns."""

    async def fact(self, name: str) -> str | None: ...  # noqa: D102 - as in edge.ingest_checkpoint
    async def record_fact(self, name: str, value: str) -> None: ...  # noqa: D102
    async def sort_out(self, references: Sequence[Reference]) -> SortedReferences: ...  # noqa: D102
    async def plan(self, ingest_id: str, references: Sequence[Reference]) -> PlannedRequest: ...  # noqa: D102
    async def pending(self) -> list[PlannedRequest]: ...  # noqa: D102
    async def accept(self, request: PlannedRequest, accepted: Accepted) -> list[str]: ...  # noqa: D102
    async def totals(self) -> IngestTotals: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class IngestPorts:
    """Everything outside that an ingest needs. `staging` is asked how far the service is, `bell` hastens the asking."""

    service: IngestService
    staging: Service
    checkpoint: IngestCheckpoint
    clock: Clock
    tell: OnEvent
    reach: Callable[[Failpoint], None]
    bell: Bell
