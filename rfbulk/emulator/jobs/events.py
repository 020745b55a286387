"""What can happen to jobs, as small records. They are journaled, so their fields are a format."""

from __future__ import annotations

import msgspec

from rfbulk.emulator.jobs.options import JobScript

# Decoded once when a job is taken; here it is kept and shown as the client sent it.
Json = dict[str, object]


class JobStarted(msgspec.Struct, frozen=True, tag="job-started"):
    """A job was taken."""

    job_id: str
    name: str
    definition: Json
    stages: tuple[str, ...]
    script: JobScript
    at: float


class JobRestarted(msgspec.Struct, frozen=True, tag="job-restarted"):
    """A job begins anew, perhaps with other parameters."""

    job_id: str
    override: Json | None
    script: JobScript
    at: float


class StageStarted(msgspec.Struct, frozen=True, tag="stage-started"):
    """A stage begins, or begins anew in another process."""

    job_id: str
    stage_id: str
    name: str
    tasks: int
    at: float


class TaskChanged(msgspec.Struct, frozen=True, tag="task"):
    """A task went on, or ended."""

    job_id: str
    stage_id: str
    task: int
    status: str
    progress: float
    notification: str
    at: float


class StageEnded(msgspec.Struct, frozen=True, tag="stage-ended"):
    """A stage ended; what it made is in its output batches."""

    job_id: str
    stage_id: str
    status: str
    notification: str
    output_batches: tuple[str, ...]
    at: float


class JobEnded(msgspec.Struct, frozen=True, tag="job-ended"):
    """A job ended: `success`, `fail` or `aborted`."""

    job_id: str
    outcome: str
    message: str
    at: float


class JobLogged(msgspec.Struct, frozen=True, tag="job-log"):
    """A job said something."""

    job_id: str
    at: float
    severity: str
    kind: str
    payload: Json
    stage_id: str | None = None
    task: int | None = None


JobEvent = JobStarted | JobRestarted | StageStarted | TaskChanged | StageEnded | JobEnded | JobLogged
