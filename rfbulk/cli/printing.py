"""How results look: lines for people, one JSON object a line for machines. Foreign text is never trusted."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import click
import orjson

from rfbulk.core.wording import duration, number, plain, size

if TYPE_CHECKING:
    from rfbulk.core.report import Failure, UploadReport
    from rfbulk.pipeline.preview import Preview

MAX_NAMED_ON_SCREEN = 20

__all__ = [
    "MAX_NAMED_ON_SCREEN",
    "duration",
    "number",
    "plain",
    "print_failures",
    "print_json",
    "print_preview",
    "print_report",
    "print_table",
    "size",
]


def print_json(value: Any) -> None:
    """Print one JSON object on a line of its own."""
    click.echo(orjson.dumps(value, default=str).decode())


def print_report(report: UploadReport) -> None:
    """Print what became of an upload: the outcome, the books, and what failed by name."""
    click.echo(_headline(report))
    click.echo(
        f"  planned {report.planned:,} = sent {report.sent:,} + quarantined {report.quarantined:,}"
        f" + failed {report.failed:,} + left {report.left:,}"
    )
    for line in _details(report):
        click.echo(f"  {line}")
    print_failures(report.failures, report.refused + report.quarantined + report.failed + report.changed)


def _headline(report: UploadReport) -> str:
    sent_now = report.sent - report.already_sent
    what = f"batch {report.batch_id}: {number(report.sent, report.content[:-1])} stored"
    if report.is_confirmed:
        what += " and indexed by the service"
    if report.already_sent:
        what += f" ({report.already_sent:,} by earlier runs, {max(0, sent_now):,} now)"
    return what


def _details(report: UploadReport) -> Iterable[str]:
    rate = f", {size(report.bytes_sent / report.wall_seconds)}/s" if report.wall_seconds > 1 else ""
    has_earlier = report.already_sent > 0
    shard = "request" if report.is_one_by_one else "shard" if report.content == "images" else "file"
    yield (
        f"{size(report.bytes_sent)} in {number(report.shards_sent, shard)}, {duration(report.wall_seconds)}"
        f"{'' if has_earlier else rate}"
    )
    if report.unverified_shards and not report.is_one_by_one:
        yield f"{number(report.unverified_shards, shard)} unverified: the store told no hash of them"
    if report.retries:
        causes = ", ".join(f"{plain(cause)} ×{count}" for cause, count in sorted(report.retries.items()))
        yield f"tried again: {causes}"
    if report.unused_grants:
        yield f"{number(report.unused_grants, 'grant')} asked for and not used"
    if report.skipped:
        examples = ", ".join(plain(path) for path in report.skipped_examples[:3])
        yield f"{number(report.skipped, 'file')} skipped, no {report.content} by their names: {examples}"
    if report.shards_unsure:
        yield f"{number(report.shards_unsure, shard)} may or may not have arrived: --on-unsure verify decides them"
    if report.extra:
        yield f"the service counts {report.extra:,} more than was sent"
    if report.doubled:
        yield f"{number(len(report.doubled), 'name')} listed twice: {', '.join(map(plain, report.doubled[:5]))}"
    if report.ingest_failed:
        yield f"the service failed to take shards in: {plain(report.ingest_detail) or 'it gives no reason'}"
    if report.left:
        yield "run the same again to send what is left"


def print_failures(failures: Sequence[Failure], total: int) -> None:
    """Name the first failures and say where the rest is named."""
    for failure in failures[:MAX_NAMED_ON_SCREEN]:
        detail = f": {plain(failure.detail)}" if failure.detail else ""
        click.echo(f"  {failure.reason}  {plain(failure.path)}{detail}")
    if total > MAX_NAMED_ON_SCREEN:
        click.echo(f"  … {total - MAX_NAMED_ON_SCREEN:,} more; --report FILE.jsonl names them all")


def print_preview(preview: Preview) -> None:
    """Print a plan."""
    has_tars = preview.tar_bytes != preview.bytes  # else each travels alone
    tars = f", in {number(preview.shards, 'shard')} of {size(preview.tar_bytes)} together" if has_tars else ""
    click.echo(f"would send {number(preview.images, preview.content[:-1])}, {size(preview.bytes)}{tars}")
    if preview.renamed:
        click.echo(f"  {number(preview.renamed, 'name')} made from paths:")
        for path, name in preview.renamed_examples[:5]:
            click.echo(f"    {plain(path)} → {plain(name)}")
    if preview.skipped:
        click.echo(f"  {number(preview.skipped, 'file')} skipped, no {preview.content} by their names")
    for reason, count in sorted(preview.refused.items()):
        click.echo(f"  {number(count, 'file')} refused: {reason}")
    for path, reason, detail in preview.refused_examples[:MAX_NAMED_ON_SCREEN]:
        click.echo(f"    {reason}  {plain(path)}{f': {plain(detail)}' if detail else ''}")


def print_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print columns as wide as what they hold."""
    cells = [list(headings), *[[plain(cell) for cell in row] for row in rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(headings))]
    for row in cells:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
