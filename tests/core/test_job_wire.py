"""The bodies of the batch-processing API."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core import job_wire
from rfbulk.core.job_wire import definition_body, is_same_definition, overrides_body, text_of
from rfbulk.core.jobs import CompilationJob, Overrides, WorkflowJob
from rfbulk.errors import ProtocolError

ALL = WorkflowJob(
    batch_id="spring",
    workflow_id="detect",
    parameters={"confidence": 0.5, "classes": ["cat"]},
    image_input="image",
    save_images=True,
    saved_outputs=("drawn", "cut"),
    part="p",
    metadata_part="m",
    metadata_mapping={"camera": "camera_name"},
    machine="gpu",
    workers_per_machine=4,
    max_runtime_seconds=3600,
    max_parallel_tasks=8,
    max_failure_rate=0.1,
    aggregation="jsonl",
    backend="inference-models",
    notifications_url="https://me.example/hook",
)
ALL_BODY: dict[str, Any] = {
    "type": "simple-image-processing-v1",
    "jobInput": {
        "type": "staging-batch-input-v1",
        "batchId": "spring",
        "partName": "p",
        "imagesMetadataPart": "m",
    },
    "computeConfiguration": {"type": "compute-configuration-v2", "machineType": "gpu", "workersPerMachine": 4},
    "processingTimeoutSeconds": 3600,
    "maxParallelTasks": 8,
    "maxImageFailureRate": 0.1,
    "processingSpecification": {
        "type": "workflows-processing-specification-v1",
        "workspace": "acme",
        "workflowId": "detect",
        "workflowParameters": {"confidence": 0.5, "classes": ["cat"]},
        "imageInputName": "image",
        "persistImagesOutputs": True,
        "imagesOutputsToBePersisted": ["drawn", "cut"],
        "aggregationFormat": "jsonl",
        "imagesMetadataInputsMapping": {"camera": "camera_name"},
    },
    "notificationsURL": "https://me.example/hook",
    "inferenceBackend": "inference-models",
}
LEAST = definition_body(WorkflowJob(batch_id="spring", workflow_id="detect"), "acme")
WHEN = "2026-01-01T00:00:00Z"
JOB = {
    "jobId": "j-1",
    "name": "May",
    "jobDefinition": ALL_BODY,
    "currentStage": "processing",
    "plannedStages": ["processing", "export"],
    "error": False,
    "isTerminal": False,
    "lastNotification": {"message": "going on"},
    "createdAt": WHEN,
    "lastUpdate": WHEN,
    "restartParametersOverride": [{"type": "parameters-override-v1"}],
}
STAGE = {
    "processingStageId": "s-1",
    "processingStageName": "processing",
    "tasksNumber": 3,
    "outputBatches": ["out"],
    "startTimestamp": WHEN,
    "notification": "fine",
    "statusType": "info",
    "lastEventTimestamp": WHEN,
}
TASK = {"taskId": "t-1", "notification": {}, "statusType": "error", "progress": 0.5, "eventTimestamp": WHEN}
LOG = {
    "createdAt": WHEN,
    "processingStageId": None,
    "taskId": "t-1",
    "severity": "error",
    "reportingModule": "worker",
    "logType": "crash",
    "payload": {"why": "no memory"},
}
PARSERS: list[tuple[Callable[[bytes], Any], dict[str, Any]]] = [
    (job_wire.parse_job, {"job": JOB}),
    (job_wire.parse_jobs_page, {"jobs": [JOB]}),
    (job_wire.parse_stages, {"stages": [STAGE]}),
    (job_wire.parse_tasks_page, {"tasks": [TASK]}),
    (job_wire.parse_logs_page, {"logs": [LOG]}),
]
every_parser = pytest.mark.parametrize(("parse", "sample"), PARSERS, ids=[parse.__name__ for parse, _ in PARSERS])


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


# what is asked


def test_every_parameter_has_its_place_in_the_body() -> None:
    assert definition_body(ALL, "acme") == ALL_BODY


def test_what_is_left_to_the_service_is_not_sent() -> None:
    assert LEAST == {
        "type": "simple-image-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": "spring"},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": {
            "type": "workflows-processing-specification-v1",
            "workspace": "acme",
            "workflowId": "detect",
            "persistImagesOutputs": False,
        },
    }


def test_videos_are_a_job_of_another_type() -> None:
    body = definition_body(WorkflowJob(batch_id="b", workflow_id="w", kind="videos", max_fps=2.5), "acme")
    assert body["type"] == "simple-video-processing-v1"
    assert body["processingSpecification"]["maxVideoFPS"] == 2.5


def test_a_compilation_names_each_device_once() -> None:
    body = definition_body(CompilationJob(model_id="m/1", devices=("nvidia-t4", "nvidia-l4", "nvidia-t4")), "acme")
    devices = ["nvidia-l4", "nvidia-t4"]
    assert body == {"type": "trt-compilation-v1", "modelId": "m/1", "compilationDevices": devices}


def test_a_restart_without_overrides_has_no_body() -> None:
    assert overrides_body(Overrides()) is None


def test_a_restart_sends_only_what_is_different() -> None:
    body = overrides_body(Overrides(machine="cpu", max_parallel_tasks=2, max_runtime_seconds=9.5, max_failure_rate=0.0))
    assert body == {
        "type": "parameters-override-v1",
        "computeConfiguration": {"type": "compute-configuration-v2", "machineType": "cpu"},
        "maxParallelTasks": 2,
        "processingTimeoutSeconds": 9.5,
        "maxImageFailureRate": 0.0,
    }


# whose job it is


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"notificationsURL": "https://other.example/"},
        {"maxParallelTasks": 4, "processingTimeoutSeconds": 3600, "inferenceBackend": None},
        {"computeConfiguration": {"type": "compute-configuration-v2", "machineType": "cpu", "machineSize": None}},
        {"jobInput": LEAST["jobInput"] | {"partName": None, "future": 1}},
        {"processingSpecification": LEAST["processingSpecification"] | {"aggregationFormat": "csv"}},
        {"processingSpecification": LEAST["processingSpecification"] | {"persistImagesOutputs": None}},
    ],
)
def test_what_the_service_fills_in_does_not_make_it_another_job(more: dict[str, Any]) -> None:
    assert is_same_definition(LEAST, LEAST | more)


@pytest.mark.parametrize(
    "more",
    [
        {"type": "simple-video-processing-v1"},
        {"jobInput": LEAST["jobInput"] | {"batchId": "summer"}},
        {"jobInput": LEAST["jobInput"] | {"partName": "p"}},
        {"processingSpecification": LEAST["processingSpecification"] | {"workflowId": "other"}},
        {"processingSpecification": LEAST["processingSpecification"] | {"workflowParameters": {"a": 1}}},
        {"processingSpecification": LEAST["processingSpecification"] | {"persistImagesOutputs": True}},
        {"processingSpecification": None},
    ],
)
def test_what_somebody_else_set_makes_it_another_job(more: dict[str, Any]) -> None:
    assert not is_same_definition(LEAST, LEAST | more)


def test_a_workflow_parameter_that_differs_makes_it_another_job() -> None:
    other = json.loads(json.dumps(ALL_BODY))
    other["processingSpecification"]["workflowParameters"]["extra"] = 1
    assert is_same_definition(ALL_BODY, ALL_BODY)
    assert not is_same_definition(ALL_BODY, other)


def test_a_service_that_shows_no_definition_is_taken_by_the_id() -> None:
    assert is_same_definition(LEAST, {})


def test_the_type_of_a_compilation_has_two_spellings_and_devices_no_order() -> None:
    ours = definition_body(CompilationJob(model_id="m", devices=("nvidia-t4", "nvidia-l4")), "acme")
    shown = {"type": "TRT_COMPILATION_V1", "modelId": "m", "compilationDevices": ["nvidia-t4", "nvidia-l4"]}
    assert is_same_definition(ours, shown)
    assert not is_same_definition(ours, shown | {"compilationDevices": ["nvidia-t4"]})


# what is answered


def test_a_job_is_read_whole() -> None:
    job = job_wire.parse_job(as_bytes({"job": JOB}))
    assert (job.job_id, job.name, job.definition) == ("j-1", "May", ALL_BODY)
    assert (job.current_stage, job.planned_stages) == ("processing", ("processing", "export"))
    assert (job.error, job.is_terminal, job.notification) == (False, False, "going on")
    assert (job.created, job.updated, job.overrides) == (WHEN, WHEN, ({"type": "parameters-override-v1"},))


def test_stages_come_in_the_order_in_which_they_began() -> None:
    later = STAGE | {"processingStageId": "s-2", "startTimestamp": "2026-01-02T00:00:00Z"}
    unknown = STAGE | {"processingStageId": "s-3", "startTimestamp": None}
    stages = job_wire.parse_stages(as_bytes({"stages": [unknown, later, STAGE]}))
    assert [stage.stage_id for stage in stages] == ["s-1", "s-2", "s-3"]
    assert (stages[0].tasks, stages[0].output_batches, stages[0].notification) == (3, ("out",), "fine")


def test_progress_stays_between_nothing_and_all() -> None:
    tasks = [TASK | {"progress": progress} for progress in (None, -1, 0.25, 7)]
    page = job_wire.parse_tasks_page(as_bytes({"tasks": tasks, "nextPageToken": "t"}))
    assert [task.progress for task in page.items] == [None, 0.0, 0.25, 1.0]
    assert page.next_token == "t"


def test_a_log_line_is_read_whole() -> None:
    (line,) = job_wire.parse_logs_page(as_bytes({"logs": [LOG]})).items
    assert (line.severity, line.module, line.log_type, line.stage_id) == ("error", "worker", "crash", "")
    assert line.payload == {"why": "no memory"}


@pytest.mark.parametrize(
    ("notification", "text"),
    [
        (None, ""),
        ({}, ""),
        ("as it is", "as it is"),
        ({"message": "words"}, "words"),
        ({"code": 3}, '{"code":3}'),
        ([1], "[1]"),
    ],
)
def test_a_notification_becomes_text(notification: object, text: str) -> None:
    assert text_of(notification) == text


@every_parser
def test_only_what_names_a_thing_must_be_there(parse: Callable[[bytes], Any], sample: dict[str, Any]) -> None:
    ((name, rows),) = sample.items()
    row = rows if isinstance(rows, dict) else rows[0]
    for field in row:
        others = {key: value for key, value in row.items() if key != field} | {"future": {"a": 1}}
        if field in {"jobId", "processingStageId", "taskId"} and parse is not job_wire.parse_logs_page:
            with pytest.raises(ProtocolError):
                parse(as_bytes({name: others if isinstance(rows, dict) else [others]}))
        else:
            parse(as_bytes({name: others if isinstance(rows, dict) else [others]}))
            parse(as_bytes({name: others | {field: None} if isinstance(rows, dict) else [others | {field: None}]}))


@every_parser
@given(data=st.data())
def test_nonsense_is_refused_and_never_crashes(
    parse: Callable[[bytes], Any], sample: dict[str, Any], data: st.DataObject
) -> None:
    values = st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(JOB)), inner, max_size=3),
        max_leaves=8,
    )
    body = data.draw(st.binary(max_size=20) | values.map(lambda value: as_bytes(dict.fromkeys(sample, value))))
    with contextlib.suppress(ProtocolError):
        parse(body)


@pytest.mark.parametrize("field", ["jobDefinition", "lastNotification", "restartParametersOverride"])
def test_values_nested_too_deep_to_be_shown_are_refused(field: str) -> None:
    deep = '{"a":' * 900 + "1" + "}" * 900
    with pytest.raises(ProtocolError, match="nested"):
        job_wire.parse_job(f'{{"job": {{"jobId": "j", "{field}": {deep}}}}}'.encode())
