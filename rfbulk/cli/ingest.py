"""`rfbulk upload references | query`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
import msgspec

from rfbulk.cli.options import CONTEXT, DURATION, ExitCode, global_options, globals_of
from rfbulk.cli.printing import MAX_NAMED_ON_SCREEN, duration, number, plain, print_failures, print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run, settings_of
from rfbulk.cli.upload_options import check_writable
from rfbulk.cli.watching import WatchedCommand, watch_options, watched
from rfbulk.client.ingest_preview import IngestPreview, preview_references
from rfbulk.client.sources import in_own_thread
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event
from rfbulk.settings import IngestOptions, Settings

if TYPE_CHECKING:
    import anyio

    from rfbulk.client import Client
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.references import MediaKind
    from rfbulk.events import OnEvent

F = TypeVar("F", bound=Callable[..., Any])
Work = Callable[["Client", "OnEvent", "anyio.Event"], Awaitable["IngestReport"]]

_SHARED: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--batch-id", "-b"), {"metavar": "B", "help": "The batch: a-z, 0-9, _ and -, at most 64."}),
    (("--batch-name",), {"metavar": "N", "help": "The name shown for it. [default: the batch id]"}),
    (("--ingest-id",), {"metavar": "ID", "help": "The ingest's name in notifications; further requests are ID-2, …"}),
    (("--notifications-url",), {"metavar": "URL", "help": "Where the service reports that the ingest has ended."}),
    (("--wait/--no-wait",), {"default": True, "help": "Until the service has taken all in.  [default: wait]"}),
    (("--timeout",), {"type": DURATION, "default": "2h", "show_default": True, "help": "How long to wait for that."}),
    (("--restart",), {"is_flag": True, "help": "Forget what earlier runs have asked for."}),
    (("--quiet-period",), {"type": DURATION, "default": "15s", "hidden": True}),
]


def _ingest_options(function: F) -> F:
    for names, settings in reversed(_SHARED):
        function = click.option(*names, **settings)(function)
    return function


@click.command(cls=WatchedCommand, context_settings=CONTEXT)
@click.argument("references", metavar="FILE|URL")
@click.option(
    "--kind", "-k", type=click.Choice(["images", "videos"]), required=True, help="What the references lead to."
)
@click.option(
    "--notification-category",
    "notification_categories",
    multiple=True,
    metavar="C",
    help="What is reported: ingest-status, files-status. May be repeated.",
)
@click.option("--dry-run", is_flag=True, help="Look at every line and print the plan; ask for nothing.")
@click.option(
    "--report",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write every reference's fate, as JSON lines.",
)
@_ingest_options
@watch_options
@global_options
@click.pass_context
def references(context: click.Context, /, references: str, kind: Any, batch_id: str | None, **values: Any) -> int:
    """Let the service fetch files that are elsewhere into a batch, each exactly once.

    FILE has a JSON object a line, {"name": "a.jpg", "url": "https://…"}, and is checked as a whole before anything
    is asked for. URL is the https address of such a list, which the service fetches. Say the same again to resume.

    \b
    rfbulk upload references images.jsonl --batch-id spring --kind images
    rfbulk upload references images.jsonl --kind images --dry-run
    rfbulk upload references https://bucket.example/clips.jsonl?… --batch-id clips --kind videos
    """
    if values.pop("dry_run"):
        return run(globals_of(context), partial(preview_with, work=lambda _settings: _preview(references, kind)))

    def work(client: Client, on_event: OnEvent, stop: anyio.Event) -> Awaitable[IngestReport]:
        return client.ingest_references(references, batch, kind, options=options, on_event=on_event, stop=stop)

    batch, options = _batch_of(context, batch_id), _options(context, values)
    return run(globals_of(context), watched(context, partial(ingest_with, work=work)))


@click.command(cls=WatchedCommand, context_settings=CONTEXT)
@click.argument("query", metavar="ROBOQL")
@_ingest_options
@watch_options
@global_options
@click.pass_context
def query(context: click.Context, /, query: str, batch_id: str | None, **values: Any) -> int:
    """Let the platform fill a batch with those of its own images that a RoboQL query finds.

    Said again it asks for nothing new; another --ingest-id does.

    \b
    rfbulk upload query "tag:street" --batch-id streets
    """

    def work(client: Client, on_event: OnEvent, stop: anyio.Event) -> Awaitable[IngestReport]:
        return client.ingest_query(query, batch, options=options, on_event=on_event, stop=stop)

    batch, options = _batch_of(context, batch_id), _options(context, values)
    return run(globals_of(context), watched(context, partial(ingest_with, work=work)))


def _batch_of(context: click.Context, batch_id: str | None) -> str:
    if batch_id is None:
        raise click.UsageError("no batch was named: --batch-id B", context)
    return batch_id


def _preview(references: str, kind: MediaKind) -> IngestPreview:
    if "://" in references:
        cause = "what a list elsewhere names, the service alone knows"
        raise UsageError("plan", "the ingest", cause=cause, advice="--dry-run looks at lists of this machine")
    return preview_references(references, kind)


def _options(context: click.Context, values: dict[str, Any]) -> IngestOptions:
    try:
        if values.get("report") is not None:
            check_writable(values["report"])
        return IngestOptions(
            report_file=values.get("report"),
            batch_name=values["batch_name"],
            ingest_id=values["ingest_id"],
            notifications_url=values["notifications_url"],
            notification_categories=values.get("notification_categories", ()),
            wait=values["wait"],
            wait_seconds=values["timeout"],
            quiet_seconds=values["quiet_period"],
            restart=values["restart"],
        )
    except UsageError as error:
        raise click.UsageError(str(error), context) from None


async def preview_with(session: Session, *, work: Callable[[Settings], IngestPreview]) -> int:
    """Print what an ingest would ask for, and return the exit code."""
    settings = settings_of(session.options)
    result = await in_own_thread(lambda: work(settings))
    if session.options.json:
        print_json(msgspec.to_builtins(result))
    else:
        _print_preview(result)
    if not result.references:
        raise UsageError(
            "plan",
            "the ingest",
            cause=f"no {result.kind[:-1]} to ask for was found",
            advice="look at the source, and at --include and --exclude",
        )
    return ExitCode.DONE


def _print_preview(preview: IngestPreview) -> None:
    references, requests = number(preview.references, "reference"), number(preview.requests, "request")
    click.echo(f"would ask for {references} to {preview.kind}, in {requests}")
    if preview.skipped:
        click.echo(f"  {number(preview.skipped, 'file')} skipped, no {preview.kind} by their names")
    for reason, count in sorted(preview.refused.items()):
        click.echo(f"  {number(count, 'file')} refused: {reason}")
    for path, reason, detail in preview.refused_examples[:MAX_NAMED_ON_SCREEN]:
        click.echo(f"    {reason}  {plain(path)}{f': {plain(detail)}' if detail else ''}")


async def ingest_with(session: Session, *, work: Work) -> int:
    """Carry an ingest out, showing how it goes, print its report, and return the exit code."""
    with ExitStack() as printers:
        show = session.watched(printers.enter_context(progress_printer(session.options)))

        def on_event(event: Event) -> None:
            session.has_gentle_stop = True  # from the first event on, the ingest heeds it
            show(event)

        async with session.client() as client:
            try:
                report = await work(client, on_event, session.stop)
            except RfbulkError as error:
                printers.close()
                if error.ingest_report is not None and error.ingest_report.requests:
                    _print(session, error.ingest_report)
                raise
    _print(session, report)
    if session.interrupted_by is not None:
        click.echo("interrupted: the checkpoint is kept; run the same again to resume", err=True)
    return exit_code_of_ingest(report)


def _print(session: Session, report: IngestReport) -> None:
    session.keep_report(report)
    if session.options.json:
        print_json(msgspec.to_builtins(report))
    else:
        print_ingest_report(report)


def exit_code_of_ingest(report: IngestReport) -> ExitCode:
    """Return the exit code that tells of a finished ingest."""
    if report.ingest_failed:
        return ExitCode.SERVICE_FAILED
    if report.left:
        return ExitCode.AGAIN
    return ExitCode.SOME_FAILED if report.has_failures else ExitCode.DONE


def print_ingest_report(report: IngestReport) -> None:
    """Print what became of an ingest: the outcome, the books, and what failed by name."""
    click.echo(_headline(report))
    if report.planned:
        click.echo(
            f"  planned {report.planned:,} = accepted {report.sent:,} + failed {report.failed:,} + left {report.left:,}"
        )
    for line in _details(report):
        click.echo(f"  {line}")
    print_failures(report.failures, report.refused + report.failed + report.changed)


def _headline(report: IngestReport) -> str:
    what = f"batch {report.batch_id}: "
    if report.kind == "query":
        what += "the query was accepted"
    elif report.planned:
        what += f"{number(report.sent, 'reference')} to {report.kind} accepted"
    else:
        what += f"the list of {report.kind} was accepted"
    if report.is_confirmed:
        what += f", {report.indexed or 0:,} indexed by the service"
    if report.already_sent:
        what += f" ({report.already_sent:,} asked for by earlier runs)"
    return what


def _details(report: IngestReport) -> Iterable[str]:
    shown = ", ".join(plain(each) for each in report.ingest_ids[:3]) + (" …" if len(report.ingest_ids) > 3 else "")
    yield f"{number(report.requests, 'request')} in {duration(report.wall_seconds)}: {shown}"
    if report.duplicated:
        yield f"{number(report.duplicated, 'request')} the service had known before"
    if report.skipped:
        yield f"{number(report.skipped, 'file')} skipped, no {report.kind} by their names"
    if report.retries:
        causes = ", ".join(f"{plain(cause)} ×{count}" for cause, count in sorted(report.retries.items()))
        yield f"tried again: {causes}"
    if report.ingest_failed:
        yield f"the service failed to take all in: {plain(report.ingest_detail) or 'it gives no reason'}"
    if report.left:
        yield "run the same again to ask for what is left"
