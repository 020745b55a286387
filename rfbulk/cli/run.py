"""`rfbulk run`: from images to results by one command."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click
import msgspec

from rfbulk.cli.cluster_options import cluster_from, cluster_options
from rfbulk.cli.job_options import workflow_job, workflow_options
from rfbulk.cli.options import CONTEXT, DURATION, SIZE, global_options, globals_of
from rfbulk.cli.printing import plain, print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.run_printing import exit_code_of_run, print_run_report
from rfbulk.cli.running import Session, run, settings_of
from rfbulk.cli.sources import sources_of
from rfbulk.cli.watching import WatchedCommand, watch_options, watched
from rfbulk.client.running import RunOptions
from rfbulk.client.sources import Source
from rfbulk.core.jobs import WorkflowJob
from rfbulk.core.secrets import ApiKey
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event, OnEvent, RunStepped
from rfbulk.settings import ExportOptions, Settings, UploadOptions

if TYPE_CHECKING:
    from rfbulk.client import Client
    from rfbulk.core.run_report import RunReport

GENTLE = ("upload", "export")
"""Steps that heed a first Ctrl-C by themselves; in the others nothing is under way that needs time."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where notifications are received during a run."""

    host: str
    port: int
    public_url: str
    keys: tuple[ApiKey, ...]


@click.command("run", cls=WatchedCommand, context_settings=CONTEXT)
@click.argument("source", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--output", "-o", required=True, metavar="DIR", help="The folder that the results come into.")
@workflow_options("images")
@click.option("--batch-id", "-b", metavar="B", help="The batch. [default: made from the sources]")
@click.option("--batch-name", metavar="N", help="The name shown for it. [default: the batch id]")
@click.option("--job-id", "-j", metavar="J", help="The job. [default: made from what it does]")
@click.option("--job-name", metavar="NAME", help="The name shown for it.")
@click.option("--stage", metavar="S", help="Whose results are exported. [default: the export stage's]")
@click.option("--allow-incomplete", is_flag=True, help="Start the job even if images are missing from the batch.")
@click.option("--timeout", type=DURATION, default="6h", show_default=True, help="How long to wait for the job.")
@click.option("--include", multiple=True, metavar="GLOB", help="Send only what matches. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out what matches. May be repeated.")
@click.option("--recursive/--no-recursive", default=True, help="Subfolders too.  [default: yes]")
@click.option("--names", type=click.Choice(["auto", "path", "basename"]), default="auto", help="As in upload images.")
@click.option("--limit-rate", type=SIZE, metavar="SIZE", help="Bytes per second at most, up and down.")
@click.option("--unpack/--no-unpack", default=True, help="Unpack the results' archives.  [default: unpack]")
@click.option("--merge", type=click.Path(path_type=Path), metavar="FILE", help="Merge all results into this file.")
@click.option("--webhook", metavar="HOST:PORT", help="Receive notifications there, and wait less.")
@click.option("--public-url", metavar="URL", help="Where the service reaches that address.")
@click.option(
    "--key-file", "key_files", multiple=True, type=click.Path(path_type=Path), metavar="FILE", help="Publishable key."
)
@click.option("--notifications-url", metavar="URL", help="Where the service reports, if that is somebody else's.")
@click.option("--shard-images", type=int, default=UploadOptions().shard_images, hidden=True)
@click.option("--quiet-period", type=DURATION, default="15s", hidden=True)
@click.option("--grace", type=DURATION, default="5s", hidden=True)
@watch_options
@cluster_options
@global_options
@click.pass_context
def run_all(context: click.Context, /, source: tuple[str, ...], output: str, **values: Any) -> int:
    """Upload images, wait until they are in, process them with a workflow, and bring the results home.

    Say the same again to resume, at whichever step it was stopped: there will be one batch, one job, one export.
    Once the job has been started nothing is added to its batch; another --job-id makes another job.

    \b
    rfbulk run photos --workflow-id detect --output results
    rfbulk run photos -w detect -o results --merge results/all.jsonl --param confidence=0.4
    rfbulk run photos -w detect -o results --webhook 127.0.0.1:8787 --public-url https://me.example/hook \\
               --key-file publishable.key
    """
    try:
        job = workflow_job("images", values["batch_id"] or "-", values)
        options = _run_options(values)
        listening = _listening(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    command = partial(
        _run, sources=sources_of(source, null=False), job=job, target=output, options=options, listening=listening
    )
    return run(globals_of(context), watched(context, command))


def _run_options(values: dict[str, Any]) -> RunOptions:
    upload = UploadOptions(
        batch_name=values["batch_name"],
        include=values["include"],
        exclude=values["exclude"],
        recursive=values["recursive"],
        names=values["names"],
        limit_rate=values["limit_rate"],
        shard_images=values["shard_images"],
        quiet_seconds=values["quiet_period"],
        grace_seconds=values["grace"],
        cluster=cluster_from(values),
    )
    export = ExportOptions(
        unpack=values["unpack"],
        merge=values["merge"],
        limit_rate=values["limit_rate"],
        grace_seconds=values["grace"],
        cluster=cluster_from(values),
    )
    return RunOptions(
        batch_id=values["batch_id"],
        job_id=values["job_id"],
        job_name=values["job_name"],
        stage=values["stage"],
        allow_incomplete=values["allow_incomplete"],
        wait_seconds=values["timeout"],
        notifications_url=values["notifications_url"],
        upload=upload,
        export=export,
    )


def _listening(values: dict[str, Any]) -> Listening | None:
    if values["webhook"] is None:
        return None
    from rfbulk.cli.webhook import read_keys  # noqa: PLC0415 - loads a server

    host, sign, port = values["webhook"].rpartition(":")
    if not sign or not host or not port.isdigit():
        raise UsageError("set", "webhook", cause="it must be HOST:PORT", advice="for example --webhook 127.0.0.1:8787")
    if values["public_url"] is None:
        raise UsageError(
            "set",
            "webhook",
            cause="the service must reach it: give --public-url too",
            advice="for example --public-url https://me.example/hook",
        )
    keys = tuple(ApiKey(key) for file in values["key_files"] for key in read_keys(file))
    return Listening(host.strip("[]"), int(port), values["public_url"].rstrip("/"), keys)


async def _run(
    session: Session,
    *,
    sources: list[Source],
    job: WorkflowJob,
    target: str,
    options: RunOptions,
    listening: Listening | None,
) -> int:
    async with AsyncExitStack() as stack:
        show = session.watched(stack.enter_context(progress_printer(session.options)))
        on_event = _heeding(session, show)
        client = await stack.enter_async_context(session.client())
        if listening is not None:
            settings = settings_of(session.options)
            hook = await _listen(stack, settings, client, listening, on_event)
            options = replace(options, notifications_url=hook)
        try:
            report = await client.run(sources, job, target, options=options, on_event=on_event, stop=session.stop)
        except RfbulkError as error:
            await stack.aclose()
            if error.run_report is not None and error.run_report.upload is not None:
                _print(session, error.run_report)
            raise
    _print(session, report)
    if session.interrupted_by is not None:
        click.echo("interrupted: run the same again to go on", err=True)
    return exit_code_of_run(report)


def _heeding(session: Session, show: OnEvent) -> Callable[[Event], None]:
    def on_event(event: Event) -> None:
        if isinstance(event, RunStepped):
            session.has_gentle_stop = event.step in GENTLE
        show(event)

    return on_event


async def _listen(
    stack: AsyncExitStack, settings: Settings, client: Client, listening: Listening, on_event: OnEvent
) -> str:
    """Receive notifications until the stack is closed, and return where the service is to send them."""
    from rfbulk.client.webhook import hook_path, run_inbox_dir  # noqa: PLC0415 - loads a server
    from rfbulk.edge.webhook import serve_app  # noqa: PLC0415

    path = await hook_path(settings)
    folder = run_inbox_dir(settings, listening.port)
    keys = [key.reveal() for key in listening.keys]
    behind_proxy = urlsplit(listening.public_url).path + path
    receiver = client.webhook(keys, folder=folder, path=[path, behind_proxy], on_event=on_event)
    await stack.enter_async_context(receiver)
    url = await stack.enter_async_context(serve_app(receiver.app, listening.host, listening.port))
    click.echo(f"notifications are received at {plain(url)}", err=True)
    return f"{listening.public_url}{path}"


def _print(session: Session, report: RunReport) -> None:
    session.keep_report(report)
    if session.options.json:
        print_json(msgspec.to_builtins(report) | {"is_done": report.is_done})
    else:
        print_run_report(report)
