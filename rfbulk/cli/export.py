"""`rfbulk export`."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from rfbulk.cli.cluster_options import cluster_from, cluster_options
from rfbulk.cli.export_printing import print_export_report
from rfbulk.cli.options import AUTO_OR_NUMBER, CONTEXT, DURATION, SIZE, ExitCode, global_options, globals_of
from rfbulk.cli.printing import print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run
from rfbulk.cli.watching import WatchedCommand, watch_options, watched
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event
from rfbulk.settings import ExportOptions

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport

FILE = click.Path(path_type=Path)


@click.command(cls=WatchedCommand, context_settings=CONTEXT)
@click.argument("batch", required=False)
@click.argument("folder", metavar="DIR", required=False)
@click.option("--job", "-j", metavar="J", help="The results of a job, instead of a BATCH: its export stage's.")
@click.option("--stage", metavar="S", help="With --job: those of another stage.")
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
@click.option(
    "--processes", type=AUTO_OR_NUMBER, default="auto", show_default=True, help="Processes that receive; auto: as pays."
)
@click.option("--memory", type=SIZE, default="256MiB", show_default=True, help="Bound of what they hold together.")
@click.option("--limit-rate", type=SIZE, metavar="SIZE", help="Bytes per second at most.")
@click.option("--merge", type=FILE, metavar="FILE", help="Merge all results files into this .jsonl or .csv.")
@click.option("--manifest", type=FILE, metavar="FILE", help="Where each file is from. [default: DIR/B.manifest.jsonl]")
@click.option("--no-manifest", is_flag=True, help="Write no manifest.")
@click.option("--report", type=FILE, metavar="FILE", help="Write every remote file's fate, as JSON lines.")
@click.option("--restart", is_flag=True, help="Forget what earlier runs have fetched.")
@click.option("--max-failures", type=int, metavar="N", help="Stop when more files than this have failed.")
@click.option("--grace", type=DURATION, default="5s", hidden=True)
@watch_options
@cluster_options
@global_options
@click.pass_context
def export(context: click.Context, /, batch: str | None, folder: str | None, **values: Any) -> int:
    """Bring the files of a batch home into a folder, each whole and once.

    Say the same again to resume: what is here is not fetched again; what was deleted or changed here is restored.

    \b
    rfbulk export results ./results
    rfbulk export --job job-1 ./results
    rfbulk export results ./results --part crops --no-unpack
    rfbulk export results ./results --merge all.jsonl
    rfbulk export results ./results --limit-rate 20MiB --report results.jsonl
    rfbulk export results /shared/results --cluster tcp://127.0.0.1:8786
    """
    try:
        what, target = _what_and_where(batch, folder, values)
        options = _export_options(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    work = partial(_export_all, what=what, target=target, export_options=options)
    return run(globals_of(context), watched(context, work))


@dataclass(frozen=True, slots=True)
class What:
    """What is exported: a batch, or the results of a job."""

    batch: str | None
    job: str | None
    stage: str | None


def _what_and_where(batch: str | None, folder: str | None, values: dict[str, Any]) -> tuple[What, Path]:
    """With --job, the only argument is the folder."""
    job, target_dir = values["job"], values["target_dir"]
    named = [each for each in (batch, folder, target_dir) if each is not None]
    if job is None and values["stage"] is not None:
        raise UsageError("export", cause="--stage goes with --job", advice="add --job J, or leave --stage out")
    if len(named) > (1 if job is not None else 2):
        raise UsageError(
            "export",
            cause="name a BATCH or a --job, not both, and one folder",
            advice="rfbulk export BATCH DIR, or rfbulk export --job J DIR",
        )
    if len(named) < (1 if job is not None else 2):
        raise UsageError(
            "export", cause="no folder was named: rfbulk export BATCH DIR", advice="say where the files are to go"
        )
    return What(None if job is not None else named[0], job, values["stage"]), Path(named[-1])


def _export_options(values: dict[str, Any]) -> ExportOptions:
    return ExportOptions(
        parts=values["parts"],
        unpack=values["unpack"],
        overwrite=values["overwrite"],
        concurrency=values["concurrency"],
        processes=values["processes"],
        memory_bytes=values["memory"],
        limit_rate=values["limit_rate"],
        merge=values["merge"],
        manifest=values["manifest"],
        write_manifest=not values["no_manifest"],
        report_file=values["report"],
        restart=values["restart"],
        max_failures=values["max_failures"],
        grace_seconds=values["grace"],
        cluster=cluster_from(values),
    )


async def _export_all(session: Session, *, what: What, target: Path, export_options: ExportOptions) -> int:
    """A stage may make several batches: each then comes into a folder of its own."""
    batches: tuple[str, ...] = () if what.batch is None else (what.batch,)
    if what.job is not None:
        async with session.client() as client:
            batches = await client.output_batches(what.job, stage=what.stage)
    codes: list[int] = []
    for batch in batches:
        into = target if len(batches) == 1 else target / batch
        codes.append(await _export(session, batch=batch, target=into, export_options=export_options))
        if session.interrupted_by is not None:
            break
    return max(codes, default=ExitCode.DONE)


async def _export(session: Session, *, batch: str, target: Path, export_options: ExportOptions) -> int:
    with ExitStack() as printers:
        show = session.watched(printers.enter_context(progress_printer(session.options)))

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
    session.keep_report(report)
    if session.options.json:
        print_json(msgspec.to_builtins(report))
    else:
        print_export_report(report)


def exit_code_of_export(report: ExportReport) -> ExitCode:
    """Return the exit code that tells of a finished export."""
    if report.left:
        return ExitCode.AGAIN
    return ExitCode.SOME_FAILED if report.has_failures else ExitCode.DONE
