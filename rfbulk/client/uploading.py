"""The upload of images: source, checkpoint and sender joined to the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, closing, contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from rfbulk.client.context import Context, entered_in_thread, uploads_dir
from rfbulk.client.given import keep_said, selection_text
from rfbulk.client.measuring import latest_measured, remember
from rfbulk.client.sources import Opened, Source, StrPath, each_of, in_own_thread, open_sources
from rfbulk.core.forms import SHARDS, SINGLES, VIDEOS, Form
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.media import IMAGES as IMAGE_FILES
from rfbulk.core.media import VIDEOS as VIDEO_FILES
from rfbulk.core.selection import Selection
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint, shared_otherwise
from rfbulk.edge.checkpoint_file import SUFFIX
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.known import KnownEntries
from rfbulk.edge.reportfile import NamedFiles, write_report_file
from rfbulk.edge.source import renamed
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event, OnEvent
from rfbulk.pipeline.advising import Adviser
from rfbulk.pipeline.ports import Ports
from rfbulk.pipeline.upload import UploadRequest, upload
from rfbulk.senders.scaling import ScalingSender, open_scaling_sender
from rfbulk.senders.simple import SimpleSender
from rfbulk.settings import CHUNK_BYTES, UploadOptions
from rfbulk.workers.pool import Processes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rfbulk.cluster.sending import ClusterSender
    from rfbulk.core.report import UploadReport

__all__ = ["Source", "StrPath", "upload_images", "upload_videos"]

MIN_CHUNK_BYTES = 16 << 10


async def upload_images(
    context: Context,
    source: Source | Sequence[Source],
    batch_id: str,
    *,
    options: UploadOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> UploadReport:
    """As `Client.upload_images` promises."""
    options = options or UploadOptions()
    form = SINGLES if options.one_by_one else SHARDS
    return await _upload_as(form, context, each_of(source), batch_id, options, on_event, stop)


async def upload_videos(
    context: Context,
    source: Source | Sequence[Source],
    batch_id: str,
    *,
    options: UploadOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> UploadReport:
    """As `Client.upload_videos` promises."""
    return await _upload_as(VIDEOS, context, each_of(source), batch_id, options or UploadOptions(), on_event, stop)


async def _upload_as(
    form: Form,
    context: Context,
    sources: Sequence[Source],
    batch_id: str,
    options: UploadOptions,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> UploadReport:
    checked_batch_id(batch_id)
    selection = Selection(options.include, options.exclude, options.recursive)
    media = VIDEO_FILES if form.media == "videos" else IMAGE_FILES
    compares = not options.retry_failed
    opening = partial(open_sources, sources, selection, options.names, context.settings, media, compares_names=compares)
    with closing(await in_own_thread(opening)) as opened:
        return await _upload_from(opened, form, context, batch_id, options, on_event, stop)


async def _upload_from(
    opened: Opened,
    form: Form,
    context: Context,
    batch_id: str,
    options: UploadOptions,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> UploadReport:
    batch = checked_batch_id(batch_id)
    most_at_once = opened.most_at_once(options, form)
    workspace = await context.persist(context.api.workspace)
    share = "" if options.partition is None else str(options.partition)
    identity = Identity(context.api_url, workspace, batch, opened.known_as, form.road, share)
    if options.retry_failed:
        await anyio.to_thread.run_sync(_refuse_unknown, uploads_dir(context.settings), identity)
    if not options.restart:
        await anyio.to_thread.run_sync(_refuse_other_shares, uploads_dir(context.settings), identity)
    async with entered_in_thread(
        open_checkpoint(uploads_dir(context.settings), identity, restart=options.restart)
    ) as checkpoint:
        await _check_same_naming(checkpoint, options)
        await keep_said(checkpoint, context.said)
        request = UploadRequest(
            batch=batch,
            options=options,
            policy=context.settings.retry,
            trailer=await _trailer(checkpoint, options, identity) if form.has_tars else b"",
            rename=renamed if options.on_changed == "send" else None,
            stop=stop or anyio.Event(),
            most_at_once=most_at_once,
            form=form,
            look=opened.look(form, checks=options.check_images),
        )
        with closing(NamedFiles()) as named:
            told = _both(named.take, on_event) if options.report_file is not None else on_event
            adviser = await _adviser(context, form, options, told)
            try:
                report = await _upload(context, request, opened, checkpoint, adviser.take)
            except RfbulkError as error:
                with suppress(RfbulkError):  # what ended it must not be hidden
                    await remember(checkpoint, adviser.measured)
                if error.report is not None:
                    await _finish(error.report, workspace, checkpoint, options, opened, named)
                raise
            await remember(checkpoint, adviser.measured)
            await _finish(report, workspace, checkpoint, options, opened, named)
        return report


async def _adviser(context: Context, form: Form, options: UploadOptions, on_event: OnEvent) -> Adviser:
    adviser = Adviser(on_event, form, limit_rate=options.limit_rate)
    look = partial(latest_measured, uploads_dir(context.settings), road=form.road, service=context.api_url)
    found = await anyio.to_thread.run_sync(look)
    if found is not None:
        adviser.earlier, adviser.origin = found
    return adviser


async def _upload(
    context: Context, request: UploadRequest, source: Opened, checkpoint: Checkpoint, on_event: OnEvent
) -> UploadReport:
    options, form = request.options, request.form
    rate = None if options.limit_rate is None else RateLimit(options.limit_rate)
    chunk_bytes = CHUNK_BYTES
    if options.limit_rate is not None:
        chunk_bytes = max(MIN_CHUNK_BYTES, min(CHUNK_BYTES, options.limit_rate // 4))
    most_at_once = options.concurrency or source.most_at_once(options, form)
    opening: AbstractAsyncContextManager[ScalingSender | ClusterSender] = open_scaling_sender(
        context.transport.ways,
        chunk_bytes=chunk_bytes,
        stall_seconds=context.settings.stall_seconds,
        rate=rate,
        most_at_once=most_at_once,
        pack=source.pack(form, checks=options.check_images),
        processes=Processes(
            1 if options.concurrency == 1 or not form.has_grants else options.processes, context.spares
        ),
    )
    if options.cluster is not None:
        from rfbulk.client.clustering import cluster_sender  # noqa: PLC0415 - few have one

        opening = cluster_sender(context, source, form, options, on_event, chunk_bytes=chunk_bytes)
    async with opening as sender:
        if not isinstance(sender, ScalingSender):
            request = replace(request, most_at_once=sender.most_at_once, first_at_once=sender.first_at_once)
        singles = None
        if not form.has_grants:
            singles = SimpleSender(
                context.api,
                source.reading(checks=options.check_images),
                chunk_bytes=chunk_bytes,
                rate=rate,
            )
        ports = Ports(
            service=context.api,
            sender=sender,
            source=source.source,
            checkpoint=checkpoint,
            known=partial(_known, checkpoint),
            clock=context.clock,
            tell=on_event,
            reach=context.reach,
            singles=singles,
        )
        return await upload(ports, request)


async def _finish(
    report: UploadReport,
    workspace: str,
    checkpoint: Checkpoint,
    options: UploadOptions,
    source: Opened,
    named: NamedFiles,
) -> None:
    report.workspace = workspace
    report.checkpoint = checkpoint.path.stem
    if options.report_file is not None:
        await write_report_file(options.report_file, checkpoint, source.source.roots, report, named)


def _both(first: OnEvent, second: OnEvent) -> OnEvent:
    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


@contextmanager
def _known(checkpoint: Checkpoint) -> Iterator[KnownEntries]:
    with closing(KnownEntries(checkpoint.read())) as known:
        yield known


def _refuse_other_shares(folder: Path, identity: Identity) -> None:
    """Shares of another count overlap with those that were begun: files would arrive twice."""
    found = shared_otherwise(folder, identity)
    if found is not None:
        begun = f"as --partition {found}" if found else "as a whole"
        raise UsageError(
            "upload",
            f"partition {identity.partition} of the source" if identity.partition else "the whole source",
            cause=f"its upload into batch {identity.batch} was begun {begun}",
            advice="go on with that, or choose another --batch-id",
        )


def _refuse_unknown(folder: Path, identity: Identity) -> None:
    if not (folder / f"{identity.id}{SUFFIX}").exists():
        raise UsageError(
            "retry",
            f"what failed of {', '.join(identity.sources)}",
            cause=f"no upload of it into batch {identity.batch} is known here",
            advice="`rfbulk checkpoint list` shows all that are; without --retry-failed it is uploaded",
        )


async def _check_same_naming(checkpoint: Checkpoint, options: UploadOptions) -> None:
    """A file's name must be the same on every run, or it would arrive twice under two names."""
    selection = selection_text(options.include, options.exclude, recursive=options.recursive)
    await checkpoint.record_fact("selection", selection)
    recorded = await checkpoint.fact("names")
    if recorded is None:
        await checkpoint.record_fact("names", options.names)
    elif recorded != options.names:
        raise UsageError(
            "resume",
            "the upload",
            cause=f"it was begun with --names {recorded}",
            advice=f"use --names {recorded}, or --restart into another batch",
        )


async def _trailer(checkpoint: Checkpoint, options: UploadOptions, identity: Identity) -> bytes:
    """Return the content of each shard's notification member: the same on every run, since it is part of the bytes."""
    recorded = await checkpoint.fact("trailer")
    if recorded is not None:
        return recorded.encode()
    trailer = ""
    if options.notifications_url is not None:
        ingest = options.ingest_id or identity.id
        values = {"ingestId": ingest, "notificationsURL": options.notifications_url}
        trailer = msgspec.json.encode(values).decode()
    await checkpoint.record_fact("trailer", trailer)
    return trailer.encode()
