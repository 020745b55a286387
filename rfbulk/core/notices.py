"""What the service's webhook sends, as typed records. A notification is a hint and no proof: its body is not signed."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final, TypeAlias, TypeVar

import msgspec

from rfbulk.core.redaction import excerpt

INGEST_TYPE: Final = "roboflow-data-staging-notification-v1"
JOB_TYPE: Final = "roboflow-batch-job-notification-v1"
MAX_FAILED_NAMED: Final = 1000
_COUNTER: Final = "delivery_attempt"
_LONGEST_ID: Final = 200

T = TypeVar("T")
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=_LONGEST_ID)]


class NotANotice(Exception):
    """A body that is no notification. Its text is safe to show."""


class FailedFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that the service could not take in, as it tells of it."""

    file_name: str = ""
    type: str = ""
    reason: str = ""


class IngestNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an ingest has ended. `is_truncated`: more files failed than it names."""

    event_id: str
    batch_id: str
    ingest_id: str = ""
    shard_id: str = ""
    attempt: int = 1
    success: bool = False
    ingested_files: int = 0
    failed_files: tuple[FailedFile, ...] = ()
    is_truncated: bool = False
    error: str = ""


class JobNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A job has ended. `state` is as the service writes it: `success`, `fail`, or what it may come to write."""

    event_id: str
    job_id: str
    state: str = ""
    attempt: int = 1

    @property
    def success(self) -> bool:
        """Whether the job is said to have ended well."""
        return self.state == "success"


class OtherNotice(msgspec.Struct, frozen=True, kw_only=True):
    """A notification of a type that is not known: kept, and followed by nothing but what was asked for all."""

    event_id: str
    type: str = ""
    attempt: int = 1


Notice: TypeAlias = IngestNotice | JobNotice | OtherNotice


class _Head(msgspec.Struct):
    type: str = ""
    event_id: Name | None = None
    delivery_attempt: int | None = None


class _Failed(msgspec.Struct):
    file_name: str | None = None
    type: str | None = None
    reason: str | None = None


class _Details(msgspec.Struct):
    success: bool | None = None
    error_details: Any = None
    ingested_files: Any = None
    failed_files: tuple[_Failed, ...] | None = None
    content_truncated: bool | None = None


class _Ingest(msgspec.Struct):
    batch_id: Name
    ingest_id: str | None = None
    shard_id: str | None = None
    notification: _Details = msgspec.field(default_factory=_Details)


class _Job(msgspec.Struct):
    job_id: Name
    job_state: str | None = None


def parse_notice(body: bytes) -> Notice:
    """Return what a notification's body says.

    Raises:
        NotANotice: it is no JSON object, or one of a known type without what that type must have.
    """
    values = _object(body)
    head = _typed(values, _Head)
    event_id = head.event_id or f"body-{digest_of(body)[:32]}"
    attempt = head.delivery_attempt or 1
    if head.type == INGEST_TYPE:
        return _ingest_notice(_typed(values, _Ingest), event_id, attempt)
    if head.type == JOB_TYPE:
        job = _typed(values, _Job)
        return JobNotice(event_id=event_id, job_id=job.job_id, state=job.job_state or "", attempt=attempt)
    return OtherNotice(event_id=event_id, type=head.type, attempt=attempt)


def digest_of(body: bytes) -> str:
    """Return a digest of all that a notification says, but for how often it was delivered.

    Raises:
        NotANotice: it is no JSON object.
    """
    values = {name: value for name, value in _object(body).items() if name != _COUNTER}
    return hashlib.sha256(msgspec.json.encode(values, order="deterministic")).hexdigest()


def subject_of(notice: Notice) -> str:
    """Return what a notification is about, as those who wait for it name it; "" for nothing that is waited for."""
    match notice:
        case IngestNotice():
            return batch_subject(notice.batch_id)
        case JobNotice():
            return job_subject(notice.job_id)
        case OtherNotice():
            return ""


def batch_subject(batch_id: str) -> str:
    """Return how those who wait for a batch name it."""
    return f"batch {batch_id}"


def job_subject(job_id: str) -> str:
    """Return how those who wait for a job name it."""
    return f"job {job_id}"


def _ingest_notice(ingest: _Ingest, event_id: str, attempt: int) -> IngestNotice:
    details = ingest.notification
    failed = details.failed_files or ()
    ingested = details.ingested_files
    return IngestNotice(
        event_id=event_id,
        batch_id=ingest.batch_id,
        ingest_id=ingest.ingest_id or "",
        shard_id=ingest.shard_id or "",
        attempt=attempt,
        success=bool(details.success),
        ingested_files=len(ingested) if isinstance(ingested, list) else ingested if isinstance(ingested, int) else 0,
        failed_files=tuple(map(_failed_file, failed[:MAX_FAILED_NAMED])),
        is_truncated=bool(details.content_truncated) or len(failed) > MAX_FAILED_NAMED,
        error=_error_text(details.error_details),
    )


def _failed_file(raw: _Failed) -> FailedFile:
    return FailedFile(file_name=raw.file_name or "", type=raw.type or "", reason=excerpt(raw.reason or ""))


def _error_text(details: object) -> str:
    if isinstance(details, dict):
        return excerpt(": ".join(str(details[name]) for name in ("type", "reason") if details.get(name)))
    return excerpt(str(details)) if details else ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        values = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise NotANotice("it is not JSON") from None
    if not isinstance(values, dict):
        raise NotANotice("it is no JSON object")
    return values


def _typed(values: dict[str, Any], record: type[T]) -> T:
    try:
        return msgspec.convert(values, record)
    except msgspec.ValidationError as error:
        raise NotANotice(excerpt(str(error))) from None
