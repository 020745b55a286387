"""The jobs, their stages and tasks: nothing but the sum of their events. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

from rfbulk.emulator.jobs.events import (
    JobEnded,
    JobEvent,
    JobLogged,
    JobRestarted,
    JobStarted,
    StageEnded,
    StageStarted,
    TaskChanged,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rfbulk.emulator.jobs.events import Json
    from rfbulk.emulator.jobs.options import JobScript

RUNNING = "running"
GOING, SUCCESS, ERROR = "info", "success", "error"


@dataclass(slots=True)
class Task:
    """One task. Before it has begun, it has no progress."""

    event_at: float
    status: str = GOING
    progress: float | None = None
    notification: str = "Waiting"


@dataclass(slots=True)
class Stage:
    """One stage and its tasks."""

    stage_id: str
    name: str
    started_at: float
    event_at: float
    tasks: list[Task]
    status: str = GOING
    notification: str = "Running"
    output_batches: tuple[str, ...] = ()


@dataclass(slots=True)
class Job:
    """One job. `attempt` counts its runs; the stages are those of the last one."""

    job_id: str
    name: str
    definition: Json
    planned: tuple[str, ...]
    script: JobScript
    created_at: float
    updated_at: float
    attempt: int = 1
    outcome: str = RUNNING
    message: str = "The job was accepted"
    stages: list[Stage] = field(default_factory=list)
    overrides: list[Json] = field(default_factory=list)
    logs: list[JobLogged] = field(default_factory=list)

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self.outcome == RUNNING

    def stage(self, stage_id: str) -> Stage | None:
        """Return a stage of the last run."""
        return next((stage for stage in self.stages if stage.stage_id == stage_id), None)

    def mark(self, stage: str) -> str:
        """Return what tells a stage of this run from every other one, short enough for the name of a batch."""
        return hashlib.sha256(f"{self.job_id}/{self.attempt}/{stage}".encode()).hexdigest()[:12]

    def parameter(self, name: str) -> object:
        """Return a parameter of the job as the last run has it: the latest word on it counts."""
        said = [each[name] for each in (self.definition, *self.overrides) if each.get(name) is not None]
        return said[-1] if said else None

    @property
    def specification(self) -> Mapping[str, object]:
        """What shall be done with the input."""
        given = self.definition.get("processingSpecification")
        return given if isinstance(given, dict) else {}


@dataclass(slots=True)
class Jobs:
    """Every job, in the order of their making."""

    by_id: dict[str, Job] = field(default_factory=dict)

    def apply(self, event: JobEvent) -> None:
        """Let an event take effect."""
        if isinstance(event, JobStarted):
            self.by_id[event.job_id] = Job(
                event.job_id, event.name, event.definition, event.stages, event.script, event.at, event.at
            )
            return
        job = self.by_id[event.job_id]
        job.updated_at = event.at
        match event:
            case JobRestarted():
                _restart(job, event)
            case StageStarted():
                _begin_stage(job, event)
            case TaskChanged():
                stage = job.stage(event.stage_id)
                if stage is not None:
                    stage.tasks[event.task] = Task(event.at, event.status, event.progress, event.notification)
            case StageEnded():
                _end_stage(job, event)
            case JobEnded():
                job.outcome, job.message = event.outcome, event.message
            case JobLogged():
                job.logs.append(event)
            case _:
                assert_never(event)


def _restart(job: Job, event: JobRestarted) -> None:
    job.attempt += 1
    job.outcome, job.message, job.script = RUNNING, "The job was restarted", event.script
    job.stages.clear()
    if event.override is not None:
        job.overrides.append(event.override)


def _begin_stage(job: Job, event: StageStarted) -> None:
    begun = Stage(event.stage_id, event.name, event.at, event.at, [Task(event.at) for _ in range(event.tasks)])
    job.stages = [stage for stage in job.stages if stage.stage_id != event.stage_id]
    job.stages.append(begun)
    job.message = f"Stage {event.name} is running"


def _end_stage(job: Job, event: StageEnded) -> None:
    stage = job.stage(event.stage_id)
    if stage is not None:
        stage.status, stage.notification, stage.event_at = event.status, event.notification, event.at
        stage.output_batches = event.output_batches
        job.message = f"Stage {stage.name}: {event.notification}"
