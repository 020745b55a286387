"""What a finished (or stopped) run has to say for itself, and what keeps a job from being started."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rfbulk.core.export_report import ExportReport
from rfbulk.core.job_watch import JobReport
from rfbulk.core.report import UploadReport


class Step(StrEnum):
    """The steps of a run, in their order."""

    UPLOAD = "upload"
    START = "start"
    WAIT = "wait"
    EXPORT = "export"
    DONE = "done"


class RunReport(msgspec.Struct, kw_only=True):
    """How far a run came, and the report of each of its steps.

    `step` is the one that it ended in: `done`, or where it was stopped, with the reason in `stopped`. `upload` is None
    where the job had been started by an earlier run: then nothing may be added to its batch any more.
    """

    batch_id: str
    job_id: str
    target: str
    step: Step = Step.UPLOAD
    stopped: str = ""
    upload: UploadReport | None = None
    job: JobReport | None = None
    exports: list[ExportReport] = []
    wall_seconds: float = 0.0

    @property
    def is_done(self) -> bool:
        """Whether all steps have been taken. Some files of it may have failed nevertheless."""
        return self.step is Step.DONE

    @property
    def has_failures(self) -> bool:
        """Whether anything of it failed: an image, a task, a file."""
        return bool(
            (self.upload is not None and self.upload.has_failures)
            or (self.job is not None and self.job.tasks_failed)
            or any(export.has_failures for export in self.exports)
        )


def fault_of_batch(upload: UploadReport, *, allow_incomplete: bool) -> str:
    """Return why no job may be started on what an upload has left behind, "" if one may.

    ========================================== ================ =====================
    the upload                                 by default       allow_incomplete
    ========================================== ================ =====================
    sent nothing at all                        no job           no job
    has something left, or was not confirmed   no job           no job
    the service failed to take a shard in      no job           job
    names failed, refused or doubled files     no job           job
    is whole and confirmed                     job              job
    ========================================== ================ =====================
    """
    if not upload.sent:
        return "no image is in the batch"
    if upload.left:
        return f"{upload.left:,} images are still to be sent"
    if not upload.is_confirmed and not (upload.ingest_failed or upload.has_failures):
        return "the service has not confirmed what was sent"
    if allow_incomplete:
        return ""
    if upload.ingest_failed:
        return f"the service failed to take in a part of the batch: {upload.ingest_detail or 'it gives no reason'}"
    if upload.has_failures:
        return "the batch is incomplete, or not what was to be sent: the upload's report names what is wrong"
    return ""
