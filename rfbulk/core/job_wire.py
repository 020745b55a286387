"""The bodies of the batch-processing API: what a job is asked with, and its answers as typed records.

The service is free to add fields and to leave optional ones out; only what names a thing must be there.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec

from rfbulk.core.jobs import CompilationJob, JobDefinition, Overrides, WorkflowJob
from rfbulk.core.wire import Named, Page, parse_as, shallow

T = TypeVar("T")
_TYPES: Final = {"images": "simple-image-processing-v1", "videos": "simple-video-processing-v1"}
_DEFINING: Final = frozenset(
    {
        "partName",
        "imagesMetadataPart",
        "workflowParameters",
        "persistImagesOutputs",
        "imagesOutputsToBePersisted",
        "imagesMetadataInputsMapping",
        "maxVideoFPS",
    }
)
"""Fields that the service does not fill in by itself: one that is set, and that we did not set, is another job's."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """What the service says of a job. Dates are as it writes them; `notification` is text, or JSON as text."""

    job_id: str
    name: str = ""
    definition: dict[str, Any] = {}
    current_stage: str = ""
    planned_stages: tuple[str, ...] = ()
    error: bool = False
    is_terminal: bool = False
    notification: str = ""
    created: str = ""
    updated: str = ""
    overrides: tuple[Any, ...] = ()


class Stage(msgspec.Struct, frozen=True, kw_only=True):
    """One stage of a job. `tasks` is how many it has, `output_batches` what it makes."""

    stage_id: str
    name: str = ""
    tasks: int = 0
    output_batches: tuple[str, ...] = ()
    status_type: str = ""
    notification: str = ""
    started: str = ""
    updated: str = ""


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One task of a stage. `progress` is from 0 to 1, None before it begins."""

    task_id: str
    status_type: str = ""
    progress: float | None = None
    notification: str = ""
    updated: str = ""


class JobLog(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a job's log."""

    created: str = ""
    severity: str = ""
    module: str = ""
    log_type: str = ""
    stage_id: str = ""
    task_id: str = ""
    payload: Any = None


class _Job(msgspec.Struct, rename="camel"):
    job_id: Named
    name: str | None = None
    job_definition: dict[str, Any] | None = None
    current_stage: str | None = None
    planned_stages: tuple[str, ...] | None = None
    error: bool | None = None
    is_terminal: bool | None = None
    last_notification: Any = None
    created_at: str | None = None
    last_update: str | None = None
    restart_parameters_override: Any = None


class _Described(msgspec.Struct):
    job: _Job


class _Listing(msgspec.Struct, rename="camel"):
    next_page_token: str | None = None


class _Jobs(_Listing, kw_only=True):
    jobs: tuple[_Job, ...]


class _Stage(msgspec.Struct, rename="camel"):
    processing_stage_id: Named
    processing_stage_name: str | None = None
    tasks_number: int | None = None
    output_batches: tuple[str, ...] | None = None
    status_type: str | None = None
    notification: Any = None
    start_timestamp: str | None = None
    last_event_timestamp: str | None = None


class _Stages(msgspec.Struct):
    stages: tuple[_Stage, ...]


class _Task(msgspec.Struct, rename="camel"):
    task_id: Named
    status_type: str | None = None
    progress: float | None = None
    notification: Any = None
    event_timestamp: str | None = None


class _Tasks(_Listing, kw_only=True):
    tasks: tuple[_Task, ...]


class _Log(msgspec.Struct, rename="camel"):
    created_at: str | None = None
    severity: str | None = None
    reporting_module: str | None = None
    log_type: str | None = None
    processing_stage_id: str | None = None
    task_id: str | None = None
    payload: Any = None


class _Logs(_Listing, kw_only=True):
    logs: tuple[_Log, ...]


def definition_body(definition: JobDefinition, workspace: str) -> dict[str, Any]:
    """Return the body that creates a job, without what is left to the service."""
    if isinstance(definition, CompilationJob):
        return _given(
            type="trt-compilation-v1",
            modelId=definition.model_id,
            compilationDevices=sorted(set(definition.devices)),
            notificationsURL=definition.notifications_url,
        )
    return _given(
        type=_TYPES[definition.kind],
        jobInput=_given(
            type="staging-batch-input-v1",
            batchId=definition.batch_id,
            partName=definition.part,
            imagesMetadataPart=definition.metadata_part,
        ),
        computeConfiguration=_compute(definition.machine, definition.workers_per_machine),
        processingTimeoutSeconds=definition.max_runtime_seconds,
        maxParallelTasks=definition.max_parallel_tasks,
        maxImageFailureRate=definition.max_failure_rate,
        processingSpecification=_specification(definition, workspace),
        notificationsURL=definition.notifications_url,
        inferenceBackend=definition.backend,
    )


def overrides_body(overrides: Overrides) -> dict[str, Any] | None:
    """Return the body that restarts a job with other values, None where there are none."""
    has_compute = overrides.machine is not None or overrides.workers_per_machine is not None
    values = _given(
        computeConfiguration=_compute(overrides.machine, overrides.workers_per_machine) if has_compute else None,
        maxParallelTasks=overrides.max_parallel_tasks,
        processingTimeoutSeconds=overrides.max_runtime_seconds,
        maxImageFailureRate=overrides.max_failure_rate,
    )
    return {"type": "parameters-override-v1"} | values if values else None


def is_same_definition(ours: dict[str, Any], shown: dict[str, Any]) -> bool:
    """Tell whether a job that the service shows does what our body asks for.

    All that we set must be shown as we set it. What is shown beyond that are values which the service fills in,
    but for those which it has no reason to (`_DEFINING`). Who is notified does not count. Where it shows nothing, the
    job's id is all there is to go by.
    """
    return not shown or _covers(_without_notified(ours), _without_notified(shown), "")


def encode(body: dict[str, Any] | None) -> bytes | None:
    """Return a body as JSON."""
    return None if body is None else msgspec.json.encode(body)


def parse_job(body: bytes) -> Job:
    """Return the description of one job."""
    return _job(parse_as(body, _Described, "read job").job)


def parse_jobs_page(body: bytes) -> Page[Job]:
    """Return one page of the workspace's jobs."""
    listing = parse_as(body, _Jobs, "list jobs")
    return Page(tuple(map(_job, listing.jobs)), listing.next_page_token or None)


def parse_stages(body: bytes) -> tuple[Stage, ...]:
    """Return the stages of a job, in the order in which they began."""
    stages = map(_stage, parse_as(body, _Stages, "list stages").stages)
    return tuple(sorted(stages, key=lambda stage: stage.started or "~"))


def parse_tasks_page(body: bytes) -> Page[Task]:
    """Return one page of a stage's tasks."""
    listing = parse_as(body, _Tasks, "list tasks")
    return Page(tuple(map(_task, listing.tasks)), listing.next_page_token or None)


def parse_logs_page(body: bytes) -> Page[JobLog]:
    """Return one page of a job's log."""
    listing = parse_as(body, _Logs, "list logs")
    return Page(tuple(map(_log, listing.logs)), listing.next_page_token or None)


def text_of(notification: object) -> str:
    """Return what the service has to say as text: its words where there are some, else all of it as JSON."""
    if not notification:
        return ""
    if isinstance(notification, dict):
        words = next((notification[name] for name in ("message", "reason", "text") if notification.get(name)), None)
        if isinstance(words, str):
            return words
    return notification if isinstance(notification, str) else msgspec.json.encode(notification).decode()


def _compute(machine: str | None, workers: int | None) -> dict[str, Any]:
    return _given(type="compute-configuration-v2", machineType=machine, workersPerMachine=workers)


def _specification(job: WorkflowJob, workspace: str) -> dict[str, Any]:
    return _given(
        type="workflows-processing-specification-v1",
        workspace=workspace,
        workflowId=job.workflow_id,
        workflowParameters=job.parameters,
        imageInputName=job.image_input,
        persistImagesOutputs=job.save_images,
        imagesOutputsToBePersisted=list(job.saved_outputs) or None,
        aggregationFormat=job.aggregation,
        maxVideoFPS=job.max_fps,
        imagesMetadataInputsMapping=job.metadata_mapping or None,
    )


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _without_notified(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "notificationsURL"}


def _covers(ours: object, shown: object, name: str) -> bool:
    if isinstance(ours, dict) and isinstance(shown, dict):
        if name in _DEFINING:
            return ours == shown
        added = (shown[key] for key in _DEFINING & shown.keys() - ours.keys())
        return not any(added) and all(_covers(value, shown.get(key), key) for key, value in ours.items())
    if isinstance(ours, list) and isinstance(shown, list):
        return sorted(map(repr, ours)) == sorted(map(repr, shown))
    if name == "type":
        return _plain(ours) == _plain(shown)  # the service's description spells TRT_COMPILATION_V1
    return ours == shown or (not ours and not shown)


def _plain(text: object) -> str:
    return str(text).lower().replace("_", "-")


def _job(raw: _Job) -> Job:
    overrides = shallow(raw.restart_parameters_override)
    return Job(
        job_id=raw.job_id,
        name=raw.name or "",
        definition=shallow(raw.job_definition or {}),
        current_stage=raw.current_stage or "",
        planned_stages=raw.planned_stages or (),
        error=bool(raw.error),
        is_terminal=bool(raw.is_terminal),
        notification=text_of(shallow(raw.last_notification)),
        created=raw.created_at or "",
        updated=raw.last_update or "",
        overrides=tuple(overrides) if isinstance(overrides, list) else (overrides,) if overrides else (),
    )


def _stage(raw: _Stage) -> Stage:
    return Stage(
        stage_id=raw.processing_stage_id,
        name=raw.processing_stage_name or "",
        tasks=max(0, raw.tasks_number or 0),
        output_batches=raw.output_batches or (),
        status_type=raw.status_type or "",
        notification=text_of(shallow(raw.notification)),
        started=raw.start_timestamp or "",
        updated=raw.last_event_timestamp or "",
    )


def _task(raw: _Task) -> Task:
    progress = raw.progress
    return Task(
        task_id=raw.task_id,
        status_type=raw.status_type or "",
        progress=None if progress is None else min(1.0, max(0.0, progress)),
        notification=text_of(shallow(raw.notification)),
        updated=raw.event_timestamp or "",
    )


def _log(raw: _Log) -> JobLog:
    return JobLog(
        created=raw.created_at or "",
        severity=raw.severity or "",
        module=raw.reporting_module or "",
        log_type=raw.log_type or "",
        stage_id=raw.processing_stage_id or "",
        task_id=raw.task_id or "",
        payload=shallow(raw.payload),
    )
