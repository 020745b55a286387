"""The books of each transfer, as lines that add up: what was planned, and what became of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rfbulk.core.export_report import ExportReport
from rfbulk.core.ingest_report import IngestReport
from rfbulk.core.report import UploadReport
from rfbulk.core.run_report import RunReport
from rfbulk.core.wording import duration, number, size
from rfbulk.events import ExportProgress, IngestProgress, UploadProgress

if TYPE_CHECKING:
    from typing import TypeAlias

    from rfbulk.dashboard.chronicle import Chronicle

    Line: TypeAlias = tuple[str, int]

REFUSED: Final = "refused before planning"


class Books(msgspec.Struct, frozen=True, kw_only=True):
    """`total` is the sum of `lines`, or rfbulk has a defect. `earlier` of them are from runs before this one."""

    title: str
    unit: str
    total_name: str
    total: int
    lines: tuple[Line, ...]
    earlier: int = 0
    beside: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def closes(self) -> bool:
        """Whether they add up."""
        return self.total == sum(count for _, count in self.lines)


def books_of(report: Any) -> list[Books]:
    """Return the books of a report; of a run, those of each of its transfers."""
    match report:
        case UploadReport():
            return [_of_upload(report)]
        case ExportReport():
            return [_of_export(report)]
        case IngestReport():
            return [_of_ingest(report)]
        case RunReport():
            parts = [*([report.upload] if report.upload is not None else []), *report.exports]
            return [books for part in parts for books in books_of(part)]
        case _:
            return []


def remarks_of(report: Any) -> list[str]:
    """Return what else is to be said of a run: where it ended, and why its job failed."""
    if not isinstance(report, RunReport):
        return []
    stopped = (
        [] if report.is_done else [f"the run ended at its step {report.step}: {report.stopped or 'see the error'}"]
    )
    reasons = report.job.reasons if report.job is not None else []
    return [*stopped, *reasons]


def books_so_far(chronicle: Chronicle) -> list[Books]:
    """Return the books of a transfer that returned nothing, as its last progress told them."""
    batch = chronicle.transfers[-1].batch if chronicle.transfers else ""
    match chronicle.progress:
        case UploadProgress() as seen:
            left = max(0, seen.images_planned - seen.images_sent)
            lines: tuple[Line, ...] = (("sent", seen.images_sent), ("left, or failed", left))
            return [_so_far(batch, seen.content, lines, seen.images_before)]
        case ExportProgress() as seen:
            left = max(0, seen.files_listed - seen.files_fetched - seen.files_here - seen.failures)
            lines = (
                ("fetched", seen.files_fetched),
                ("already here", seen.files_here),
                ("failed", seen.failures),
                ("left", left),
            )
            return [_so_far(batch, "remote files", lines, seen.files_here)]
        case IngestProgress() as seen:
            lines = (("accepted", seen.accepted), ("left, or failed", max(0, seen.found - seen.accepted)))
            return [_so_far(batch, "references", lines, seen.accepted_before)]
        case _:
            return []


def _so_far(batch: str, unit: str, lines: tuple[Line, ...], earlier: int) -> Books:
    total = sum(count for _, count in lines)
    note = "as the last progress told it: the command ended before its books were closed"
    return Books(
        title=f"batch {batch}", unit=unit, total_name="found", total=total, lines=lines, earlier=earlier, notes=(note,)
    )


def _of_upload(report: UploadReport) -> Books:
    return Books(
        title=f"batch {report.batch_id}",
        unit=report.content,
        total_name="planned",
        total=report.planned,
        lines=(
            ("sent", report.sent),
            ("quarantined", report.quarantined),
            ("failed", report.failed),
            ("left", report.left),
        ),
        earlier=report.already_sent,
        beside=_said((REFUSED, report.refused), ("changed", report.changed), ("skipped", report.skipped)),
        notes=tuple(_notes_of_upload(report)),
    )


def _notes_of_upload(report: UploadReport) -> Iterable[str]:
    shard = "request" if report.is_one_by_one else "shard" if report.content == "images" else "file"
    yield f"{size(report.bytes_sent)} in {number(report.shards_sent, shard)}, {duration(report.wall_seconds)}"
    if report.is_confirmed:
        yield f"the service has indexed and counted {report.indexed or report.sent:,}"
    elif report.sent:
        yield "the service has not confirmed what was sent"
    if report.unverified_shards and not report.is_one_by_one:
        yield f"{number(report.unverified_shards, shard)} unverified: the store told no hash of them"
    if report.shards_unsure:
        yield f"{number(report.shards_unsure, shard)} may or may not have arrived"
    if report.extra:
        yield f"the service counts {report.extra:,} more than was sent"
    if report.ingest_failed:
        yield f"the service failed to take shards in: {report.ingest_detail or 'it gives no reason'}"


def _of_export(report: ExportReport) -> Books:
    return Books(
        title=f"batch {report.batch_id} into {report.target}",
        unit="remote files",
        total_name="listed",
        total=report.listed,
        lines=(
            ("fetched", report.fetched),
            ("already here", report.already_here),
            ("failed", report.failed),
            ("left", report.left),
        ),
        earlier=report.already_here,
        beside=_said(
            ("restored", report.restored),
            ("kept apart", report.kept_apart),
            ("members left out", report.refused_members),
        ),
        notes=tuple(_notes_of_export(report)),
    )


def _notes_of_export(report: ExportReport) -> Iterable[str]:
    yield f"{number(report.files, 'file')}, {size(report.bytes)} on disk"
    yield f"{size(report.bytes_received)} received in {duration(report.wall_seconds)}"
    if report.unverified:
        yield f"{number(report.unverified, 'file')} unverified: the store told no length"
    if report.merged is not None:
        merged = report.merged
        yield f"{number(merged.rows, 'row')} merged into {merged.path}, {merged.bad:,} lines could not be"
    if report.manifest:
        yield f"where each is from: {report.manifest}"


def _of_ingest(report: IngestReport) -> Books:
    return Books(
        title=f"batch {report.batch_id}",
        unit="references",
        total_name="planned",
        total=report.planned,
        lines=(("accepted", report.sent), ("failed", report.failed), ("left", report.left)),
        earlier=report.already_sent,
        beside=_said((REFUSED, report.refused), ("changed", report.changed), ("skipped", report.skipped)),
        notes=tuple(_notes_of_ingest(report)),
    )


def _notes_of_ingest(report: IngestReport) -> Iterable[str]:
    yield f"{number(report.requests, 'request')} accepted in {duration(report.wall_seconds)}"
    if report.duplicated:
        yield f"{number(report.duplicated, 'request')} the service had known before"
    if report.is_confirmed:
        yield f"the service has indexed {report.indexed or 0:,}"
    if report.ingest_failed:
        yield f"the service failed to take all in: {report.ingest_detail or 'it gives no reason'}"


def _said(*lines: Line) -> tuple[Line, ...]:
    return tuple(line for line in lines if line[1])
