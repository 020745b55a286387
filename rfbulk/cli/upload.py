"""`rfbulk upload images | videos`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rfbulk.cli.cluster_options import check_against_reference
from rfbulk.cli.options import CONTEXT, ExitCode, global_options, globals_of
from rfbulk.cli.printing import plain, print_json, print_preview, print_report
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run, settings_of
from rfbulk.cli.sources import shown, sources_of
from rfbulk.cli.upload_options import options_from, options_of_images, upload_options
from rfbulk.cli.watching import WatchedCommand, watch_options, watched
from rfbulk.client.context import uploads_dir
from rfbulk.client.measuring import latest_measured
from rfbulk.client.sources import Source, in_own_thread, open_sources
from rfbulk.core.advice import Work, expected_from, outlook, too_many
from rfbulk.core.forms import SHARDS, SINGLES, Form
from rfbulk.core.forms import VIDEOS as FORM_OF_VIDEOS
from rfbulk.core.media import IMAGES, VIDEOS, Media
from rfbulk.core.selection import Selection
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event
from rfbulk.pipeline.preview import Preview, preview
from rfbulk.settings import Settings, UploadOptions

if TYPE_CHECKING:
    from rfbulk.core.report import UploadReport


@click.command(cls=WatchedCommand, context_settings=CONTEXT)
@click.argument("source", nargs=-1, required=True, metavar="SOURCE...")
@upload_options
@options_of_images
@watch_options
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
    rfbulk upload images /shared/photos --batch-id spring --cluster tls://head:8786
    rfbulk upload images /shared/photos --batch-id spring --partition 2/20
    rfbulk upload images photos --batch-id spring --retry-failed
    """
    return _begin(context, IMAGES, source, batch_id, values)


@click.command(cls=WatchedCommand, context_settings=CONTEXT)
@click.argument("source", nargs=-1, required=True, metavar="SOURCE...")
@upload_options
@watch_options
@global_options
@click.pass_context
def videos(context: click.Context, /, source: tuple[str, ...], batch_id: str | None, **values: Any) -> int:
    """Upload the videos of folders, files, lists of paths or buckets into a batch, each exactly once.

    What is no video by its first bytes is named instead of sent. Say the same again to resume.

    \b
    rfbulk upload videos clips --batch-id night
    rfbulk upload videos clips --batch-id night --include '*.mp4' --concurrency 4
    rfbulk upload videos 's3://bucket/cam-*/**/*.mp4' --batch-id night
    rfbulk upload videos gs://bucket/clips/ --batch-id night --by-reference
    """
    return _begin(context, VIDEOS, source, batch_id, values)


def _begin(
    context: click.Context, media: Media, source: tuple[str, ...], batch_id: str | None, values: dict[str, Any]
) -> int:
    options = globals_of(context)
    is_dry = values.pop("dry_run")
    check_against_reference(context, values)
    if values["by_reference"] and (is_dry or batch_id is not None):
        from rfbulk.cli.by_reference import preview_refer, refer  # noqa: PLC0415 - a road is loaded when it is taken

        if batch_id is None or is_dry:
            return preview_refer(context, options, list(source), media.kind, values)
        return refer(context, options, list(source), batch_id, media.kind, values)
    try:
        given = options_from(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    if not is_dry and batch_id is None:
        raise click.UsageError("no batch was named: --batch-id B", context)
    sources = sources_of(source, null=values["null"])
    if is_dry:
        return run(options, partial(_preview, sources=sources, upload_options=given, media=media))
    upload = partial(_upload, sources=sources, batch=str(batch_id), upload_options=given, media=media)
    return run(options, watched(context, upload))


async def _upload(
    session: Session, *, sources: list[Source], batch: str, upload_options: UploadOptions, media: Media
) -> int:
    with ExitStack() as printers:
        show = session.watched(printers.enter_context(progress_printer(session.options)))

        def on_event(event: Event) -> None:
            session.has_gentle_stop = True  # from the first event on, the upload heeds it
            show(event)

        async with session.client() as client:
            try:
                upload = client.upload_videos if media is VIDEOS else client.upload_images
                report = await upload(sources, batch, options=upload_options, on_event=on_event, stop=session.stop)
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
    session.keep_report(report)
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


async def _preview(session: Session, *, sources: list[Source], upload_options: UploadOptions, media: Media) -> int:
    settings = settings_of(session.options)
    result = await in_own_thread(partial(_plan, sources, upload_options, settings, media))
    if session.options.json:
        print_json(msgspec.to_builtins(result))
    else:
        print_preview(result)
    if result.images and not session.options.quiet:
        click.echo(f"note: {plain(result.advice)}", err=True)
    if not result.images:
        raise UsageError(
            "plan",
            ", ".join(map(shown, sources)),
            cause=f"no {media.kind[:-1]} to send was found",
            advice="look at the source, and at --include and --exclude",
        )
    return ExitCode.DONE


def _plan(sources: list[Source], options: UploadOptions, settings: Settings, media: Media) -> Preview:
    selection = Selection(options.include, options.exclude, options.recursive)
    source = open_sources(sources, selection, options.names, settings, media).source
    form = FORM_OF_VIDEOS if media is VIDEOS else SINGLES if options.one_by_one else SHARDS
    result = preview(
        source,
        form.planner(max_images=options.shard_images, max_bytes=options.shard_bytes, trailer=b""),
        options.partition,
    )
    result.content = media.kind
    result.advice = _advice(form, result, options, settings)
    return result


def _advice(form: Form, plan: Preview, options: UploadOptions, settings: Settings) -> str:
    found = latest_measured(uploads_dir(settings), road=form.road, service=settings.api_url.rstrip("/"))
    work = Work(form, plan.images, plan.bytes, plan.shards)
    expected = expected_from(found[0], work, found[1], options.limit_rate) if found is not None else None
    hint = too_many(form, plan.images)
    return outlook(expected) + (f" {hint[0].upper()}{hint[1:]}." if hint else "")
