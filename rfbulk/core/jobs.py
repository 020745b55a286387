"""What a job is asked to do, and its name: checked, or made so that the same job has the same name on every run."""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any, Final, Literal, NewType, TypeAlias

import msgspec

from rfbulk.core.grants import UrlFault, check_url
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.errors import UsageError

JobId = NewType("JobId", str)
Kind: TypeAlias = Literal["images", "videos"]
Machine: TypeAlias = Literal["cpu", "gpu"]
Aggregation: TypeAlias = Literal["csv", "jsonl"]
Backend: TypeAlias = Literal["inference-models", "old-inference"]
Device: TypeAlias = Literal["nvidia-l4", "nvidia-t4", "nvidia-l40s"]
Severity: TypeAlias = Literal["info", "warning", "error"]

DEVICES: Final[tuple[Device, ...]] = ("nvidia-t4", "nvidia-l4", "nvidia-l40s")
MACHINE_SIZES: Final = {"xs": 8, "s": 4, "m": 2, "l": 1, "xl": 1}
"""Workers on a machine by the size that the service's own client took earlier: a smaller machine is a share of one."""

_JOB_ID: Final = re.compile(r"[a-z0-9_-]{1,20}")
_DIGEST_CHARACTERS: Final = 16


class WorkflowJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Process a batch with a workflow. What is None is left to the service.

    `parameters` are the workflow's own. `image_input` names its input that takes the image. `save_images` keeps
    outputs that are images, `saved_outputs` only those of these names. `part` chooses a part of a multipart batch,
    `metadata_part` the one with metadata of images, whose fields `metadata_mapping` maps to inputs of the workflow.
    `max_failure_rate` (0 to 1) is the share of a shard's images that may fail. `max_fps` thins out videos.
    `notifications_url` is told how the job ends.

    Raises:
        UsageError: a value that cannot be, or that has no meaning for this kind.
    """

    batch_id: str
    workflow_id: str
    kind: Kind = "images"
    parameters: dict[str, Any] | None = None
    image_input: str | None = None
    save_images: bool = False
    saved_outputs: tuple[str, ...] = ()
    part: str | None = None
    metadata_part: str | None = None
    metadata_mapping: dict[str, str] | None = None
    machine: Machine | None = None
    workers_per_machine: int | None = None
    max_runtime_seconds: int | None = None
    max_parallel_tasks: int | None = None
    max_failure_rate: float | None = None
    aggregation: Aggregation | None = None
    max_fps: float | None = None
    backend: Backend | None = None
    notifications_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out, before anything is asked."""
        checked_batch_id(self.batch_id)
        _require("workflow-id", bool(self.workflow_id), "a name")
        _check_limits(self.workers_per_machine, self.max_runtime_seconds, self.max_parallel_tasks)
        _check_rate(self.max_failure_rate)
        _check_url(self.notifications_url)
        if self.max_fps is not None:
            _require("max-video-fps", math.isfinite(self.max_fps) and self.max_fps > 0, "more than nothing")
            _require("max-video-fps", self.kind == "videos", "for videos only")
        if self.kind == "videos":
            has_metadata = self.metadata_part is not None or bool(self.metadata_mapping)
            _require("images-metadata-part", not has_metadata, "for images only")
            _require("max-image-failure-rate", self.max_failure_rate is None, "for images only")


class CompilationJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Compile a model for TensorRT on some devices.

    Raises:
        UsageError: no model, no device, or one that the service does not compile for.
    """

    model_id: str
    devices: tuple[Device, ...]
    notifications_url: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out, before anything is asked."""
        _require("model-id", bool(self.model_id), "a name")
        _require("device", bool(self.devices) and set(self.devices) <= set(DEVICES), f"one of {', '.join(DEVICES)}")
        _check_url(self.notifications_url)


JobDefinition: TypeAlias = WorkflowJob | CompilationJob


class Overrides(msgspec.Struct, frozen=True, kw_only=True):
    """What is different when a job is restarted. What is None stays as it was."""

    machine: Machine | None = None
    workers_per_machine: int | None = None
    max_runtime_seconds: float | None = None
    max_parallel_tasks: int | None = None
    max_failure_rate: float | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out."""
        _check_limits(self.workers_per_machine, self.max_runtime_seconds, self.max_parallel_tasks)
        _check_rate(self.max_failure_rate)


def job_id(text: str) -> JobId:
    """Take `text` as the identifier of a job.

    Raises:
        UsageError: the service would not take it.
    """
    if _JOB_ID.fullmatch(text) is None:
        raise UsageError(
            "use job id",
            repr(text),
            cause="the service takes 1 to 20 of a-z, 0-9, _ and -",
            advice="choose another --job-id",
        )
    return JobId(text)


def made_job_id(definition: JobDefinition, workspace: str, name: str | None = None) -> JobId:
    """Make the identifier of a job from all that defines it, so that a repeated start is the same job.

    Who is notified does not count: it changes nothing of what is done, or paid.
    """
    told = msgspec.structs.replace(definition, notifications_url=None)
    text = msgspec.json.encode([workspace, name, type(definition).__name__, told], order="deterministic")
    prefix = "trt" if isinstance(definition, CompilationJob) else "job"
    return job_id(f"{prefix}-{hashlib.sha256(text).hexdigest()[:_DIGEST_CHARACTERS]}")


def _check_limits(*limits: float | None) -> None:
    names = ("workers-per-machine", "max-runtime-seconds", "max-parallel-tasks")
    for name, limit in zip(names, limits, strict=True):
        _require(name, limit is None or limit >= 1, "1 or more")


def _check_rate(rate: float | None) -> None:
    _require("max-image-failure-rate", rate is None or 0 <= rate <= 1, "from 0 to 1")


def _check_url(text: str | None) -> None:
    try:
        if text is not None:
            check_url(text, allow_http=False)
    except UrlFault as fault:
        raise UsageError(
            "set", "notifications-url", cause=str(fault), advice="give an https:// address that the service reaches"
        ) from None


def _require(name: str, holds: bool, what: str) -> None:
    if not holds:
        raise UsageError("set", name, cause=f"it must be {what}", advice="change that option")
