"""The batch-processing API: one method per call, one attempt per method, its answers as records or our own errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rfbulk.core import job_wire
from rfbulk.core.wire import Page
from rfbulk.edge.calling import BATCH_PROCESSING, MAX_LISTING_BYTES, Call, page_query

if TYPE_CHECKING:
    from rfbulk.core.job_wire import Job, JobLog, Stage, Task
    from rfbulk.core.jobs import JobId
    from rfbulk.edge.calling import Caller


class JobsApi:
    """Jobs of one workspace. Every method makes one attempt and raises as `Caller` says."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def create_job(self, job: JobId, body: dict[str, Any], name: str | None) -> None:
        """Create a job, which starts it."""
        call = Call("start", f"job {job}", ("jobs", job), {"name": name}, method="POST", body=job_wire.encode(body))
        await self._caller.in_workspace(BATCH_PROCESSING, call, _anything)

    async def job(self, job: JobId) -> Job | None:
        """Describe a job, None if there is none."""
        call = Call("show", f"job {job}", ("jobs", job))
        return await self._caller.if_there(BATCH_PROCESSING, call, job_wire.parse_job)

    async def jobs_page(self, token: str | None = None, page_size: int | None = None) -> Page[Job]:
        """List one page of the workspace's jobs."""
        call = Call("list", "jobs", ("jobs",), page_query(token, page_size), max_bytes=MAX_LISTING_BYTES)
        return await self._caller.in_workspace(BATCH_PROCESSING, call, job_wire.parse_jobs_page)

    async def stages(self, job: JobId) -> tuple[Stage, ...] | None:
        """List the stages of a job in the order in which they began, None if there is no job."""
        call = Call("list stages of", f"job {job}", ("jobs", job, "stages"), max_bytes=MAX_LISTING_BYTES)
        return await self._caller.if_there(BATCH_PROCESSING, call, job_wire.parse_stages)

    async def tasks_page(
        self, job: JobId, stage: str, token: str | None = None, page_size: int | None = None
    ) -> Page[Task] | None:
        """List one page of a stage's tasks, None if there is no such stage."""
        path = ("jobs", job, "stages", stage, "tasks")
        query = page_query(token, page_size)
        call = Call("list tasks of", f"stage {stage} of job {job}", path, query, max_bytes=MAX_LISTING_BYTES)
        return await self._caller.if_there(BATCH_PROCESSING, call, job_wire.parse_tasks_page)

    async def logs_page(
        self, job: JobId, severity: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[JobLog]:
        """List one page of a job's log, of one severity or of all."""
        query = {"severity": severity, **page_query(token, page_size)}
        call = Call("list logs of", f"job {job}", ("jobs", job, "logs"), query, max_bytes=MAX_LISTING_BYTES)
        return await self._caller.in_workspace(BATCH_PROCESSING, call, job_wire.parse_logs_page)

    async def abort_job(self, job: JobId) -> None:
        """Ask for the end of a job."""
        call = Call("abort", f"job {job}", ("jobs", job, "abort"), method="POST")
        await self._caller.in_workspace(BATCH_PROCESSING, call, _anything)

    async def restart_job(self, job: JobId, body: dict[str, Any] | None) -> None:
        """Ask for another run of a job that has ended, with other values or with those it had."""
        call = Call("restart", f"job {job}", ("jobs", job, "restart"), method="POST", body=job_wire.encode(body))
        await self._caller.in_workspace(BATCH_PROCESSING, call, _anything)


def _anything(_body: bytes) -> None:
    """Success is all that is said; what stands in the body is not documented."""
