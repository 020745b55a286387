"""`rfbulk export`."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rfbulk.cli.export_printing import print_export_report
from rfbulk.cli.options import AUTO_OR_NUMBER, CONTEXT, DURATION, SIZE, ExitCode, global_options, globals_of
from rfbulk.cli.printing import print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event
from rfbulk.settings import ExportOptions

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport

FILE = click.Path(path_type=Path)


@click.command(context_settings=CONTEXT)
@click.argument("batch")
@click.argument("folder", metavar="DIR", required=False)
@click.option("--target-dir", metavar="DIR", hidden=True)
@click.option(
    "--part",
    "--part-name",
    "parts",
    multiple=True,
    metavar="P",
    help="Only this part. May be repeated.  [default: all]",
)
@click.option("--unpack/--no-unpack", default=True, help="Unpack .tar and .tar.gz on the way.  [default: unpack]")
@click.option("--overwrite", is_flag=True, help="Fetch everything anew, and replace what lies in the way.")
@click.option("--concurrency", type=AUTO_OR_NUMBER, default="auto", show_default=True, help="Connections at once.")
@click.option("--memory", type=SIZE, default="256MiB", show_default=True, help="Bound of what they hold together.")
@click.option("--limit-rate", type=SIZE, metavar="SIZE", help="Bytes per second at most.")
@click.option("--merge", type=FILE, metavar="FILE", help="Merge all results files into this .jsonl or .csv.")
@click.option("--manifest", type=FILE, metavar="FILE", help="Where each file is from. [default: DIR/B.manifest.jsonl]")
@click.option("--no-manifest", is_flag=True, help="Write no manifest.")
@click.option("--report", type=FILE, metavar="FILE", help="Write every remote file's fate, as JSON lines.")
@click.option("--restart", is_flag=True, help="Forget what earlier runs have fetched.")
@click.option("--max-failures", type=int, metavar="N", help="Stop when more files than this have failed.")
@click.option("--grace", type=DURATION, default="5s", hidden=True)
@global_options
@click.pass_context
def export(context: click.Context, /, batch: str, folder: str | None, target_dir: str | None, **values: Any) -> int:
    """Bring the files of a batch home into a folder, each whole and once.

    Say the same again to resume: what is here is not fetched again; what was deleted or changed here is restored.

    \b
    rfbulk export results ./results
    rfbulk export results ./results --part crops --no-unpack
    rfbulk export results ./results --merge all.jsonl
    rfbulk export results ./results --limit-rate 20MiB --report results.jsonl
    """
    target = folder or target_dir
    if target is None:
        raise click.UsageError("no folder was named: rfbulk export BATCH DIR", context)
    try:
        options = _export_options(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    return run(globals_of(context), partial(_export, batch=batch, target=target, export_options=options))


def _export_options(values: dict[str, Any]) -> ExportOptions:
    return ExportOptions(
        parts=values["parts"],
        unpack=values["unpack"],
        overwrite=values["overwrite"],
        concurrency=values["concurrency"],
        memory_bytes=values["memory"],
        limit_rate=values["limit_rate"],
        merge=values["merge"],
        manifest=values["manifest"],
        write_manifest=not values["no_manifest"],
        report_file=values["report"],
        restart=values["restart"],
        max_failures=values["max_failures"],
        grace_seconds=values["grace"],
    )


async def _export(session: Session, *, batch: str, target: str, export_options: ExportOptions) -> int:
    with ExitStack() as printers:
        show = printers.enter_context(progress_printer(session.options))

        def on_event(event: Event) -> None:
            session.has_gentle_stop = True  # from the first event on, the export heeds it
            show(event)

        async with session.client() as client:
            try:
                report = await client.export(
                    batch, target, options=export_options, on_event=on_event, stop=session.stop
                )
            except RfbulkError as error:
                printers.close()
                if error.export_report is not None and error.export_report.listed:
                    _print(session, error.export_report)
                raise
    _print(session, report)
    if session.interrupted_by is not None:
        click.echo("interrupted: the checkpoint is kept; run the same again to resume", err=True)
    return exit_code_of_export(report)


def _print(session: Session, report: ExportReport) -> None:
    if session.options.json:
        print_json(msgspec.to_builtins(report))
    else:
        print_export_report(report)


def exit_code_of_export(report: ExportReport) -> ExitCode:
    """Return the exit code that tells of a finished export."""
    if report.left:
        return ExitCode.AGAIN
    return ExitCode.SOME_FAILED if report.has_failures else ExitCode.DONE
