"""The road of jobs: started, looked at, waited for, ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from rfbulk.client.listening import hearing_inbox
from rfbulk.core.job_stages import output_batches
from rfbulk.core.job_wire import definition_body, overrides_body
from rfbulk.core.jobs import JobDefinition, JobId, Overrides, made_job_id
from rfbulk.core.jobs import job_id as checked_job_id
from rfbulk.core.notices import job_subject
from rfbulk.core.wire import Page
from rfbulk.errors import ServiceRefused, UsageError
from rfbulk.events import OnEvent, ignore
from rfbulk.pipeline.jobs import JobPorts, restart_job, start_job, watch_job

if TYPE_CHECKING:
    from rfbulk.client.context import Context
    from rfbulk.core.job_watch import JobReport
    from rfbulk.core.job_wire import Job, JobLog, Stage, Task


class StartedJob(msgspec.Struct, frozen=True):
    """A job that runs, or has run. `is_new`: it was started now, and not by an earlier start of the same."""

    job_id: str
    is_new: bool


async def start(
    context: Context, definition: JobDefinition, job_id: str | None, name: str | None, on_event: OnEvent
) -> StartedJob:
    """As `Client.start_job` promises."""
    given = None if job_id is None else checked_job_id(job_id)
    workspace = await context.persist(context.api.workspace, tell=on_event)
    job = given or made_job_id(definition, workspace, name)
    is_new = await start_job(ports_of(context, on_event), job, definition_body(definition, workspace), name)
    return StartedJob(job, is_new)


async def wait(context: Context, job_id: str, seconds: float, on_event: OnEvent, *, is_new: bool) -> JobReport:
    """As `Client.wait_for_job` promises."""
    job = checked_job_id(job_id)
    await context.persist(context.api.workspace, tell=on_event)
    work = partial(watch_job, ports_of(context, on_event), job, seconds=seconds, is_new=is_new)
    return await hearing_inbox(context, job_subject(job), work)


async def job(context: Context, job_id: str) -> Job | None:
    """As `Client.job` promises."""
    checked = checked_job_id(job_id)
    return await context.persist(lambda: context.jobs.job(checked))


async def each_job(context: Context, take: Callable[[Job], None]) -> None:
    """As `Client.each_job` promises."""
    await context.each("list", "jobs", context.jobs.jobs_page, take)


async def stages(context: Context, job_id: str) -> Sequence[Stage]:
    """As `Client.stages` promises."""
    checked = checked_job_id(job_id)
    found = await context.persist(lambda: context.jobs.stages(checked))
    if found is None:
        raise _unknown_job(checked)
    return found


async def each_task(context: Context, job_id: str, stage: str, take: Callable[[Task], None]) -> None:
    """As `Client.each_task` promises."""
    job = checked_job_id(job_id)
    known = await stages(context, job)
    found = [each for each in known if stage.lower() in {each.name.lower(), each.stage_id.lower()}]
    if not found:
        names = ", ".join(each.name or each.stage_id for each in known) or "none yet"
        raise UsageError(
            "find",
            f"stage {stage} of job {job}",
            cause=f"its stages are: {names}",
            advice="choose one of them with --stage",
        )

    async def page_at(token: str | None) -> Page[Task]:
        return await context.jobs.tasks_page(job, found[0].stage_id, token) or Page((), None)

    await context.each("list tasks of", f"stage {stage} of job {job}", page_at, take)


async def each_log(context: Context, job_id: str, take: Callable[[JobLog], None], severity: str | None) -> None:
    """As `Client.each_log` promises."""
    job = checked_job_id(job_id)
    try:
        await context.each("list logs of", f"job {job}", partial(context.jobs.logs_page, job, severity), take)
    except ServiceRefused as refusal:
        if refusal.status == _NOT_FOUND:
            raise _unknown_job(job) from None
        raise


async def results_of(context: Context, job_id: str, stage: str | None) -> tuple[str, ...]:
    """As `Client.output_batches` promises."""
    found = await stages(context, job_id)
    batches = output_batches(found, stage)
    if batches is None:
        made = ", ".join(each.name or each.stage_id for each in found if each.output_batches) or "none yet"
        raise UsageError(
            "find results of",
            f"job {job_id}",
            cause=f"its stage {stage or 'for export'} has made no batch; stages with one: {made}",
            advice="wait until the job has ended, or name another --stage",
        )
    return batches


async def abort(context: Context, job_id: str) -> None:
    """As `Client.abort_job` promises."""
    job = checked_job_id(job_id)
    await context.persist(lambda: context.jobs.abort_job(job))


async def restart(context: Context, job_id: str, overrides: Overrides | None, on_event: OnEvent) -> None:
    """As `Client.restart_job` promises."""
    body = None if overrides is None else overrides_body(overrides)
    await restart_job(ports_of(context, on_event), context.jobs.restart_job, checked_job_id(job_id), body)


def ports_of(context: Context, on_event: OnEvent = ignore) -> JobPorts:
    """Return what the pipeline needs to start jobs and to wait for them."""
    return JobPorts(context.jobs, context.clock, context.settings.retry, on_event, context.bell)


def _unknown_job(job: JobId) -> UsageError:
    return UsageError("find", f"job {job}", cause="the service does not know it", advice="`rfbulk job list` shows all")


_NOT_FOUND = 404
