"""What a job is asked to do, and what it is called."""

from __future__ import annotations

import re
from typing import Any

import msgspec
import pytest

from rfbulk.core.jobs import CompilationJob, JobDefinition, Overrides, WorkflowJob, job_id, made_job_id
from rfbulk.errors import UsageError

IMAGES = WorkflowJob(batch_id="spring", workflow_id="detect")


@pytest.mark.parametrize("text", ["a", "job_1-b", "0", "x" * 20])
def test_a_job_id_of_the_documented_shape_is_taken(text: str) -> None:
    assert job_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 21, "Upper", "a b", "a/b", "ä", "a\n", "٣"])
def test_any_other_job_id_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(text))):
        job_id(text)


def test_the_same_command_is_the_same_job() -> None:
    """A repeated start must not be paid twice."""
    first = WorkflowJob(batch_id="spring", workflow_id="detect", parameters={"a": 1, "b": [2]})
    again = WorkflowJob(batch_id="spring", workflow_id="detect", parameters={"b": [2], "a": 1})
    made = made_job_id(first, "acme", "May")
    assert made == made_job_id(again, "acme", "May")
    assert made == job_id(made)
    assert made.startswith("job-")


@pytest.mark.parametrize(
    "other",
    [
        WorkflowJob(batch_id="summer", workflow_id="detect"),
        WorkflowJob(batch_id="spring", workflow_id="segment"),
        WorkflowJob(batch_id="spring", workflow_id="detect", kind="videos"),
        WorkflowJob(batch_id="spring", workflow_id="detect", parameters={"a": 1}),
        WorkflowJob(batch_id="spring", workflow_id="detect", part="p"),
        WorkflowJob(batch_id="spring", workflow_id="detect", machine="gpu"),
        CompilationJob(model_id="m/1", devices=("nvidia-t4",)),
    ],
)
def test_another_command_is_another_job(other: JobDefinition) -> None:
    assert made_job_id(other, "acme") != made_job_id(IMAGES, "acme")


def test_another_workspace_or_name_is_another_job() -> None:
    made = {made_job_id(IMAGES, "acme"), made_job_id(IMAGES, "other"), made_job_id(IMAGES, "acme", "May")}
    assert len(made) == 3


def test_who_is_notified_changes_nothing_of_what_is_paid() -> None:
    told = msgspec.structs.replace(IMAGES, notifications_url="https://me.example/hook")
    assert made_job_id(told, "acme") == made_job_id(IMAGES, "acme")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"batch_id": "Spring"}, "batch id"),
        ({"workflow_id": ""}, "workflow-id"),
        ({"workers_per_machine": 0}, "workers-per-machine"),
        ({"max_runtime_seconds": 0}, "max-runtime-seconds"),
        ({"max_parallel_tasks": -1}, "max-parallel-tasks"),
        ({"max_failure_rate": 1.1}, "max-image-failure-rate"),
        ({"max_fps": 5}, "max-video-fps"),
        ({"kind": "videos", "max_fps": 0}, "max-video-fps"),
        ({"kind": "videos", "metadata_part": "m"}, "images-metadata-part"),
        ({"kind": "videos", "metadata_mapping": {"a": "b"}}, "images-metadata-part"),
        ({"kind": "videos", "max_failure_rate": 0.5}, "max-image-failure-rate"),
        ({"notifications_url": "http://elsewhere.example/"}, "notifications-url"),
        ({"notifications_url": "nonsense"}, "notifications-url"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_asked(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        WorkflowJob(**({"batch_id": "spring", "workflow_id": "detect"} | values))


def test_a_compilation_needs_a_model_and_known_devices() -> None:
    with pytest.raises(UsageError, match="model-id"):
        CompilationJob(model_id="", devices=("nvidia-l4",))
    with pytest.raises(UsageError, match="device"):
        CompilationJob(model_id="m", devices=())


def test_overrides_are_held_to_the_same_limits() -> None:
    with pytest.raises(UsageError, match="workers-per-machine"):
        Overrides(workers_per_machine=0)
    with pytest.raises(UsageError, match="max-image-failure-rate"):
        Overrides(max_failure_rate=-0.1)
