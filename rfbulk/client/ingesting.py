"""Ingests without upload: references, lists elsewhere and queries, joined to the pipeline."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.client.context import Context, entered_in_thread, ingests_dir
from rfbulk.client.given import keep_said
from rfbulk.client.ingest_reporting import IngestReporting
from rfbulk.client.listening import hearing_inbox
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.notices import batch_subject
from rfbulk.core.references import MediaKind, ReferenceFault, check_https, mark_of
from rfbulk.core.secrets import SignedUrl
from rfbulk.edge.ingest_checkpoint import IngestCheckpoint, IngestIdentity, open_ingest_checkpoint
from rfbulk.edge.ingests_api import IngestsApi
from rfbulk.edge.reference_file import open_reference_file, reference_identity
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.pipeline.ingest_ports import IngestPorts
from rfbulk.pipeline.ingesting import IngestRequest, Query, ReferenceList, References, ingest, kind_of
from rfbulk.settings import IngestOptions

if TYPE_CHECKING:
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.events import OnEvent


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an ingest is from: `known_as` is what its checkpoint goes by, the same on every run.

    `naming` is how it names what it finds, where that can be chosen: an ingest that was begun another way is refused.
    `selection` is what of it is meant, as `client.given` writes it.
    """

    known_as: str
    naming: str = ""
    selection: str = ""


async def ingest_references(
    context: Context,
    references: str | os.PathLike[str],
    batch_id: str,
    media: MediaKind,
    *,
    options: IngestOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> IngestReport:
    """As `Client.ingest_references` promises."""
    what: References | ReferenceList
    text = os.fspath(references)
    if "://" in text:
        try:
            check_https(text)
        except ReferenceFault as fault:
            raise UsageError("use list", cause=str(fault), advice="give an https:// address or a file") from None
        what, source = ReferenceList(media, SignedUrl(text)), f"list {mark_of(text)}"
    else:
        path = Path(text)
        what = References(media, await anyio.to_thread.run_sync(open_reference_file, path))
        source = await anyio.to_thread.run_sync(reference_identity, path)
    return await _ingest(context, what, Origin(source), batch_id, options=options, on_event=on_event, stop=stop)


async def ingest_from(
    context: Context,
    what: References,
    origin: Origin,
    batch_id: str,
    *,
    options: IngestOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> IngestReport:
    """Fill a batch from any source of references.

    Raises:
        as `Client.ingest_references`.
    """
    return await _ingest(context, what, origin, batch_id, options=options, on_event=on_event, stop=stop)


async def ingest_query(
    context: Context,
    query: str,
    batch_id: str,
    *,
    options: IngestOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> IngestReport:
    """As `Client.ingest_query` promises."""
    if not query.strip():
        raise UsageError("fill", f"batch {batch_id}", cause="the query is empty", advice="give a RoboQL query")
    what = Query(query)
    return await _ingest(context, what, Origin(query), batch_id, options=options, on_event=on_event, stop=stop)


async def _ingest(
    context: Context,
    what: References | ReferenceList | Query,
    origin: Origin,
    batch_id: str,
    *,
    options: IngestOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> IngestReport:
    options = options or IngestOptions()
    with closing(IngestReporting(options.report_file, what, on_event)) as reporting:
        batch = checked_batch_id(batch_id)
        workspace = await context.persist(context.api.workspace, tell=on_event)
        identity = IngestIdentity(context.api_url, workspace, batch, kind_of(what), origin.known_as, options.ingest_id)
        stop = stop or anyio.Event()
        request = IngestRequest(batch, reporting.what, options, context.settings.retry, stop)
        async with entered_in_thread(
            open_ingest_checkpoint(ingests_dir(context.settings), identity, restart=options.restart)
        ) as checkpoint:
            await _check_same_naming(checkpoint, origin.naming)
            await checkpoint.record_fact("selection", origin.selection)
            await keep_said(checkpoint, context.said)
            return await _ingest_into(context, request, checkpoint, reporting, workspace)


async def _ingest_into(
    context: Context,
    request: IngestRequest,
    checkpoint: IngestCheckpoint,
    reporting: IngestReporting,
    workspace: str,
) -> IngestReport:
    ports = IngestPorts(
        service=IngestsApi(context.api),
        staging=context.api,
        checkpoint=checkpoint,
        clock=context.clock,
        tell=reporting.tell,
        reach=context.reach,
        bell=context.bell,
    )

    async def finish(report: IngestReport) -> None:
        report.workspace = workspace
        report.checkpoint = checkpoint.path.stem
        await reporting.write(report, checkpoint)

    try:
        report = await hearing_inbox(context, batch_subject(request.batch), partial(ingest, ports, request))
    except RfbulkError as error:
        if error.ingest_report is not None:
            await finish(error.ingest_report)
        raise
    await finish(report)
    return report


async def _check_same_naming(checkpoint: IngestCheckpoint, naming: str) -> None:
    """A reference's name must be the same on every run, or it would be asked for twice under two names."""
    recorded = await checkpoint.fact("names")
    if recorded is None:
        await checkpoint.record_fact("names", naming)
    elif recorded != naming:
        raise UsageError(
            "resume",
            "the ingest",
            cause=f"it was begun with --names {recorded}",
            advice=f"use --names {recorded}, or --restart into another batch",
        )
