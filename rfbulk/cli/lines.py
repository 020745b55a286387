"""Where a transfer stands, on one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.cli.phrases import EXPORT_WAITS, UPLOAD_WAITS, counts, waits
from rfbulk.cli.state import PHASES
from rfbulk.core.forecast import time_left
from rfbulk.core.wording import duration, number, plain, size

if TYPE_CHECKING:
    from rfbulk.cli.state import State
    from rfbulk.events import (
        AuditProgress,
        ConfirmProgress,
        ExportProgress,
        IngestProgress,
        JobProgress,
        UploadProgress,
    )


def line_of(state: State) -> str:
    """Return where the transfer stands, on one line. It may be long: what is unusual comes last."""
    text = _line(state)
    return f"{state.step}: {text}" if state.step and state.step != text.partition(":")[0] else text


def _line(state: State) -> str:
    if state.job is not None:
        return line_of_job(state.job)
    if state.phase == "confirming" and state.confirm is not None:
        return f"{PHASES['confirming']}: {line_of_confirm(state.confirm)}"
    for text in (_of_export(state), of_ingest(state), _of_upload(state)):
        if text:
            return f"{state.doing}: {text}"
    if state.audit is not None:
        return f"comparing: {line_of_audit(state.audit)}"
    return state.doing


def line_of_job(job: JobProgress) -> str:
    """Return how far a job is."""
    if not job.stage:
        return f"job {plain(job.job_id)}: {plain(job.state)}"
    pieces = [
        f"{job.tasks_done:,} of {job.tasks:,} tasks",
        f"{job.tasks_running:,} running",
        f"{job.progress:.0%}",
    ]
    if job.tasks_failed:
        pieces.insert(1, f"{job.tasks_failed:,} failed")
    if job.seconds_left is not None:
        pieces.append(f"{duration(job.seconds_left)} left in this stage")
    where = f"{plain(job.stage)} ({job.stage_number} of {job.stages})"
    return f"job {plain(job.job_id)}: {plain(job.state)}, {where}: {', '.join(pieces)}"


def line_of_confirm(confirm: ConfirmProgress) -> str:
    """Return how much of what was sent the service counts."""
    pending = f", {number(confirm.shards_pending, 'shard')} pending" if confirm.shards_pending else ""
    return f"{confirm.counted:,} of {confirm.expected:,} counted{pending}"


def line_of_ingest(progress: IngestProgress) -> str:
    """Return how far an ingest of references is."""
    pieces = [number(progress.requests, "request")]
    if progress.found:  # of lists and queries the service alone knows how many there are
        pieces.insert(0, f"{progress.accepted:,} of {progress.found:,} references accepted")
    return ", ".join(pieces + _troubles(progress.retries, {}, progress.failures))


def line_of_audit(progress: AuditProgress) -> str:
    """Return how far an audit is."""
    pieces = [f"{progress.listed:,} listed", f"{progress.sent:,} sent", f"{progress.found:,} in the source"]
    if progress.compared:
        pieces.append(f"{progress.compared:,} compared")
    return ", ".join([*pieces, number(progress.differences, "difference")])


def of_ingest(state: State) -> str:
    """Return how far an ingest of references is, and how long it takes yet; nothing where there is none."""
    if state.ingest is None:
        return ""
    left = time_left(state.forecast, is_final=False)
    return line_of_ingest(state.ingest) + (f", {left}" if left else "")


def _of_upload(state: State) -> str:
    return "" if state.progress is None else ", ".join(_upload_pieces(state, state.progress))


def _upload_pieces(state: State, progress: UploadProgress) -> list[str]:
    more = "" if progress.scan_finished else "+"
    return [
        f"{progress.images_sent:,} of {progress.images_planned:,}{more} {progress.content}",
        f"{size(state.bytes_done)} of {size(progress.bytes_planned)}{more}",
        f"{progress.shards_sent:,} of {progress.shards_planned:,}{more} shards",
        f"{size(state.rate)}/s",
        *filter(None, [time_left(state.forecast, is_final=progress.scan_finished)]),
        f"{progress.shards_in_flight} at once",
        *([f"{progress.images_before:,} by earlier runs"] if progress.images_before else []),
        *_resting(waits({}, progress.rest_seconds, UPLOAD_WAITS)),
        *_troubles(progress.retries, progress.reasons, progress.failures),
    ]


def _of_export(state: State) -> str:
    return "" if state.export is None else ", ".join(_export_pieces(state, state.export))


def _export_pieces(state: State, progress: ExportProgress) -> list[str]:
    more = "" if progress.listing_finished else "+"
    return [
        f"{progress.files_fetched + progress.files_here:,} of {progress.files_listed:,}{more} files",
        f"{size(progress.bytes_fetched)} fetched",
        f"{size(state.rate)}/s",
        *filter(None, [time_left(state.forecast, is_final=progress.listing_finished)]),
        f"{progress.fetches_in_flight} at once",
        *([f"{progress.files_here:,} by earlier runs"] if progress.files_here else []),
        *_resting(waits({}, progress.rest_seconds, EXPORT_WAITS)),
        *_troubles(progress.retries, progress.reasons, progress.failures),
    ]


def _resting(told: list[str]) -> list[str]:
    return told[:1]


def _troubles(retries: dict[str, int], reasons: dict[str, int], failures: int) -> list[str]:
    told = []
    if retries:
        told.append(f"{sum(retries.values()):,} retries ({', '.join(counts(retries))})")
    if failures:
        causes = f" ({', '.join(counts(reasons))})" if reasons else ""
        told.append(f"{failures:,} failures{causes}")
    return told
