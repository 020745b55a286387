"""The export of a batch: target, checkpoint and receiver joined to the pipeline, and what it leaves beside files."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.client.context import Context, exports_dir
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.export_checkpoint import ExportCheckpoint, ExportIdentity, open_export_checkpoint
from rfbulk.edge.export_files import files_on_disk, write_export_report_file, write_manifest
from rfbulk.edge.merging import MergeStopped, merge_results
from rfbulk.edge.target import open_target
from rfbulk.edge.wholefile import check_writable
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import OnEvent, PhaseChanged, Warned
from rfbulk.pipeline.export import ExportRequest, export
from rfbulk.pipeline.export_ports import ExportPorts
from rfbulk.receivers.inline import Folders, InlineReceiver, open_inline_receiver
from rfbulk.settings import ExportOptions

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.model import BatchId
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
    beside = _Beside(batch, folder, options)
    await anyio.to_thread.run_sync(beside.check)
    workspace = await context.persist(context.api.workspace, tell=on_event)
    identity = ExportIdentity(context.api_url, workspace, batch, os.fsdecode(folder.path))
    async with _checkpoint(context, identity, restart=options.restart) as checkpoint:
        await _check_same_unpacking(checkpoint, options)
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
    async with open_inline_receiver(
        context.transport,
        Folders(request.target, request.staging),
        stall_seconds=context.settings.stall_seconds,
        rate=RateLimit(options.limit_rate),
        most_at_once=options.concurrency or options.most_fetches_at_once,
        reach=context.reach,
    ) as receiver:
        ports = ExportPorts(
            service=context.api,
            receiver=receiver,
            target=folder,
            checkpoint=checkpoint,
            clock=context.clock,
            tell=on_event,
            reach=context.reach,
        )
        report = await export(ports, request)
        await _tidy_up(receiver, report)
        return report


async def _tidy_up(receiver: InlineReceiver, report: ExportReport) -> None:
    """What is in staging is of use as long as something is still to come."""
    if not report.left and not report.failed:
        await receiver.discard()


@asynccontextmanager
async def _checkpoint(context: Context, identity: ExportIdentity, *, restart: bool) -> AsyncIterator[ExportCheckpoint]:
    """Opening and closing block on the disk, so they happen in a thread."""
    manager = open_export_checkpoint(exports_dir(context.settings), identity, restart=restart)
    checkpoint = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        yield checkpoint
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


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


class _Beside:
    """The files that an export writes beside the batch's own: manifest, merged results, report."""

    def __init__(self, batch: BatchId, folder: TargetFolder, options: ExportOptions) -> None:
        self._batch = batch
        self._folder = folder
        self._options = options
        default = Path(os.fsdecode(folder.path)) / f"{batch}.manifest.jsonl"
        self._manifest = options.manifest or default
        self._all = {"--manifest": self._manifest, "--merge": options.merge, "--report": options.report_file}

    def check(self) -> None:
        """Find out before anything is fetched what could not be written after hours of it. Blocks."""
        if not self._options.write_manifest:
            del self._all["--manifest"]
        for option, path in self._all.items():
            if path is not None:
                check_writable(path, option)

    @property
    def reserved(self) -> tuple[str, ...]:
        """The places within the target that none of the batch's files may take. The manifest's is always kept free."""
        paths = [f"{self._batch}.manifest.jsonl", *map(self._within, self._all.values())]
        return tuple(path for path in paths if path)

    async def check_not_of_batch(self, checkpoint: ExportCheckpoint) -> None:
        """What an earlier run fetched must not be written over."""
        for option, path in self._all.items():
            within = self._within(path)
            if within and await checkpoint.is_of_batch(within):
                raise UsageError(
                    "write", str(path), cause="a file of the batch lies there", advice=f"name another {option}"
                )

    def _within(self, path: Path | None) -> str:
        """The path relative to the target, empty if it is elsewhere."""
        if path is None:
            return ""
        whole = os.path.join(os.path.realpath(path.parent), path.name)
        relative = os.path.relpath(whole, os.fsdecode(self._folder.path))
        return "" if relative.startswith("..") else relative

    async def write(
        self, checkpoint: ExportCheckpoint, report: ExportReport, stop: anyio.Event, on_event: OnEvent
    ) -> None:
        """Write what was asked for. Results are merged only once all of them are here."""
        if self._options.write_manifest:
            await anyio.to_thread.run_sync(write_manifest, self._manifest, checkpoint, self._batch)
            report.manifest = str(self._manifest)
        if self._options.merge is not None:
            if report.left or stop.is_set():
                on_event(Warned("results are merged once all files are here: run the same again"))
            else:
                on_event(PhaseChanged("merging"))
                await self._merge(checkpoint, report, self._options.merge, stop, on_event)
                on_event(PhaseChanged("done"))
        await self.write_report(checkpoint, report)

    async def write_report(self, checkpoint: ExportCheckpoint, report: ExportReport) -> None:
        """Write the report file if one was asked for."""
        if self._options.report_file is not None:
            await anyio.to_thread.run_sync(write_export_report_file, self._options.report_file, checkpoint, report)

    async def _merge(
        self, checkpoint: ExportCheckpoint, report: ExportReport, into: Path, stop: anyio.Event, on_event: OnEvent
    ) -> None:
        def work() -> None:
            with closing(checkpoint.read()) as db:
                files = partial(files_on_disk, db, report.parts, into.suffix.lower())
                report.merged = merge_results(self._folder.path, files, into, is_stopped=stop.is_set)

        try:
            await anyio.to_thread.run_sync(work)
        except MergeStopped:
            return
        if report.merged is not None and not report.merged.files:
            on_event(Warned(f"nothing was merged: no {into.suffix} file is among what was exported"))
