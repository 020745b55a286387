"""How the outcome of an audit looks to people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from rfbulk.cli.printing import MAX_NAMED_ON_SCREEN
from rfbulk.core.auditing import DifferenceKind
from rfbulk.core.confirming import RowKind
from rfbulk.core.wording import number, plain

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rfbulk.core.auditing import Difference, VerifyReport

ORDER: Final = (
    DifferenceKind.LOST,
    DifferenceKind.PENDING,
    DifferenceKind.DOUBLED,
    DifferenceKind.FAILED,
    DifferenceKind.LEFT,
    DifferenceKind.NEW,
    DifferenceKind.CHANGED,
    DifferenceKind.GONE,
    DifferenceKind.REFUSED,
    DifferenceKind.UNKNOWN,
    DifferenceKind.FAILED_SHARD,
    DifferenceKind.MISCOUNTED,
    DifferenceKind.DAMAGED,
)
ADVICE: Final = {
    DifferenceKind.LOST: "the service was sent them and lists none: `rfbulk upload … --retry-failed` sends them again",
    DifferenceKind.PENDING: "say this again later, or `rfbulk batch wait` first",
    DifferenceKind.DOUBLED: "nothing can be deleted from here: begin another batch, or take one of each name",
    DifferenceKind.FAILED: "`rfbulk upload … --retry-failed` sends them again",
    DifferenceKind.LEFT: "say the upload again: it goes on",
    DifferenceKind.NEW: "say the upload again: it adds them",
    DifferenceKind.CHANGED: "`rfbulk upload … --on-changed send` sends them under new names",
}


def print_audit(report: VerifyReport, report_file: Path | None) -> None:
    """Print what an audit came to: the outcome, the books, and the first differences of each kind."""
    count = sum(report.books.differences.values())
    word = "all agree" if report.agrees else number(count, "difference")
    click.echo(f"batch {plain(report.batch_id)}: {word}")
    for line in _books(report):
        click.echo(f"  {line}")
    for note in report.notes:
        click.echo(f"  note: {note}")
    if not report.closes:
        click.echo("  the books do not close: that is a defect of rfbulk")
    for kind in ORDER:
        _print_kind(kind, report)
    if report_file is not None:
        click.echo(f"  every difference: {report_file}")
    elif count > sum(1 for _ in _named_on_screen(report)):
        click.echo("  --report FILE.jsonl names them all")


def _books(report: VerifyReport) -> Iterator[str]:
    books, what = report.books, report.content.removesuffix("s")
    if report.checkpoints:
        pending = f" + pending {books.pending:,}" if books.pending else ""
        parts = f"listed once {books.once:,} + doubled {books.twice:,} + lost {books.lost:,}{pending}"
        yield f"sent      {number(books.sent, what)} = {parts}"
    yield (
        f"listed    {number(books.listed, 'row')} = known {books.known:,} + unknown {books.unknown:,}"
        f" + repeated {books.repeated:,}"
    )
    if books.in_source:
        others = f" + from elsewhere {books.elsewhere:,}" if books.elsewhere else ""
        unfinished = f" + unfinished {books.unfinished:,}" if books.unfinished else ""
        yield (
            f"in source {number(books.in_source, what)} = as sent {books.same:,} + changed {books.changed:,}"
            f" + new {books.new:,}{others}{unfinished}"
        )
    waiting = report.shards.get(RowKind.PENDING, 0)
    if waiting and books.lost:
        yield f"{number(waiting, 'shard')} not taken in yet: what is lost may still come"


def _named_on_screen(report: VerifyReport) -> Iterator[Difference]:
    for kind in ORDER:
        yield from [each for each in report.differences if each.kind is kind][:MAX_NAMED_ON_SCREEN]


def _print_kind(kind: DifferenceKind, report: VerifyReport) -> None:
    count = report.books.differences.get(kind, 0)
    if not count:
        return
    advice = f": {ADVICE[kind]}" if kind in ADVICE else ""
    click.echo(f"  {count:,} {kind}{advice}")
    shown = [each for each in report.differences if each.kind is kind][:MAX_NAMED_ON_SCREEN]
    for each in shown:
        detail = f": {plain(each.detail)}" if each.detail else ""
        click.echo(f"    {plain(each.path or each.name)}{_name(each)}{detail}")
    if count > len(shown):
        click.echo(f"    … {count - len(shown):,} more")


def _name(difference: Difference) -> str:
    """A name that its path does not show."""
    is_shown = not difference.path or difference.path.endswith(difference.name)
    return "" if is_shown else f" ({plain(difference.name)})"
