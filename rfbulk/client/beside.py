"""The files that an export writes beside the batch's own: manifest, merged results, report."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.edge.export_files import files_on_disk, write_export_report_file, write_manifest
from rfbulk.edge.merging import MergeStopped, merge_results
from rfbulk.edge.wholefile import check_writable
from rfbulk.errors import UsageError
from rfbulk.events import OnEvent, PhaseChanged, Warned

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.model import BatchId
    from rfbulk.edge.export_checkpoint import ExportCheckpoint
    from rfbulk.edge.target import TargetFolder
    from rfbulk.settings import ExportOptions


class Beside:
    """Knows where each of them goes. `check` first, `write` in the end."""

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
