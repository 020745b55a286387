"""Everything that rfbulk raises, and nothing else.

    RfbulkError
    ├── UsageError              the request itself cannot be carried out; nothing was sent           exit 2
    ├── SourceError             the source cannot be read at all                                     exit 2
    ├── NotAuthorised           wrong or missing key, or not in the plan                             exit 4
    ├── TroublePassing          broken connections, 5xx, no answer: say the same again to resume     exit 5
    ├── CheckpointBusy          another process works on the same transfer                           exit 5
    ├── CheckpointDamaged       the checkpoint cannot be read or written                             exit 1
    ├── NoRoom                  a disk is full: make room, say the same again to resume              exit 1
    ├── ServiceRefused          a final refusal of the service                                       exit 1
    ├── ProtocolError           an answer outside the documented shape                               exit 1
    ├── TransferFailed          the transfer cannot go on; its report is attached                    exit 1
    └── WaitTimeout             what was waited for did not come in time                             exit 7

A failed ingest of the service is no error but a finding: `UploadReport.ingest_failed` (exit 6).

Each says which operation failed, on which thing, why, and what to do next.
No text in this tree ever holds an api key or a signed URL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.report import UploadReport
    from rfbulk.core.run_report import RunReport


class RfbulkError(Exception):
    """Base of all errors of rfbulk.

    `operation` is what was tried, `subject` the thing it was tried on, `cause` why it failed, and `advice` what
    can be done next. `str()` joins them into one line. `report` tells how far an upload came, where one was under way,
    `export_report` an export, `ingest_report` an ingest, and `run_report` a whole run.
    """

    report: UploadReport | None = None
    export_report: ExportReport | None = None
    ingest_report: IngestReport | None = None
    run_report: RunReport | None = None

    def __init__(self, operation: str, subject: str = "", *, cause: str = "", advice: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.cause = cause
        self.advice = advice
        super().__init__(operation, subject, cause, advice)

    def __str__(self) -> str:
        what = f"{self.operation} {self.subject}".strip()
        text = f"{what}: {self.cause}" if self.cause else what
        return f"{text} ({self.advice})" if self.advice else text


class UsageError(RfbulkError):
    """The request cannot be carried out as it was given. Nothing has been sent."""


class SourceError(RfbulkError):
    """The source as a whole cannot be read. Nothing has been sent."""


class NotAuthorised(RfbulkError):
    """The api key is missing, wrong, or its plan does not include the operation."""


class TroublePassing(RfbulkError):
    """The service or the line did not work for longer than the retry budget. Saying the same again resumes.

    `status` is the HTTP status, 0 where no answer came. `retry_after` is how many seconds the service asked to wait.
    """

    def __init__(
        self,
        operation: str,
        subject: str = "",
        *,
        cause: str = "",
        advice: str = "",
        status: int = 0,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(operation, subject, cause=cause, advice=advice)
        self.status = status
        self.retry_after = retry_after


class CheckpointBusy(RfbulkError):
    """Another process works on the same transfer and holds its checkpoint."""


class CheckpointDamaged(RfbulkError):
    """The checkpoint cannot be read or written. It is never guessed around."""


class NoRoom(RfbulkError):
    """A disk is full. Saying the same again resumes once there is room."""


class ServiceRefused(RfbulkError):
    """The service or the store refused for good. `status` is the HTTP status."""

    def __init__(
        self, operation: str, subject: str = "", *, cause: str = "", advice: str = "", status: int = 0
    ) -> None:
        super().__init__(operation, subject, cause=cause, advice=advice)
        self.status = status


class ProtocolError(RfbulkError):
    """An answer of the service is outside the documented shape."""


class TransferFailed(RfbulkError):
    """A transfer cannot go on. `report` tells what was done; saying the same again resumes."""


class WaitTimeout(TransferFailed):
    """What was waited for did not come within the time given. Saying the same again goes on waiting."""


def told_error(kind: str, fields: tuple[str, str, str, str], *, by: str) -> BaseException:
    """Return the error that another process has told: one of these by its name and fields, else one of our own code."""
    operation, subject, cause, advice = fields
    known = globals().get(kind) if kind else None
    if isinstance(known, type) and issubclass(known, RfbulkError):
        return known(operation, subject, cause=cause, advice=advice)
    return RuntimeError(f"{by} failed: {operation}: {subject}")
