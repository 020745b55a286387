"""The whole run: sources to results, by the roads of upload, job and export."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread
import msgspec

from rfbulk.client import jobs
from rfbulk.client.exporting import export_batch
from rfbulk.client.uploading import Source, StrPath, upload_images
from rfbulk.core.job_wire import definition_body, is_same_definition
from rfbulk.core.jobs import WorkflowJob, made_job_id
from rfbulk.core.jobs import job_id as checked_job_id
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.run_report import RunReport
from rfbulk.edge.source import resolved
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.pipeline.flow import FlowPorts, run_flow
from rfbulk.settings import ExportOptions, UploadOptions

if TYPE_CHECKING:
    from rfbulk.client.context import Context
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.job_watch import JobReport
    from rfbulk.core.jobs import JobId
    from rfbulk.core.report import UploadReport
    from rfbulk.events import OnEvent

_NO_BATCH: Final = "-"
_ODD: Final = re.compile(r"[^a-z0-9_-]+")
_NAME_CHARACTERS: Final = 40


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes. What is None is made from the command, the same on every run.

    `batch_id`, `job_id` and `job_name` name what it makes. `stage` is whose batches are exported (None: the export
    stage's). `allow_incomplete` permits a job on a batch that lacks images. `wait_seconds` bounds the waiting for the
    job. `upload` and `export` are the options of those steps; the upload always waits for the service.
    `notifications_url` is told of the ingest and of the job's end.
    """

    batch_id: str | None = None
    job_id: str | None = None
    job_name: str | None = None
    stage: str | None = None
    allow_incomplete: bool = False
    wait_seconds: float = 21_600.0
    notifications_url: str | None = None
    upload: UploadOptions = field(default_factory=UploadOptions)
    export: ExportOptions = field(default_factory=ExportOptions)

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out, before anything is sent."""
        if self.batch_id is not None:
            checked_batch_id(self.batch_id)
        if self.job_id is not None:
            checked_job_id(self.job_id)
        if not self.upload.wait:
            raise UsageError(
                "run",
                cause="the upload must wait for the service before a job may start",
                advice="leave wait=True in its upload's options",
            )


def workflow(workflow_id: str, **values: object) -> WorkflowJob:
    """Return the job of a run, whose batch is not known yet."""
    return WorkflowJob(batch_id=_NO_BATCH, workflow_id=workflow_id, **values)  # type: ignore[arg-type]  # checked by the record


async def run(
    context: Context,
    sources: Sequence[Source],
    job: WorkflowJob,
    target: StrPath,
    options: RunOptions,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> RunReport:
    """As `Client.run` promises."""
    workspace = await context.persist(context.api.workspace, tell=on_event)
    paths = await anyio.to_thread.run_sync(resolved, list(sources))
    batch = options.batch_id or made_batch_id(context.api_url, workspace, paths)
    definition = msgspec.structs.replace(job, batch_id=batch, notifications_url=options.notifications_url)
    given = None if options.job_id is None else checked_job_id(options.job_id)
    job_id = given or made_job_id(definition, workspace, options.job_name)
    report = RunReport(batch_id=batch, job_id=job_id, target=os.fspath(target))
    stop = stop or anyio.Event()
    works = RunWorks(context, sources, definition, job_id, workspace, Path(target), options, on_event, stop)
    ports = FlowPorts(works, context.clock, on_event, context.reach)
    try:
        return await run_flow(ports, report, allow_incomplete=options.allow_incomplete, stop=stop)
    except RfbulkError as error:
        error.run_report = report
        raise


def made_batch_id(service: str, workspace: str, sources: Sequence[str]) -> str:
    """Make the name of a batch from the sources it is to hold: readable, and the same on every run."""
    text = msgspec.json.encode([service, workspace, list(sources)])
    name = _ODD.sub("-", Path(sources[0]).name.lower()).strip("-")[:_NAME_CHARACTERS] if sources else ""
    return checked_batch_id(f"{name or 'run'}-{hashlib.sha256(text).hexdigest()[:10]}")


@dataclass(frozen=True, slots=True)
class RunWorks:
    """The steps of a run, each by its road. All may be repeated."""

    context: Context
    sources: Sequence[Source]
    definition: WorkflowJob
    job_id: JobId
    workspace: str
    target: Path
    options: RunOptions
    on_event: OnEvent
    stop: anyio.Event

    async def job_is_known(self) -> bool:
        """Tell whether the service knows the job already."""
        shown = await jobs.job(self.context, self.job_id)
        if shown is None:
            return False
        if not is_same_definition(definition_body(self.definition, self.workspace), shown.definition):
            raise UsageError(
                "run",
                f"job {self.job_id}",
                cause="a job with this id does something else",
                advice=f"choose another --job-id; `rfbulk job show {self.job_id}` tells what it does",
            )
        return True

    async def upload(self) -> UploadReport:
        """Bring the sources into the batch, confirmed."""
        options = replace(self.options.upload, notifications_url=self.options.notifications_url)
        return await upload_images(
            self.context,
            list(self.sources),
            self.definition.batch_id,
            options=options,
            on_event=self.on_event,
            stop=self.stop,
        )

    async def start_job(self) -> bool:
        """Start the job unless it has been started. True if it was started now."""
        started = await jobs.start(self.context, self.definition, self.job_id, self.options.job_name, self.on_event)
        return started.is_new

    async def wait_for_job(self, *, is_new: bool) -> JobReport:
        """Wait until the job has ended."""
        return await jobs.wait(self.context, self.job_id, self.options.wait_seconds, self.on_event, is_new=is_new)

    async def output_batches(self) -> Sequence[str]:
        """Find the batches with the job's results."""
        return await jobs.results_of(self.context, self.job_id, self.options.stage)

    async def export(self, batch: str, *, is_only: bool) -> ExportReport:
        """Bring one of them home."""
        target = self.target if is_only else self.target / batch
        call = partial(export_batch, self.context, batch, target)
        return await call(options=self.options.export, on_event=self.on_event, stop=self.stop)
