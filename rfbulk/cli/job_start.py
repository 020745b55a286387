"""`rfbulk job start images | videos | trt`."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rfbulk.cli.job_options import starting_options, workflow_job, workflow_options
from rfbulk.cli.jobs import print_job_report
from rfbulk.cli.options import CONTEXT, ExitCode, global_options, globals_of
from rfbulk.cli.printing import print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run
from rfbulk.core.jobs import DEVICES, CompilationJob, JobDefinition
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.client.jobs import StartedJob


@click.group(context_settings=CONTEXT)
@global_options
def start() -> None:
    """Start a job, once: the same command again is the same job.

    \b
    rfbulk job start images spring --workflow-id detect
    rfbulk job start videos clips --workflow-id detect --max-video-fps 5
    rfbulk job start trt --model-id project/3 --device nvidia-l4
    """


@start.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@workflow_options("images")
@starting_options
@global_options
@click.pass_context
def images(context: click.Context, /, batch_id: str, **values: Any) -> int:
    """Process the images of a batch with a workflow.

    \b
    rfbulk job start images spring --workflow-id detect
    rfbulk job start images spring -w detect --param confidence=0.4 --machine gpu --wait
    """
    return _started(context, partial(workflow_job, "images", batch_id), values)


@start.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@workflow_options("videos")
@starting_options
@global_options
@click.pass_context
def videos(context: click.Context, /, batch_id: str, **values: Any) -> int:
    """Process the videos of a batch with a workflow.

    \b
    rfbulk job start videos clips --workflow-id detect --max-video-fps 5
    """
    return _started(context, partial(workflow_job, "videos", batch_id), values)


@start.command(context_settings=CONTEXT)
@click.option("--model-id", "-m", required=True, metavar="M", help="The model to compile.")
@click.option("--device", "-d", "devices", multiple=True, type=click.Choice(DEVICES), help="For what. May be repeated.")
@starting_options
@global_options
@click.pass_context
def trt(context: click.Context, /, model_id: str, devices: tuple[Any, ...], **values: Any) -> int:
    """Compile a model for TensorRT.

    \b
    rfbulk job start trt --model-id project/3 --device nvidia-l4 --device nvidia-t4
    """

    def definition(values: dict[str, Any]) -> JobDefinition:
        return CompilationJob(
            model_id=model_id, devices=devices or DEVICES[:2], notifications_url=values["notifications_url"]
        )

    return _started(context, definition, values)


def _started(context: click.Context, definition: Any, values: dict[str, Any]) -> int:
    try:
        job = definition(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    return run(globals_of(context), partial(_start, definition=job, values=values))


async def _start(session: Session, *, definition: JobDefinition, values: dict[str, Any]) -> int:
    with progress_printer(session.options) as on_event:
        async with session.client() as client:
            started = await client.start_job(
                definition, job_id=values["job_id"], name=values["job_name"], on_event=on_event
            )
            if not values["wait"]:
                _print_started(session, started)
                return ExitCode.DONE
            if not session.options.json:
                _print_started(session, started)
            report = await client.wait_for_job(
                started.job_id, seconds=values["timeout"], is_new=started.is_new, on_event=on_event
            )
    return print_job_report(session, report)


def _print_started(session: Session, started: StartedJob) -> None:
    if session.options.json:
        print_json(msgspec.to_builtins(started))
    else:
        click.echo(f"job {started.job_id}: {'started' if started.is_new else 'has been started before'}")
