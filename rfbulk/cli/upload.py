"""`rfbulk upload images`."""

from __future__ import annotations

import os
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import click
import msgspec

from rfbulk.cli.by_reference import refer
from rfbulk.cli.options import AUTO_OR_NUMBER, CONTEXT, DURATION, SIZE, ExitCode, global_options, globals_of
from rfbulk.cli.printing import print_json, print_preview, print_report
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run, settings_of
from rfbulk.cli.sources import shown, sources_of
from rfbulk.client.sources import Source, open_sources
from rfbulk.core.planning import Planner
from rfbulk.core.selection import Selection
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event
from rfbulk.pipeline.preview import Preview, preview
from rfbulk.settings import Settings, UploadOptions

if TYPE_CHECKING:
    from rfbulk.core.report import UploadReport

DEFAULTS = UploadOptions()


@click.command(context_settings=CONTEXT)
@click.argument("source", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--batch-id", "-b", metavar="B", help="The batch: a-z, 0-9, _ and -, at most 64.")
@click.option("--batch-name", metavar="N", help="The name shown for it. [default: the batch id]")
@click.option("--include", multiple=True, metavar="GLOB", help="Send only what matches. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out what matches. May be repeated.")
@click.option("--null", "-0", is_flag=True, help="Paths of lists stand between NULs.  [default: seen by itself]")
@click.option("--recursive/--no-recursive", default=True, help="Subfolders too.  [default: yes]")
@click.option(
    "--names",
    type=click.Choice(["auto", "path", "basename"]),
    default="auto",
    help="How images are named in the batch: from their path (auto; path: with the folder's name in front), or bare.",
)
@click.option("--shard-images", type=int, default=DEFAULTS.shard_images, show_default=True, help="Images in a shard.")
@click.option("--shard-bytes", type=SIZE, default="64MiB", show_default=True, help="Bytes in a shard.")
@click.option("--concurrency", type=AUTO_OR_NUMBER, default="auto", show_default=True, help="Shards at once.")
@click.option(
    "--processes", type=AUTO_OR_NUMBER, default="auto", show_default=True, help="Processes that send; auto: as pays."
)
@click.option("--memory", type=SIZE, default="256MiB", show_default=True, help="Bound of the bytes in flight.")
@click.option("--by-reference", is_flag=True, help="Buckets only: the service fetches the images by signed URLs.")
@click.option(
    "--url-expiry", type=DURATION, default="2d", show_default=True, help="How long those are valid; at most 7d."
)
@click.option("--limit-rate", type=SIZE, metavar="SIZE", help="Bytes per second at most.")
@click.option("--notifications-url", metavar="URL", help="Where the service reports that a shard was taken in.")
@click.option("--ingest-id", metavar="ID", help="The name of this ingest in notifications.")
@click.option("--wait/--no-wait", default=True, help="Until the service has indexed and counted all.  [default: wait]")
@click.option("--timeout", type=DURATION, default="2h", show_default=True, help="How long to wait for that.")
@click.option(
    "--verify",
    type=click.Choice(["none", "count", "names"]),
    default="count",
    show_default=True,
    help="What is compared with the service in the end.",
)
@click.option(
    "--on-unsure",
    type=click.Choice(["verify", "reupload", "skip"]),
    default="verify",
    show_default=True,
    help="Shards that may have arrived: look them up, send them again, or leave them.",
)
@click.option(
    "--on-changed",
    type=click.Choice(["name", "send"]),
    default="name",
    show_default=True,
    help="Files that were sent and are different now: name them, or send them under a new name.",
)
@click.option("--max-failures", type=int, metavar="N", help="Stop when more images than this have failed.")
@click.option("--dry-run", is_flag=True, help="Print the plan; send nothing.")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write every image's fate, as JSON lines."
)
@click.option("--restart", is_flag=True, help="Forget what earlier runs have sent, and send all again.")
@click.option("--quiet-period", type=DURATION, default="15s", hidden=True)
@click.option("--grace", type=DURATION, default="5s", hidden=True)
@global_options
@click.pass_context
def images(context: click.Context, /, source: tuple[str, ...], batch_id: str | None, **values: Any) -> int:
    """Upload the images of folders, files, lists of paths or buckets into a batch, each exactly once.

    Say the same again to resume: what is there is not sent again, new files are added.

    \b
    rfbulk upload images photos --batch-id spring
    rfbulk upload images photos --batch-id spring --include '*.jpg' --exclude 'thumbs/**'
    rfbulk upload images photos --batch-id spring --limit-rate 20MiB --report spring.jsonl
    rfbulk upload images photos --dry-run
    rfbulk upload images @list.txt --batch-id spring
    find photos -newer last -print0 | rfbulk upload images - --batch-id spring
    rfbulk upload images 's3://bucket/cam-*/**' --batch-id spring
    rfbulk upload images gs://bucket/photos/ --batch-id spring --by-reference
    """
    options = globals_of(context)
    is_dry = values.pop("dry_run")
    sources = sources_of(source, null=values["null"])
    if values["by_reference"] and not is_dry and batch_id is not None:
        return refer(context, options, list(source), batch_id, "images", values)
    try:
        upload_options = _upload_options(values)
        if upload_options.report_file is not None:
            _check_writable(upload_options.report_file)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    if not is_dry and batch_id is None:
        raise click.UsageError("no batch was named: --batch-id B", context)
    if is_dry:
        return run(options, partial(_preview, sources=sources, upload_options=upload_options))
    return run(options, partial(_upload, sources=sources, batch=str(batch_id), upload_options=upload_options))


def _check_writable(path: Path) -> None:
    """A report that cannot be written must not be found out after hours of sending."""
    folder = path.parent
    cause = "its folder is not there" if not folder.is_dir() else "its folder cannot be written to"
    if not os.access(folder, os.W_OK):
        raise UsageError("write", f"the report {path}", cause=cause, advice="name another --report")
    if path.is_dir():
        raise UsageError("write", f"the report {path}", cause="it is a folder", advice="name another --report")


def _upload_options(values: dict[str, Any]) -> UploadOptions:
    verify = values["verify"]
    return UploadOptions(
        batch_name=values["batch_name"],
        include=values["include"],
        exclude=values["exclude"],
        recursive=values["recursive"],
        names=values["names"],
        shard_images=values["shard_images"],
        shard_bytes=values["shard_bytes"],
        concurrency=values["concurrency"],
        processes=values["processes"],
        memory_bytes=values["memory"],
        limit_rate=values["limit_rate"],
        wait=values["wait"] and verify != "none",
        wait_seconds=values["timeout"],
        verify=verify,
        on_unsure=values["on_unsure"],
        on_changed=values["on_changed"],
        quiet_seconds=values["quiet_period"],
        max_failures=values["max_failures"],
        notifications_url=values["notifications_url"],
        ingest_id=values["ingest_id"],
        restart=values["restart"],
        report_file=values["report"],
        grace_seconds=values["grace"],
    )


async def _upload(session: Session, *, sources: list[Source], batch: str, upload_options: UploadOptions) -> int:
    with ExitStack() as printers:
        show = printers.enter_context(progress_printer(session.options))

        def on_event(event: Event) -> None:
            session.has_gentle_stop = True  # from the first event on, the upload heeds it
            show(event)

        async with session.client() as client:
            try:
                report = await client.upload_images(
                    sources, batch, options=upload_options, on_event=on_event, stop=session.stop
                )
            except RfbulkError as error:
                printers.close()
                if error.report is not None and error.report.planned:
                    _print(session, error.report)
                raise
    _print(session, report)
    if session.interrupted_by is not None:
        click.echo("interrupted: the checkpoint is kept; run the same again to resume", err=True)
    return exit_code_of_report(report)


def _print(session: Session, report: UploadReport) -> None:
    if session.options.json:
        print_json(msgspec.to_builtins(report))
    else:
        print_report(report)


def exit_code_of_report(report: UploadReport) -> ExitCode:
    """Return the exit code that tells of a finished upload."""
    if report.ingest_failed:
        return ExitCode.SERVICE_FAILED
    if report.left:
        return ExitCode.AGAIN
    return ExitCode.SOME_FAILED if report.has_failures else ExitCode.DONE


async def _preview(session: Session, *, sources: list[Source], upload_options: UploadOptions) -> int:
    result = await anyio.to_thread.run_sync(
        _plan, sources, upload_options, settings_of(session.options), abandon_on_cancel=True
    )
    if session.options.json:
        print_json(msgspec.to_builtins(result))
    else:
        print_preview(result)
    if not result.images:
        raise UsageError("plan", ", ".join(map(shown, sources)), cause="no image to send was found")
    return ExitCode.DONE


def _plan(sources: list[Source], options: UploadOptions, settings: Settings) -> Preview:
    selection = Selection(options.include, options.exclude, options.recursive)
    source = open_sources(sources, selection, options.names, settings).source
    planner = Planner(max_images=options.shard_images, max_bytes=options.shard_bytes)
    return preview(source, planner)
