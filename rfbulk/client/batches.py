"""Waiting for batches, with what this machine knows of their uploads."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import anyio.to_thread

from rfbulk.client.context import Context, ingests_dir, uploads_dir
from rfbulk.client.listening import hearing_inbox
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.notices import batch_subject
from rfbulk.core.readiness import QUIET_SECONDS, Expected
from rfbulk.edge.checkpoint import summaries
from rfbulk.edge.ingest_checkpoint import ingest_summaries
from rfbulk.events import OnEvent
from rfbulk.pipeline.watching import BatchPorts, watch_batch

if TYPE_CHECKING:
    from rfbulk.core.readiness import BatchState


async def wait_for_batch(
    context: Context,
    batch_id: str,
    expect: int | None,
    seconds: float,
    on_event: OnEvent,
    *,
    quiet_seconds: float = QUIET_SECONDS,
) -> BatchState:
    """As `Client.wait_for_batch` promises."""
    batch = checked_batch_id(batch_id)
    workspace = await context.persist(context.api.workspace, tell=on_event)

    async def expected() -> Expected:
        known = await anyio.to_thread.run_sync(expected_images, context, workspace, batch)
        return known if expect is None else Expected(expect, unused_grants=known.unused_grants)

    ports = BatchPorts(context.api, context.clock, context.settings.retry, on_event, expected, context.bell)
    work = partial(watch_batch, ports, batch, seconds=seconds, quiet_seconds=quiet_seconds)
    return await hearing_inbox(context, batch_subject(batch), work)


def expected_images(context: Context, workspace: str, batch: str) -> Expected:
    """Return how many images uploads and ingests of references from this machine bring into a batch.

    What is still to be sent counts, so that a batch is not ready while its upload is under way or left unfinished.
    """
    uploads, ingests = uploads_dir(context.settings), ingests_dir(context.settings)
    everything = summaries(uploads) if uploads.is_dir() else []
    everything += [_as_upload(each) for each in (ingest_summaries(ingests) if ingests.is_dir() else [])]
    found = [
        summary
        for summary in everything
        if "error" not in summary
        and (summary["service"], summary["workspace"], summary["batch"]) == (context.api_url, workspace, batch)
    ]
    files = sum(summary["images_sent"] + summary["images_left"] for summary in found)
    is_filling = any(summary["images_left"] or not summary["scan_finished"] for summary in found)
    unused = sum(summary.get("unused_grants", 0) for summary in found)
    return Expected(files if files or is_filling else None, is_filling, unused)


def _as_upload(ingest: dict[str, Any]) -> dict[str, Any]:
    return ingest if "error" in ingest else ingest | {"images_sent": ingest["sent"], "images_left": ingest["left"]}
