"""The export of a batch: target, checkpoint and receiver joined to the pipeline, and what it leaves beside files."""

from __future__ import annotations

import os
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.client.beside import Beside
from rfbulk.client.context import Context, entered_in_thread, exports_dir
from rfbulk.client.given import keep_said
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.export_checkpoint import ExportCheckpoint, ExportIdentity, open_export_checkpoint
from rfbulk.edge.target import open_target
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import OnEvent
from rfbulk.pipeline.export import ExportRequest, export
from rfbulk.pipeline.export_ports import ExportPorts
from rfbulk.receivers.inline import Folders
from rfbulk.receivers.scaling import ScalingReceiver, open_scaling_receiver
from rfbulk.settings import ExportOptions
from rfbulk.workers.pool import Processes

if TYPE_CHECKING:
    from rfbulk.cluster.receiving import ClusterReceiver
    from rfbulk.core.export_report import ExportReport
    from rfbulk.edge.target import TargetFolder


async def export_batch(
    context: Context,
    batch_id: str,
    target: str | os.PathLike[str],
    *,
    options: ExportOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> ExportReport:
    """As `Client.export` promises."""
    options = options or ExportOptions()
    batch = checked_batch_id(batch_id)
    folder = await anyio.to_thread.run_sync(open_target, target)
    beside = Beside(batch, folder, options)
    await anyio.to_thread.run_sync(beside.check)
    workspace = await context.persist(context.api.workspace, tell=on_event)
    identity = ExportIdentity(context.api_url, workspace, batch, os.fsdecode(folder.path))
    async with entered_in_thread(
        open_export_checkpoint(exports_dir(context.settings), identity, restart=options.restart)
    ) as checkpoint:
        await _check_same_unpacking(checkpoint, options)
        await keep_said(checkpoint, context.said)
        await beside.check_not_of_batch(checkpoint)
        request = ExportRequest(
            batch=batch,
            options=options,
            policy=context.settings.retry,
            target=folder.path,
            staging=identity.staging,
            reserved=beside.reserved,
            stop=stop or anyio.Event(),
        )
        try:
            report = await _export(context, request, folder, checkpoint, on_event)
        except RfbulkError as error:
            if error.export_report is not None:
                _complete(error.export_report, workspace, checkpoint)
                await beside.write_report(checkpoint, error.export_report)
            raise
        _complete(report, workspace, checkpoint)
        try:
            await beside.write(checkpoint, report, request.stop, on_event)
        except RfbulkError as error:
            error.export_report = report  # the files themselves are here
            raise
        context.reach(Failpoint.MANIFEST_WRITTEN)
        return report


async def _export(
    context: Context, request: ExportRequest, folder: TargetFolder, checkpoint: ExportCheckpoint, on_event: OnEvent
) -> ExportReport:
    options = request.options
    opening: AbstractAsyncContextManager[ScalingReceiver | ClusterReceiver] = open_scaling_receiver(
        context.transport,
        Folders(request.target, request.staging),
        stall_seconds=context.settings.stall_seconds,
        rate=None if options.limit_rate is None else RateLimit(options.limit_rate),
        most_at_once=options.concurrency or options.most_fetches_at_once,
        processes=Processes(1 if options.concurrency == 1 else options.processes, context.spares),
        reach=context.reach,
    )
    if options.cluster is not None:
        from rfbulk.client.clustering import cluster_receiver  # noqa: PLC0415 - few have one

        opening = cluster_receiver(context, request.target, request.staging, options, on_event)
    async with opening as receiver:
        cores = _cores()
        if not isinstance(receiver, ScalingReceiver):
            request = replace(request, most_at_once=receiver.most_at_once, first_at_once=receiver.first_at_once)
            cores = receiver.first_at_once
        ports = ExportPorts(
            service=context.api,
            receiver=receiver,
            target=folder,
            checkpoint=checkpoint,
            clock=context.clock,
            tell=on_event,
            reach=context.reach,
            cores=cores,
        )
        report = await export(ports, request)
        await _tidy_up(receiver, report)
        return report


def _cores() -> int:
    """How many processors this process may use: in a container often fewer than the machine has."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux
    return len(affinity(0)) if affinity else os.cpu_count() or 1


async def _tidy_up(receiver: ScalingReceiver | ClusterReceiver, report: ExportReport) -> None:
    """What is in staging is of use as long as something is still to come."""
    if not report.left and not report.failed:
        await receiver.discard()


async def _check_same_unpacking(checkpoint: ExportCheckpoint, options: ExportOptions) -> None:
    """What an archive becomes must be the same on every run, or the same command would do two things."""
    wanted = "--unpack" if options.unpack else "--no-unpack"
    recorded = await checkpoint.fact("unpack")
    if recorded is None:
        await checkpoint.record_fact("unpack", wanted)
    elif recorded != wanted:
        raise UsageError(
            "resume",
            "the export",
            cause=f"it was begun with {recorded}",
            advice=f"use {recorded}, or --restart, or another folder",
        )


def _complete(report: ExportReport, workspace: str, checkpoint: ExportCheckpoint) -> None:
    report.workspace = workspace
    report.checkpoint = checkpoint.path.stem
