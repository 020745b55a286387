"""The bodies that start and restart jobs are read strictly, and what is wrong is named with its place."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from rfbulk.emulator.jobs.body import read_job, read_override

IMAGES: dict[str, Any] = {
    "type": "simple-image-processing-v1",
    "jobInput": {"type": "staging-batch-input-v1", "batchId": "b1"},
    "computeConfiguration": {"type": "compute-configuration-v2"},
    "processingSpecification": {
        "type": "workflows-processing-specification-v1",
        "workspace": "emulator",
        "workflowId": "w1",
    },
}
EVERYTHING: dict[str, Any] = {
    "type": "simple-video-processing-v1",
    "jobInput": {"type": "staging-batch-input-v1", "batchId": "b1", "partName": "p", "imagesMetadataPart": "m"},
    "computeConfiguration": {"type": "compute-configuration-v2", "machineType": "gpu", "workersPerMachine": 4},
    "processingSpecification": {
        "type": "workflows-processing-specification-v1",
        "workspace": "emulator",
        "workflowId": "w1",
        "workflowParameters": {"any": [1, None]},
        "imageInputName": "image",
        "persistImagesOutputs": True,
        "imagesOutputsToBePersisted": ["a"],
        "aggregationFormat": "csv",
        "maxVideoFPS": 2.5,
        "imagesMetadataInputsMapping": {"a": "b"},
    },
    "processingTimeoutSeconds": 60,
    "maxParallelTasks": 2,
    "maxImageFailureRate": 0.5,
    "notificationsURL": "https://example.com/hook",
    "inferenceBackend": "old-inference",
}
COMPILATION: dict[str, Any] = {
    "type": "trt-compilation-v1",
    "modelId": "some/1",
    "compilationDevices": ["nvidia-l4", "nvidia-t4", "nvidia-l40s"],
    "notificationsURL": None,
}


def changed(body: dict[str, Any], path: str, value: Any) -> bytes:
    """Return a body with another value in one place."""
    body = copy.deepcopy(body)
    *outer, last = path.split(".")
    place = body
    for name in outer:
        place = place[name]
    place[last] = value
    return orjson.dumps(body)


@pytest.mark.parametrize("body", [IMAGES, EVERYTHING, COMPILATION], ids=lambda body: body["type"])
def test_every_field_is_taken_and_kept_as_it_came(body: dict[str, Any]) -> None:
    assert read_job(orjson.dumps(body))[1] == body


@pytest.mark.parametrize(
    "path", ["processingTimeoutSeconds", "jobInput.partName", "processingSpecification.aggregationFormat"]
)
def test_null_is_as_good_as_nothing_where_the_service_says_so(path: str) -> None:
    read_job(changed(EVERYTHING, path, None))


@pytest.mark.parametrize(
    ("body", "path", "value"),
    [
        (IMAGES, "type", "other"),
        (IMAGES, "unknown", 1),
        (IMAGES, "jobInput", None),
        (IMAGES, "jobInput.batchId", ""),
        (IMAGES, "jobInput.type", "staging-batch-input-v9"),
        (IMAGES, "jobInput.unknown", 1),
        (IMAGES, "computeConfiguration.machineType", "tpu"),
        (IMAGES, "computeConfiguration.machineType", None),
        (IMAGES, "computeConfiguration.workersPerMachine", 0),
        (IMAGES, "processingSpecification.workflowId", 7),
        (IMAGES, "processingSpecification.aggregationFormat", "xml"),
        (IMAGES, "processingSpecification.maxVideoFPS", 0),
        (IMAGES, "maxImageFailureRate", 1.5),
        (IMAGES, "processingTimeoutSeconds", 1.5),
        (IMAGES, "maxParallelTasks", 0),
        (IMAGES, "notificationsURL", "example.com"),
        (IMAGES, "inferenceBackend", "new"),
        (COMPILATION, "modelId", ""),
        (COMPILATION, "compilationDevices", []),
        (COMPILATION, "compilationDevices", ["abacus"]),
        (COMPILATION, "jobInput", IMAGES["jobInput"]),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(body: dict[str, Any], path: str, value: Any) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_job(changed(body, path, value))
    field = path.rpartition(".")[2]
    assert field in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"{"])
def test_what_is_no_job_is_refused(body: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_job(body)


def test_an_empty_body_changes_nothing() -> None:
    assert read_override(b"") is None


def test_every_parameter_can_be_overridden() -> None:
    override = {
        "type": "parameters-override-v1",
        "computeConfiguration": {"type": "compute-configuration-v2", "machineType": "cpu", "workersPerMachine": 2},
        "maxParallelTasks": 3,
        "processingTimeoutSeconds": 1.5,
        "maxImageFailureRate": 0.1,
    }
    assert read_override(orjson.dumps(override)) == override


@pytest.mark.parametrize(
    "override", [{}, {"type": "other"}, {"type": "parameters-override-v1", "maxParallelTasks": None}, [1]], ids=str
)
def test_what_overrides_nothing_that_exists_is_refused(override: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_override(orjson.dumps(override))
