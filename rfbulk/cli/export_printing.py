"""How an export's report looks. Foreign text is never trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import click

from rfbulk.cli.printing import MAX_NAMED_ON_SCREEN, duration, number, plain, size

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportFailure, ExportReport, Merged

FEW = 5
"""Names that stand beside a count; the report file has all."""


def print_export_report(report: ExportReport) -> None:
    """Print what became of an export: the outcome, the books, and what failed by name."""
    click.echo(_headline(report))
    click.echo(
        f"  listed {report.listed:,} = fetched {report.fetched:,} + already here {report.already_here:,}"
        f" + failed {report.failed:,} + left {report.left:,}"
    )
    for line in _details(report):
        click.echo(f"  {line}")
    _print_failures(report.failures, report.failed)


def _headline(report: ExportReport) -> str:
    what = f"batch {plain(report.batch_id)}: {number(report.files, 'file')} in {plain(report.target)}"
    return f"{what} ({report.already_here:,} by earlier runs)" if report.already_here else what


def _details(report: ExportReport) -> Iterable[str]:
    rate = f", {size(report.bytes_received / report.wall_seconds)}/s" if report.wall_seconds > 1 else ""
    yield f"{size(report.bytes)} here, {size(report.bytes_received)} received in {duration(report.wall_seconds)}{rate}"
    if report.retries:
        causes = ", ".join(f"{plain(cause)} ×{count}" for cause, count in sorted(report.retries.items()))
        yield f"tried again: {causes}"
    if report.restored:
        changed = f", {report.changed_here:,} of them changed here and overwritten" if report.changed_here else ""
        yield f"{number(report.restored, 'file')} restored{changed}: {_few(report.restored_files)}"
    if report.unverified:
        names = _few(report.unverified_files)
        yield f"{number(report.unverified, 'file')} unverified, the store told no length: {names}"
    if report.kept_apart:
        pairs = [f"{one.name} → {one.path}" for one in report.kept_apart_files]
        yield f"{number(report.kept_apart, 'file')} kept apart, another has the name: {_few(pairs)}"
    if report.refused_members:
        members = [f"{one.archive}: {one.member} ({one.reason})" for one in report.refused_member_files]
        yield f"{number(report.refused_members, 'member')} of archives left out: {_few(members)}"
    if report.merged is not None:
        yield from _merged(report.merged)
    if report.manifest:
        yield f"where each is from: {plain(report.manifest)}"
    if report.left:
        yield "run the same again to fetch what is left"


def _merged(merged: Merged) -> Iterable[str]:
    if not merged.files:
        return
    yield f"{number(merged.rows, 'row')} of {number(merged.files, 'results file')} merged into {plain(merged.path)}"
    if merged.bad:
        lines = [f"{one.file}:{one.line} ({one.reason})" for one in merged.bad_lines]
        yield f"{number(merged.bad, 'line')} could not be merged: {_few(lines)}"


def _few(names: Sequence[str]) -> str:
    more = ", …" if len(names) > FEW else ""
    return ", ".join(map(plain, names[:FEW])) + more


def _print_failures(failures: Sequence[ExportFailure], total: int) -> None:
    for failure in failures[:MAX_NAMED_ON_SCREEN]:
        where = "/".join(filter(None, (failure.part, failure.shard, failure.name)))
        detail = f": {plain(failure.detail)}" if failure.detail else ""
        click.echo(f"  {failure.reason}  {plain(where)}{detail}")
    if total > MAX_NAMED_ON_SCREEN:
        click.echo(f"  … {total - MAX_NAMED_ON_SCREEN:,} more; --report FILE.jsonl names them all")
