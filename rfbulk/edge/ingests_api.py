"""The calls that fill a batch without an upload: one method per call, one attempt per method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rfbulk.core import wire
from rfbulk.core.ingest_wire import IngestAnswer, IngestBody, parse_ingest
from rfbulk.edge.calling import DATA_STAGING, Call

if TYPE_CHECKING:
    from rfbulk.core.model import BatchId
    from rfbulk.edge.api import ServiceApi

ANSWER_SECONDS: Final = 120.0
"""What the service gets to answer: it looks at every reference."""

SLOWEST_BYTES_PER_SECOND: Final = 64 << 10
"""How slow a line may be that a long list goes over."""

_PATHS: Final = {
    "images": ("bulk-upload", "image-references"),
    "videos": ("bulk-upload", "video-references"),
    "query": ("roboql-ingest",),
}


class IngestsApi:
    """Ingests of one workspace. Every method makes one attempt and raises as `Caller` says."""

    def __init__(self, api: ServiceApi) -> None:
        self._api = api

    async def ingest(self, batch: BatchId, body: IngestBody, display_name: str) -> IngestAnswer:
        """Ask for an ingest, creating the batch if need be."""
        call = Call(
            "fill",
            f"batch {batch}",
            ("batches", batch, *_PATHS[body.kind]),
            {} if body.kind == "query" else {"displayName": display_name},
            method="POST",
            body=body.data,
            answer_seconds=ANSWER_SECONDS + len(body.data) / SLOWEST_BYTES_PER_SECOND,
        )
        parse = _accepted if body.kind == "query" else parse_ingest
        return await self._api.caller.in_workspace(DATA_STAGING, call, parse)

    async def batch(self, batch: BatchId) -> wire.BatchMetadata | None:
        """Describe the batch, None if there is none."""
        return await self._api.batch(batch)

    async def count(self, batch: BatchId) -> int | None:
        """Count what the batch holds, None if there is no batch."""
        return await self._api.count(batch)


def _accepted(_body: bytes) -> IngestAnswer:
    """Of a query success is all that is said; what stands in the body is not documented."""
    return IngestAnswer("-")
