"""`rfbulk verify`: what was sent, what the service lists, and what the source has now, held against each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rfbulk.cli.options import CONTEXT, ExitCode, global_options, globals_of
from rfbulk.cli.printing import print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run
from rfbulk.cli.sources import sources_of
from rfbulk.cli.upload_options import check_writable
from rfbulk.cli.verify_printing import print_audit
from rfbulk.client.audit_origins import VerifyOptions
from rfbulk.core.auditing import DifferenceKind
from rfbulk.edge.difference_file import summary_of
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.client.sources import Source
    from rfbulk.core.auditing import VerifyReport


@click.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@click.argument("source", nargs=-1, metavar="[SOURCE]...")
@click.option("--include", multiple=True, metavar="GLOB", help="Look only at what matches. May be repeated.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out what matches. May be repeated.")
@click.option("--null", "-0", is_flag=True, help="Paths of lists stand between NULs.  [default: seen by itself]")
@click.option("--recursive/--no-recursive", default=None, help="Subfolders too.  [default: as uploaded]")
@click.option(
    "--names",
    type=click.Choice(["auto", "path", "basename"]),
    help="How files are named in the batch.  [default: as uploaded]",
)
@click.option("--source/--no-source", "look", default=True, help="Look at the source, too.  [default: yes]")
@click.option(
    "--report", type=click.Path(path_type=Path), metavar="FILE", help="Write every difference, as JSON lines."
)
@global_options
@click.pass_context
def verify(context: click.Context, /, batch_id: str, source: tuple[str, ...], **values: Any) -> int:
    """Compare what was sent, what the service lists, and what the source has now. Nothing is changed.

    Without a SOURCE it is all that this machine has sent into the batch, from where it came, with the options of then.
    Files that other machines have sent are compared by name: so one verify joins what many have uploaded.

    \b
    rfbulk verify spring
    rfbulk verify spring photos --report differences.jsonl
    rfbulk verify spring --no-source
    rfbulk verify spring s3://bucket/photos/ --include '*.jpg'

    \b
    lost     sent, and not listed             doubled  listed more than once
    unknown  listed, and not known here       new      in the source, never sent, not listed
    changed  sent, and different now          gone     sent, and not in the source any more
    failed   named by an earlier run          left     planned by a run that has not ended
    refused  in the source, cannot be sent    pending  sent, and not taken in yet

    Exit code 0: all agree. 3: they differ, in what is named. 5: only what the service has not taken in yet is missing.
    """
    report: Path | None = values["report"]
    try:
        if report is not None:
            check_writable(report)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    options = VerifyOptions(
        include=values["include"] or None,
        exclude=values["exclude"] or None,
        recursive=values["recursive"],
        names=values["names"],
        look_at_sources=values["look"],
        report_file=report,
    )
    if source and not options.look_at_sources:
        raise click.UsageError("a source was named that --no-source leaves out", context)
    sources = sources_of(source, null=values["null"])
    return run(globals_of(context), partial(_verify, batch_id=batch_id, sources=sources, options=options))


async def _verify(session: Session, *, batch_id: str, sources: list[Source], options: VerifyOptions) -> int:
    with progress_printer(session.options) as on_event:
        async with session.client() as client:
            report = await client.verify(batch_id, sources or None, options=options, on_event=on_event)
    if session.options.json:
        for difference in report.differences:
            print_json(msgspec.to_builtins(difference))
        print_json(summary_of(report))
    else:
        print_audit(report, options.report_file)
    return exit_code_of_audit(report)


def exit_code_of_audit(report: VerifyReport) -> ExitCode:
    """Return the exit code that tells of an audit: where the service only has to go on, it may be said again."""
    if report.agrees:
        return ExitCode.DONE
    is_early = report.closes and set(report.books.differences) <= {DifferenceKind.PENDING}
    return ExitCode.AGAIN if is_early else ExitCode.SOME_FAILED
