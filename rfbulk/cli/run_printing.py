"""How the report of a run looks, and the exit code that tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rfbulk.cli.export import exit_code_of_export
from rfbulk.cli.export_printing import print_export_report
from rfbulk.cli.jobs import exit_code_of_job, print_job
from rfbulk.cli.options import ExitCode
from rfbulk.cli.printing import duration, plain, print_report
from rfbulk.cli.upload import exit_code_of_report

if TYPE_CHECKING:
    from rfbulk.core.run_report import RunReport

WORST_FIRST = (
    ExitCode.SERVICE_FAILED,
    ExitCode.AGAIN,
    ExitCode.SOME_FAILED,
    ExitCode.DONE,
)


def print_run_report(report: RunReport) -> None:
    """Print each step's report, and where the run ended."""
    if report.upload is not None:
        print_report(report.upload)
    if report.job is not None:
        print_job(report.job)
    for export in report.exports:
        print_export_report(export)
    if report.is_done:
        click.echo(f"run done in {duration(report.wall_seconds)}: results in {plain(report.target)}")
    else:
        click.echo(f"run ended at its step {report.step}: {plain(report.stopped) or 'see the error'}")
        click.echo(f"  batch {report.batch_id}, job {report.job_id}; run the same again to go on")


def exit_code_of_run(report: RunReport) -> ExitCode:
    """Return the exit code that tells of a run: that of its worst step."""
    codes = [exit_code_of_export(export) for export in report.exports]
    if report.upload is not None:
        codes.append(exit_code_of_report(report.upload))
    if report.job is not None:
        codes.append(exit_code_of_job(report.job))
    if not report.is_done:
        codes.append(ExitCode.SOME_FAILED if report.upload and report.upload.has_failures else ExitCode.AGAIN)
    return next((code for code in WORST_FIRST if code in codes), ExitCode.DONE)
