"""`rfbulk job list | show | stages | tasks | logs | wait | abort | restart`."""

from __future__ import annotations

from functools import partial
from typing import Any

import click
import msgspec

from rfbulk.cli.job_options import machine_options
from rfbulk.cli.options import CONTEXT, DURATION, ExitCode, global_options, globals_of
from rfbulk.cli.printing import number, plain, print_json, print_table
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run
from rfbulk.client import Client
from rfbulk.core.confirming import RowKind, row_kind
from rfbulk.core.job_stages import StageState, TaskTally
from rfbulk.core.job_watch import JobReport
from rfbulk.core.job_wire import Job, JobLog, Stage, Task
from rfbulk.core.jobs import Overrides
from rfbulk.errors import UsageError


@click.command("list", context_settings=CONTEXT)
@global_options
@click.pass_context
def list_jobs(context: click.Context) -> int:
    """List the jobs of the workspace.

    \b
    rfbulk job list
    rfbulk job list --json
    """
    return run(globals_of(context), _list)


async def _list(session: Session) -> int:
    rows: list[list[str]] = []

    def take(job: Job) -> None:
        if session.options.json:
            print_json(msgspec.to_builtins(job))
        else:
            rows.append([job.job_id, job.name, _state(job), job.current_stage, job.created])

    async with session.client() as client:
        await client.each_job(take)
    if not session.options.json:
        print_table(["job", "name", "state", "stage", "created"], rows)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@global_options
@click.pass_context
def show(context: click.Context, job_id: str) -> int:
    """Describe a job: what it does, how far each stage is, and which batches it has made.

    \b
    rfbulk job show job-1
    """
    return run(globals_of(context), partial(_show, job_id=job_id))


async def _show(session: Session, *, job_id: str) -> int:
    async with session.client() as client:
        job = await _known_job(client, job_id)
        states = [await _state_of(client, job_id, stage) for stage in await client.stages(job_id)]
    if session.options.json:
        print_json(msgspec.to_builtins(job) | {"stages": msgspec.to_builtins(states)})
        return ExitCode.DONE
    _print_shown(job, states)
    return ExitCode.DONE


async def _state_of(client: Client, job_id: str, stage: Stage) -> StageState:
    tally = TaskTally()
    await client.each_task(job_id, stage.stage_id, lambda task: tally.add([task]))
    return tally.state_of(stage)


def _print_shown(job: Job, states: list[StageState]) -> None:
    click.echo(f"job {plain(job.job_id)}: {plain(job.name)}")
    click.echo(f"  state    {_state(job)}")
    click.echo(f"  created  {plain(job.created)}")
    click.echo(f"  says     {plain(job.notification) or 'nothing'}")
    for state in states:
        click.echo(
            f"  stage    {plain(state.name)}: {state.progress:.0%}, {state.succeeded} done, {state.failed} failed,"
            f" {state.running} running of {number(state.tasks, 'task')}"
        )
        for batch in state.output_batches:
            click.echo(f"           makes batch {plain(batch)}")
        for reason, count in state.reasons.items():
            click.echo(f"           failed ×{count}: {plain(reason)}")
    click.echo(f"  does     {plain(msgspec.json.encode(job.definition).decode())}")


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@global_options
@click.pass_context
def stages(context: click.Context, job_id: str) -> int:
    """List the stages of a job and the batches they make.

    \b
    rfbulk job stages job-1
    """
    return run(globals_of(context), partial(_stages, job_id=job_id))


async def _stages(session: Session, *, job_id: str) -> int:
    async with session.client() as client:
        found = await client.stages(job_id)
    if session.options.json:
        for stage in found:
            print_json(msgspec.to_builtins(stage))
        return ExitCode.DONE
    rows = [[s.name, s.stage_id, _kind(s.status_type), f"{s.tasks:,}", ", ".join(s.output_batches)] for s in found]
    print_table(["stage", "id", "state", "tasks", "batches"], rows)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@click.argument("stage", metavar="STAGE")
@global_options
@click.pass_context
def tasks(context: click.Context, job_id: str, stage: str) -> int:
    """List the tasks of a stage, by its name or its id.

    \b
    rfbulk job tasks job-1 processing
    """
    return run(globals_of(context), partial(_tasks, job_id=job_id, stage=stage))


async def _tasks(session: Session, *, job_id: str, stage: str) -> int:
    rows: list[list[str]] = []

    def take(task: Task) -> None:
        if session.options.json:
            print_json(msgspec.to_builtins(task))
        else:
            progress = "" if task.progress is None else f"{task.progress:.0%}"
            rows.append([task.task_id, _kind(task.status_type), progress, task.notification])

    async with session.client() as client:
        await client.each_task(job_id, stage, take)
    if not session.options.json:
        print_table(["task", "state", "progress", "says"], rows)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@click.option("--severity", "--log-severity", type=click.Choice(["info", "warning", "error"]), help="Only these.")
@global_options
@click.pass_context
def logs(context: click.Context, job_id: str, severity: Any) -> int:
    """Print a job's log, page by page as it comes.

    \b
    rfbulk job logs job-1 --severity error
    rfbulk job logs job-1 --json > job-1.jsonl
    """
    return run(globals_of(context), partial(_logs, job_id=job_id, severity=severity))


async def _logs(session: Session, *, job_id: str, severity: Any) -> int:
    def take(line: JobLog) -> None:
        if session.options.json:
            print_json(msgspec.to_builtins(line))
        else:
            payload = msgspec.json.encode(line.payload).decode()
            click.echo(plain(f"{line.created}  {line.severity:<7}  {line.module} {line.log_type}  {payload}"))

    async with session.client() as client:
        await client.each_log(job_id, take, severity=severity)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@click.option("--timeout", type=DURATION, default="6h", show_default=True, help="How long to wait.")
@global_options
@click.pass_context
def wait(context: click.Context, job_id: str, timeout: float) -> int:
    """Wait until a job has ended. Exit code 6 if it failed, 3 if some of its tasks did, 7 if it took too long.

    \b
    rfbulk job wait job-1 --timeout 6h
    """
    return run(globals_of(context), partial(_wait, job_id=job_id, timeout=timeout))


async def _wait(session: Session, *, job_id: str, timeout: float) -> int:  # noqa: ASYNC109 - the user's
    with progress_printer(session.options) as on_event:
        async with session.client() as client:
            report = await client.wait_for_job(job_id, seconds=timeout, on_event=on_event)
    return print_job_report(session, report)


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@global_options
@click.pass_context
def abort(context: click.Context, job_id: str) -> int:
    """Ask the service to end a job.

    \b
    rfbulk job abort job-1
    """
    return run(globals_of(context), partial(_abort, job_id=job_id))


async def _abort(session: Session, *, job_id: str) -> int:
    async with session.client() as client:
        await client.abort_job(job_id)
    return _said(session, job_id, "abort", "its end was asked for")


@click.command(context_settings=CONTEXT)
@click.argument("job_id", metavar="JOB")
@machine_options
@click.option("--max-image-failure-rate", "max_failure_rate", type=float, metavar="SHARE", help="0 to 1.")
@global_options
@click.pass_context
def restart(context: click.Context, /, job_id: str, **values: Any) -> int:
    """Run a job again that has ended, with other values where any are given.

    \b
    rfbulk job restart job-1
    rfbulk job restart job-1 --machine gpu --max-runtime-seconds 7200
    """
    try:
        overrides = Overrides(**values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    return run(globals_of(context), partial(_restart, job_id=job_id, overrides=overrides))


async def _restart(session: Session, *, job_id: str, overrides: Overrides) -> int:
    with progress_printer(session.options) as on_event:
        async with session.client() as client:
            await client.restart_job(job_id, overrides, on_event=on_event)
    return _said(session, job_id, "restart", "another run was asked for")


def print_job_report(session: Session, report: JobReport) -> ExitCode:
    """Print what a job has come to, and return the exit code that tells of it."""
    if session.options.json:
        print_json(msgspec.to_builtins(report))
    else:
        print_job(report)
    return exit_code_of_job(report)


def print_job(report: JobReport) -> None:
    """Print what a job has come to, in words."""
    click.echo(f"job {plain(report.job_id)}: {report.state}")
    for stage in report.stages:
        made = f", batch {', '.join(map(plain, stage.output_batches))}" if stage.output_batches else ""
        counts = f"{stage.succeeded:,} of {number(stage.tasks, 'task')} done, {stage.failed:,} failed"
        click.echo(f"  {plain(stage.name)}: {counts}{made}")
    for reason in report.reasons:
        click.echo(f"  {plain(reason)}")


def exit_code_of_job(report: JobReport) -> ExitCode:
    """Return the exit code that tells of a job that has ended."""
    if not report.succeeded:
        return ExitCode.SERVICE_FAILED
    return ExitCode.SOME_FAILED if report.tasks_failed else ExitCode.DONE


def _said(session: Session, job_id: str, what: str, text: str) -> ExitCode:
    if session.options.json:
        print_json({"job_id": job_id, "asked": what})
    else:
        click.echo(f"job {job_id}: {text}")
    return ExitCode.DONE


def _state(job: Job) -> str:
    if job.is_terminal:
        return "failed" if job.error else "succeeded"
    return "running, with errors" if job.error else "running"


def _kind(status_type: str) -> str:
    kind = row_kind(status_type)
    return "running" if kind is RowKind.PENDING else str(kind)


async def _known_job(client: Client, job_id: str) -> Job:
    job = await client.job(job_id)
    if job is None:
        raise UsageError(
            "find", f"job {job_id}", cause="the service does not know it", advice="`rfbulk job list` shows all"
        )
    return job
