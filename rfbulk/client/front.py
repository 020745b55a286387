"""The library's front door: one client for one service, as an async context manager.

    async with rfbulk.Client(api_key="…") as client:
        report = await client.upload_images("photos", batch_id="spring")

It has no effect on its host: no logging set-up, no signal handlers, no event-loop policy. Every task, thread, socket
and file is gone when a call returns or is cancelled. It works under asyncio's own loop and under uvloop.

Each road is loaded when it is taken: all of them together take a third of a second.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rfbulk.client.context import Context, Reach, uploads_dir
from rfbulk.client.filling import Filling
from rfbulk.core.failpoints import pass_by
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.secrets import ApiKey
from rfbulk.edge.api import ServiceApi
from rfbulk.edge.clock import SystemClock
from rfbulk.edge.jobs_api import JobsApi
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import UsageError
from rfbulk.events import OnEvent, ignore
from rfbulk.settings import ExportOptions, Settings

if TYPE_CHECKING:
    import anyio

    from rfbulk.client.audit_origins import VerifyOptions
    from rfbulk.client.jobs import StartedJob
    from rfbulk.client.running import RunOptions
    from rfbulk.client.uploading import Source, StrPath
    from rfbulk.client.webhook import WebhookReceiver
    from rfbulk.core.auditing import VerifyReport
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.job_watch import JobReport
    from rfbulk.core.job_wire import Job, JobLog, Stage, Task
    from rfbulk.core.jobs import JobDefinition, Overrides, Severity, WorkflowJob
    from rfbulk.core.notices import Notice
    from rfbulk.core.readiness import BatchState
    from rfbulk.core.run_report import RunReport
    from rfbulk.core.standing import Flow
    from rfbulk.core.wire import BatchMetadata, BatchPart, RemoteFile, ShardStatus
    from rfbulk.pipeline.following import OnNotice
    from rfbulk.workers.starting import Spares


class Client(Filling):
    """Speaks to one service with one api key. Use as `async with`; calls may overlap.

    `api_key` defaults to `ROBOFLOW_API_KEY`. `settings` hold the rest, with `api_url` and `workspace` as shortcuts.
    `spares` are processes that the caller has started early, and closes. `said` is how a command line would say its
    transfers again: their checkpoints keep it.

    Raises:
        UsageError: there is no api key.
    """

    def __init__(
        self,
        api_key: str | ApiKey | None = None,
        *,
        api_url: str | None = None,
        workspace: str | None = None,
        settings: Settings | None = None,
        reach: Reach = pass_by,
        spares: Spares | None = None,
        said: str = "",
    ) -> None:
        key = api_key if api_key is not None else os.environ.get("ROBOFLOW_API_KEY", "")
        self._api_key = key if isinstance(key, ApiKey) else ApiKey(key)
        self._settings = settings or Settings.from_environment()
        self._api_url = api_url or self._settings.api_url
        self._workspace = workspace or self._settings.workspace
        self._reach = reach
        self._spares = spares
        self._said = said
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Client:
        """Open the connections' pool. Nothing is sent yet."""
        if not self._api_key.reveal():
            raise UsageError("start", cause="there is no api key", advice="set ROBOFLOW_API_KEY")
        settings = self._settings
        options = TransportOptions(
            connect_seconds=settings.connect_seconds,
            stall_seconds=settings.stall_seconds,
            ca_file=settings.ca_file,
            allow_http=settings.allow_http,
            is_plain=self._api_url.startswith("http://"),
        )
        transport = await self._stack.enter_async_context(open_transport(options))
        api = ServiceApi(transport, self._api_url, self._api_key, self._workspace)
        api_url = self._api_url.rstrip("/")
        self._context = Context(
            settings,
            api_url,
            api,
            transport,
            SystemClock(),
            self._reach,
            JobsApi(api.caller),
            spares=self._spares,
            said=self._said,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._stack.aclose()

    @property
    def state_dir(self) -> Path:
        """Where checkpoints of uploads are kept."""
        return uploads_dir(self._settings)

    @property
    def server_offset(self) -> float:
        """How far the service's clock was ahead of this machine's at its last answer, in seconds."""
        return self._context.api.server_offset

    async def workspace(self) -> str:
        """Return the workspace of the api key."""
        return await self._context.persist(self._context.api.workspace)

    # exports

    async def export(
        self,
        batch_id: str,
        target: str | os.PathLike[str],
        *,
        options: ExportOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> ExportReport:
        """Bring the files of a batch home into a folder, each whole and once.

        The same call again resumes: what is here as it was left is not fetched again; what was deleted or changed here
        is restored. Cancelling loses nothing. Setting `stop` ends it gently.

        Returns the report; partial failures are in it (`has_failures`), by name.

        Raises:
            UsageError: nothing was fetched.
            NotAuthorised, ServiceRefused, ProtocolError: the service will not have it.
            TroublePassing: the service or the line did not work for the whole retry budget.
            CheckpointBusy, CheckpointDamaged: the checkpoint cannot be used.
            NoRoom: a disk is full.
            TransferFailed: as it says; `export_report` is attached, as to all that comes once the export has begun.
        """
        from rfbulk.client.exporting import export_batch

        return await export_batch(self._context, batch_id, target, options=options, on_event=on_event, stop=stop)

    # batches

    async def batch(self, batch_id: str) -> BatchMetadata | None:
        """Describe a batch, None if the service does not know it."""
        batch = checked_batch_id(batch_id)
        return await self._context.persist(lambda: self._context.api.batch(batch))

    async def count(self, batch_id: str, *, part: str | None = None) -> int | None:
        """Count the files that a batch (or one of its parts) holds, None if the service does not know it."""
        batch = checked_batch_id(batch_id)
        return await self._context.persist(lambda: self._context.api.count(batch, part))

    async def parts(self, batch_id: str) -> Sequence[BatchPart]:
        """List the parts of a multipart batch."""
        batch = checked_batch_id(batch_id)
        return await self._context.persist(lambda: self._context.api.parts(batch))

    async def each_batch(self, take: Callable[[BatchMetadata], None]) -> None:
        """Call `take` with every batch of the workspace, page by page."""
        await self._context.each("list", "batches", self._context.api.batches_page, take)

    async def each_shard(self, batch_id: str, take: Callable[[ShardStatus], None]) -> None:
        """Call `take` with the status of every shard of a batch, page by page."""
        batch = checked_batch_id(batch_id)
        await self._context.each(
            "list shards of", batch, lambda token: self._context.api.shards_page(batch, token), take
        )

    async def each_file(self, batch_id: str, take: Callable[[RemoteFile], None], *, part: str | None = None) -> None:
        """Call `take` with every file of a batch (or one of its parts), page by page."""
        batch = checked_batch_id(batch_id)
        await self._context.each(
            "list files of", batch, lambda token: self._context.api.files_page(batch, part, token), take
        )

    async def wait_for_batch(
        self, batch_id: str, *, expect: int | None = None, seconds: float = 7200.0, on_event: OnEvent = ignore
    ) -> BatchState:
        """Wait until a batch is ready: `expect` files counted, and no shard pending or failed.

        Without `expect` it is what uploads from this machine have sent and are to send; where there are none, the
        batch is ready once its count stands still. A batch that can never be ready is in the state (`is_ready`).

        Raises:
            WaitTimeout: it was not ready in time.
        """
        from rfbulk.client.batches import wait_for_batch

        return await wait_for_batch(self._context, batch_id, expect, seconds, on_event)

    async def verify(
        self,
        batch_id: str,
        source: Source | Sequence[Source] | None = None,
        *,
        options: VerifyOptions | None = None,
        on_event: OnEvent = ignore,
    ) -> VerifyReport:
        """Compare what was sent into a batch, what the service lists, and what the sources have now.

        Without `source` it is all that this machine has sent into the batch, from where it came. What others have sent
        is compared by name with the source. Nothing is changed anywhere.

        Returns the report: `agrees`, else each difference by name (`differences`, and all in `options.report_file`).

        Raises:
            UsageError: nothing is known of the batch here and no source was named, or the service does not know it.
            SourceError: a source cannot be read.
            CheckpointBusy: an upload into the batch is under way.
            RfbulkError: as `upload_images`.
        """
        from rfbulk.client.verifying import verify

        return await verify(self._context, batch_id, source, options=options, on_event=on_event)

    # jobs

    async def start_job(
        self,
        definition: JobDefinition,
        *,
        job_id: str | None = None,
        name: str | None = None,
        on_event: OnEvent = ignore,
    ) -> StartedJob:
        """Start a job. Without `job_id` the same definition and name make the same id, so that it starts once.

        Raises:
            UsageError: another job has this id.
            TroublePassing: also where the service answers 429, which may mean that credits are out.
        """
        from rfbulk.client import jobs

        return await jobs.start(self._context, definition, job_id, name, on_event)

    async def job(self, job_id: str) -> Job | None:
        """Describe a job, None if the service does not know it."""
        from rfbulk.client import jobs

        return await jobs.job(self._context, job_id)

    async def each_job(self, take: Callable[[Job], None]) -> None:
        """Call `take` with every job of the workspace, page by page."""
        from rfbulk.client import jobs

        await jobs.each_job(self._context, take)

    async def stages(self, job_id: str) -> Sequence[Stage]:
        """List the stages of a job in the order in which they began."""
        from rfbulk.client import jobs

        return await jobs.stages(self._context, job_id)

    async def each_task(self, job_id: str, stage: str, take: Callable[[Task], None]) -> None:
        """Call `take` with every task of a stage (its name or its id), page by page."""
        from rfbulk.client import jobs

        await jobs.each_task(self._context, job_id, stage, take)

    async def each_log(self, job_id: str, take: Callable[[JobLog], None], *, severity: Severity | None = None) -> None:
        """Call `take` with every line of a job's log, page by page."""
        from rfbulk.client import jobs

        await jobs.each_log(self._context, job_id, take, severity)

    async def wait_for_job(
        self, job_id: str, *, seconds: float = 21_600.0, is_new: bool = False, on_event: OnEvent = ignore
    ) -> JobReport:
        """Wait until a job has ended. A failed job is in the report (`succeeded`), with the service's reasons.

        `is_new`: it has just been started, and the service may not show it for a while.

        Raises:
            UsageError: there is no such job.
            WaitTimeout: it has not ended in time.
        """
        from rfbulk.client import jobs

        return await jobs.wait(self._context, job_id, seconds, on_event, is_new=is_new)

    async def output_batches(self, job_id: str, *, stage: str | None = None) -> tuple[str, ...]:
        """Return the batches with a job's results: those of its export stage, or of the one that is named.

        Raises:
            UsageError: no such stage has made a batch.
        """
        from rfbulk.client import jobs

        return await jobs.results_of(self._context, job_id, stage)

    async def abort_job(self, job_id: str) -> None:
        """Ask the service to end a job."""
        from rfbulk.client import jobs

        await jobs.abort(self._context, job_id)

    async def restart_job(self, job_id: str, overrides: Overrides | None = None, *, on_event: OnEvent = ignore) -> None:
        """Ask the service to run a job again that has ended, with other values where `overrides` has any."""
        from rfbulk.client import jobs

        await jobs.restart(self._context, job_id, overrides, on_event)

    # the whole run

    async def run(
        self,
        source: Source | Sequence[Source],
        job: WorkflowJob | str,
        target: StrPath,
        *,
        options: RunOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> RunReport:
        """Upload the images of a source, process them with a workflow, and bring the results home.

        `job` is a workflow's id, or a `WorkflowJob` with all its parameters, whose batch is the run's. The same call
        again goes on where it was stopped: it makes one batch, one job, one export. Once the job has been started,
        nothing is added to its batch; another `job_id` is another job. No job is started on an incomplete batch
        unless `options.allow_incomplete`.

        Returns the report; it tells the step in which the run ended, and what each step came to.

        Raises:
            RfbulkError: as the steps do; `run_report` tells how far the run had come.
        """
        from rfbulk.client import running
        from rfbulk.client.sources import each_of

        wanted = running.workflow(job) if isinstance(job, str) else job
        given = options or running.RunOptions()
        return await running.run(self._context, each_of(source), wanted, target, given, on_event, stop)

    # notifications

    def webhook(
        self,
        keys: Sequence[str],
        *,
        folder: Path | None = None,
        path: str | Sequence[str] = "/",
        on_notice: OnNotice | None = None,
        at_once: int = 1,
        flows: Sequence[Flow] = (),
        on_event: OnEvent = ignore,
    ) -> WebhookReceiver:
        """Return a receiver of the service's notifications, to be entered with `async with`.

        While it is entered, notifications wake this client's waiting calls, and `on_notice` is awaited for each event.
        Serve its `app`, alone or as a sub-application of yours. `keys` are the workspace's publishable keys. `flows`
        are carried out for batches whose ingest has ended. `on_event` is told each delivery and each outcome.
        """
        from rfbulk.client import webhook as server

        return server.WebhookReceiver(
            server.ReceiverOptions(tuple(map(ApiKey, keys)), (path,) if isinstance(path, str) else tuple(path)),
            folder or server.inbox_dir(self._settings),
            follow=None if on_notice is None else server.Follow(on_notice, at_once),
            standing=server.Standing(self._context, flows) if flows else None,
            bell=self._context.bell,
            on_event=on_event,
            reach=self._reach,
        )

    async def confirms(self, notice: Notice) -> bool:
        """Ask the service whether what a notification says is so: a hint becomes a fact.

        Raises:
            TroublePassing: a job is said to have ended, and the service does not show its end yet.
        """
        from rfbulk.client.webhook import check_with_service

        return await check_with_service(self._context, notice)
