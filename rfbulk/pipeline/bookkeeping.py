"""Closes the books: the report of an upload, from what is durable, and the file that names every image."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.core.model import BatchId
from rfbulk.core.report import MAX_NAMED, Failure, Totals, UploadReport
from rfbulk.core.transfer import ARRIVED, PENDING, ShardState

if TYPE_CHECKING:
    from rfbulk.pipeline.confirming import Confirmation
    from rfbulk.pipeline.ports import Ports
    from rfbulk.pipeline.tally import Tally

LEFT = PENDING | {ShardState.UNSURE}


async def build_report(ports: Ports, tally: Tally, confirmation: Confirmation | None, batch: BatchId) -> UploadReport:
    """Return the report. `planned` is counted as it was planned, the other side from the checkpoint."""
    totals = await ports.checkpoint.totals()
    quarantined, failed_later = await ports.checkpoint.failure_counts()
    failed = max(failed_later, totals.images.get(ShardState.FAILED, 0))
    not_taken_in = failed - totals.images.get(ShardState.FAILED, 0)
    report = UploadReport(
        batch_id=batch,
        planned=tally.images_planned,
        sent=totals.count(ARRIVED) - not_taken_in,
        quarantined=quarantined,
        failed=failed,
        left=totals.count(LEFT),
        refused=tally.refused,
        skipped=tally.skipped,
        changed=tally.changed,
        already_sent=tally.images_before,
        bytes_planned=tally.bytes_planned,
        retries=dict(tally.retries),
        wall_seconds=ports.clock.monotonic() - tally.started,
        skipped_examples=tally.skipped_examples,
        failures=await _failures(ports, tally),
    )
    _add_shards(report, totals)
    _add_confirmation(report, confirmation)
    return report


def _add_shards(report: UploadReport, totals: Totals) -> None:
    report.bytes_sent = totals.bytes(ARRIVED)
    report.shards_sent = totals.shard_count(ARRIVED)
    report.shards_failed = totals.shards.get(ShardState.FAILED, 0)
    report.shards_unsure = totals.shards.get(ShardState.UNSURE, 0)
    report.unverified_shards = totals.unverified_shards
    in_use = totals.shard_count(ARRIVED | {ShardState.GRANTED, ShardState.UNSURE})
    report.unused_grants = max(0, totals.grants - in_use)


def _add_confirmation(report: UploadReport, confirmation: Confirmation | None) -> None:
    if confirmation is None:
        return
    report.indexed = confirmation.images
    report.extra = confirmation.extra
    report.doubled = confirmation.doubled
    report.is_confirmed = confirmation.is_confirmed
    report.ingest_failed = confirmation.failed_shards > 0
    report.ingest_detail = confirmation.detail


async def _failures(ports: Ports, tally: Tally) -> list[Failure]:
    """What the checkpoint holds, and what the scan named in this run, each file once."""
    by_path = {failure.path: failure for failure in tally.failures}
    for refusal, name, _ in await ports.checkpoint.failures(MAX_NAMED):
        path = tally.shown_path(refusal.root, refusal.path)
        by_path.setdefault(path, Failure(path, name, refusal.reason, refusal.detail))
    return list(by_path.values())[:MAX_NAMED]
