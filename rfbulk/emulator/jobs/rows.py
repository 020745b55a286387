"""Jobs, stages, tasks and logs as the API shows them. Pure.

Every time has its zone, every notification is an object or a text, and restart overrides are a list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.emulator.answers import timestamp
from rfbulk.emulator.jobs.state import ERROR, GOING

if TYPE_CHECKING:
    from rfbulk.emulator.jobs.events import JobLogged
    from rfbulk.emulator.jobs.options import StatusWords
    from rfbulk.emulator.jobs.state import Job, Stage, Task


def job_row(job: Job) -> dict[str, object]:
    """Show a job."""
    return {
        "jobId": job.job_id,
        "name": job.name,
        "jobDefinition": job.definition,
        "currentStage": job.stages[-1].name if job.stages else None,
        "plannedStages": list(job.planned),
        "error": job.outcome in {"fail", "aborted"},
        "isTerminal": not job.is_running,
        "lastNotification": {"type": "job-notification", "message": job.message},
        "createdAt": timestamp(job.created_at),
        "lastUpdate": timestamp(job.updated_at),
        "restartParametersOverride": job.overrides,
    }


def stage_row(stage: Stage, words: StatusWords) -> dict[str, object]:
    """Show a stage."""
    return {
        "processingStageId": stage.stage_id,
        "processingStageName": stage.name,
        "tasksNumber": len(stage.tasks),
        "outputBatches": list(stage.output_batches),
        "startTimestamp": timestamp(stage.started_at),
        "notification": stage.notification,
        "statusType": _spell(stage.status, words),
        "lastEventTimestamp": timestamp(stage.event_at),
    }


def task_row(stage: Stage, number: int, task: Task, words: StatusWords) -> dict[str, object]:
    """Show a task."""
    failure = {"type": "task-error", "message": task.notification}
    return {
        "taskId": task_id(stage.stage_id, number),
        "notification": failure if task.status == ERROR else task.notification,
        "statusType": _spell(task.status, words),
        "progress": task.progress,
        "eventTimestamp": timestamp(task.event_at),
    }


def log_row(log: JobLogged) -> dict[str, object]:
    """Show something that a job said."""
    return {
        "createdAt": timestamp(log.at),
        "processingStageId": log.stage_id,
        "taskId": None if log.task is None or log.stage_id is None else task_id(log.stage_id, log.task),
        "severity": log.severity,
        "reportingModule": "emulator",
        "logType": log.kind,
        "payload": log.payload,
    }


def _spell(status: str, words: StatusWords) -> str:
    return status if words == "plain" or status == GOING else f"task-{status}-v1"


def task_id(stage_id: str, number: int) -> str:
    """Return the name of a task."""
    return f"{stage_id}-{number:04}"
