"""Closes the books of an export: its report, from what is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.core.export_report import MAX_NAMED, ExportReport
from rfbulk.core.exporting import LEFT, ElementState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.exporting import Part
    from rfbulk.core.model import BatchId
    from rfbulk.pipeline.export_ports import ExportPorts
    from rfbulk.pipeline.export_tally import ExportTally

FETCHED = frozenset({ElementState.FETCHED})
FAILED = frozenset({ElementState.FAILED})


async def build_export_report(
    ports: ExportPorts, tally: ExportTally, batch: BatchId, target: bytes, parts: Sequence[Part]
) -> ExportReport:
    """Return the report. `listed` is counted as it was listed, the other side from the checkpoint."""
    checkpoint = ports.checkpoint
    report = ExportReport(
        batch_id=batch,
        target=target.decode("utf-8", "backslashreplace"),
        parts=[part.name for part in parts if part.name],
        listed=tally.listed,
        bytes_fetched=tally.bytes_fetched,
        bytes_received=tally.bytes_received,
        retries=dict(tally.retries),
        wall_seconds=ports.clock.monotonic() - tally.started,
    )
    if not parts:
        return report
    totals = await checkpoint.totals(parts)
    report.already_here = totals.here
    report.fetched = totals.count(FETCHED) - totals.here
    report.failed = totals.count(FAILED)
    report.left = totals.count(LEFT)
    report.files, report.bytes = totals.files, totals.bytes
    report.restored, report.changed_here = totals.restored, totals.changed_here
    report.unverified, report.kept_apart = totals.unverified, totals.kept_apart
    report.refused_members = totals.refused_members
    report.failures = await checkpoint.failures(parts, MAX_NAMED)
    report.restored_files = await checkpoint.restored(parts, MAX_NAMED)
    report.unverified_files = await checkpoint.unverified(parts, MAX_NAMED)
    report.kept_apart_files = await checkpoint.kept_apart(parts, MAX_NAMED)
    report.refused_member_files = await checkpoint.refused_members(parts, MAX_NAMED)
    return report
