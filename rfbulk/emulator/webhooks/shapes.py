"""What notifications say, as the service writes them; event id and attempt are added when they are sent. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

STATUS, FILES = "ingest-status", "files-status"
CATEGORIES = (STATUS, FILES)
_MOST_FILES = 1000


@dataclass(frozen=True, slots=True)
class IngestEnd:
    """How the ingest of a shard ended, or of what has no shards."""

    ingest_id: str
    batch_id: str
    shard_id: str | None
    ingested: Sequence[str] = ()
    failed: Sequence[tuple[str, str]] = ()
    failure: str | None = None


def ingest_bodies(end: IngestEnd, categories: Sequence[str]) -> Iterator[dict[str, object]]:
    """Return a body for each category that was asked for."""
    for category in categories:
        yield {
            "type": "roboflow-data-staging-notification-v1",
            "ingest_id": end.ingest_id,
            "batch_id": end.batch_id,
            "shard_id": end.shard_id,
            "notification": _files(end) if category == FILES else _status(end),
        }


def job_body(job_id: str, *, success: bool) -> dict[str, object]:
    """Return the body that tells of a job's end."""
    state = "success" if success else "fail"
    return {"type": "roboflow-batch-job-notification-v1", "job_id": job_id, "job_state": state}


def contrary(body: dict[str, object]) -> dict[str, object]:
    """Return a body that says the opposite about the same thing."""
    if "job_state" in body:
        return {**body, "job_state": "fail" if body["job_state"] == "success" else "success"}
    notification = body.get("notification")
    if isinstance(notification, dict):
        return {**body, "notification": {**notification, "success": not notification.get("success")}}
    return body


def _status(end: IngestEnd) -> dict[str, object]:
    problem = end.failure or ("some files could not be ingested" if end.failed and not end.ingested else None)
    details = None if problem is None else {"type": "ingest-error", "reason": problem}
    return {"type": "ingest-status-notification-v1", "success": problem is None, "error_details": details}


def _files(end: IngestEnd) -> dict[str, object]:
    failed = [{"type": "invalid-file", "file_name": name, "reason": reason} for name, reason in end.failed]
    return {
        "type": "ingest-files-status-notification-v1",
        "success": end.failure is None and not failed,
        "ingested_files": list(end.ingested[:_MOST_FILES]),
        "failed_files": failed[:_MOST_FILES],
        "content_truncated": max(len(end.ingested), len(failed)) > _MOST_FILES,
    }
