"""The bodies that start and restart jobs, read strictly: unknown fields are errors, and errors name their path."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

JOB_ID = re.compile(r"[a-z0-9_-]{1,20}")

_Text = Annotated[str, Meta(min_length=1)]
_Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+")]
_Count = Annotated[int, Meta(ge=1)]
_Rate = Annotated[float, Meta(ge=0, le=1)]
_Seconds = Annotated[float, Meta(gt=0)]


class _Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    pass


class ComputeConfiguration(_Strict):
    """On what a job runs."""

    type: Literal["compute-configuration-v2"]
    machine_type: Literal["cpu", "gpu"] | UnsetType = UNSET
    workers_per_machine: _Count | UnsetType = UNSET


class JobInput(_Strict):
    """What a job reads."""

    type: Literal["staging-batch-input-v1"]
    batch_id: _Text
    part_name: _Text | None = None
    images_metadata_part: _Text | None = None


class ProcessingSpecification(_Strict):
    """What a job does with it."""

    type: Literal["workflows-processing-specification-v1"]
    workspace: _Text
    workflow_id: _Text
    workflow_parameters: dict[str, object] | None = None
    image_input_name: _Text | None = None
    persist_images_outputs: bool | None = None
    images_outputs_to_be_persisted: list[_Text] | None = None
    aggregation_format: Literal["csv", "jsonl"] | None = None
    max_video_fps: _Seconds | None = msgspec.field(name="maxVideoFPS", default=None)
    images_metadata_inputs_mapping: dict[str, str] | None = None


class _Workflow(_Strict):
    job_input: JobInput
    compute_configuration: ComputeConfiguration
    processing_specification: ProcessingSpecification
    processing_timeout_seconds: _Count | None = None
    max_parallel_tasks: _Count | None = None
    max_image_failure_rate: _Rate | None = None
    notifications_url: _Url | None = msgspec.field(name="notificationsURL", default=None)
    inference_backend: Literal["inference-models", "old-inference"] | None = None


class ImagesJob(_Workflow, tag_field="type", tag="simple-image-processing-v1"):
    """A workflow over images."""


class VideosJob(_Workflow, tag_field="type", tag="simple-video-processing-v1"):
    """A workflow over videos."""


class CompilationJob(_Strict, tag_field="type", tag="trt-compilation-v1"):
    """The compilation of a model for devices."""

    model_id: _Text
    compilation_devices: Annotated[list[Literal["nvidia-l4", "nvidia-t4", "nvidia-l40s"]], Meta(min_length=1)] = (
        msgspec.field(default_factory=lambda: ["nvidia-t4", "nvidia-l4"])
    )
    notifications_url: _Url | None = msgspec.field(name="notificationsURL", default=None)


class Override(_Strict):
    """Other parameters for another run."""

    type: Literal["parameters-override-v1"]
    compute_configuration: ComputeConfiguration | UnsetType = UNSET
    max_parallel_tasks: _Count | UnsetType = UNSET
    processing_timeout_seconds: _Seconds | UnsetType = UNSET
    max_image_failure_rate: _Rate | UnsetType = UNSET


AnyJob = ImagesJob | VideosJob | CompilationJob

_JOB = msgspec.json.Decoder(AnyJob)
_OVERRIDE = msgspec.json.Decoder(Override)
_OBJECT = msgspec.json.Decoder(dict[str, object])


def read_job(body: bytes) -> tuple[AnyJob, dict[str, object]]:
    """Return a job, checked, and its definition as it was sent.

    Raises:
        ValueError: it is none; the text says what is wrong and where.
    """
    return _JOB.decode(body), _OBJECT.decode(body)


def read_override(body: bytes) -> dict[str, object] | None:
    """Return the parameters that a restart changes, or None if the body is empty.

    Raises:
        ValueError: the body is no such thing; the text says what is wrong and where.
    """
    if not body:
        return None
    _OVERRIDE.decode(body)
    return _OBJECT.decode(body)
