"""The options that say what a job is to do, shared by `job start` and `run`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
import orjson

from rfbulk.cli.options import DURATION
from rfbulk.core.jobs import MACHINE_SIZES, Kind, WorkflowJob
from rfbulk.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])
Option = tuple[tuple[str, ...], dict[str, Any]]

_WORKFLOW: list[Option] = [
    (("--workflow-id", "-w"), {"required": True, "metavar": "W", "help": "The workflow."}),
    (
        ("--param", "params"),
        {
            "multiple": True,
            "metavar": "K=V",
            "help": "A parameter of the workflow; V is JSON or text. May be repeated.",
        },
    ),
    (
        ("--params", "--workflow-params", "params_file"),
        {"type": click.Path(path_type=Path), "metavar": "FILE", "help": "Parameters as a JSON object in a file."},
    ),
    (("--image-input-name", "image_input"), {"metavar": "NAME", "help": "The workflow's input that takes the image."}),
    (
        ("--save-image-outputs/--no-save-image-outputs", "save_images"),
        {"default": False, "help": "Keep outputs that are images.  [default: no]"},
    ),
    (
        ("--image-outputs-to-save", "saved_outputs"),
        {"multiple": True, "metavar": "NAME", "help": "Keep only these of them. May be repeated."},
    ),
    (("--part", "--part-name", "part"), {"metavar": "P", "help": "The part of a multipart batch to process."}),
]
_MACHINE: list[Option] = [
    (("--machine", "--machine-type", "machine"), {"type": click.Choice(["cpu", "gpu"]), "help": "On what to run."}),
    (("--workers-per-machine",), {"type": int, "metavar": "N", "help": "Workers on each machine."}),
    (("--max-runtime-seconds",), {"type": int, "metavar": "N", "help": "The job's longest duration."}),
    (("--max-parallel-tasks",), {"type": int, "metavar": "N", "help": "Tasks at once at most."}),
]
_STARTING: list[Option] = [
    (
        ("--job-id", "-j"),
        {"metavar": "J", "help": "Its id: a-z, 0-9, _ and -, at most 20. [default: made from what it does]"},
    ),
    (("--job-name",), {"metavar": "NAME", "help": "The name shown for it."}),
    (("--notifications-url",), {"metavar": "URL", "help": "Where the service reports how the job ends."}),
    (("--wait/--no-wait",), {"default": False, "help": "Until the job has ended.  [default: no-wait]"}),
    (("--timeout",), {"type": DURATION, "default": "6h", "show_default": True, "help": "How long to wait for that."}),
]
_IMAGES: list[Option] = [
    (
        ("--images-metadata-part", "--images-metadata-part-name", "metadata_part"),
        {"metavar": "P", "help": "The part of a multipart batch with metadata of the images."},
    ),
    (
        ("--image-metadata-mapping", "--metadata-mapping", "metadata_mapping"),
        {"multiple": True, "metavar": "K=V", "help": "The metadata's field K goes to the workflow's input V."},
    ),
    (
        ("--max-image-failure-rate", "max_failure_rate"),
        {"type": float, "metavar": "SHARE", "help": "The share of a shard's images that may fail, 0 to 1."},
    ),
]
_VIDEOS: list[Option] = [
    (("--max-video-fps", "max_fps"), {"type": float, "metavar": "N", "help": "Frames a second at most."}),
]
_RESULTS: list[Option] = [
    (
        ("--aggregation-format", "aggregation"),
        {"type": click.Choice(["csv", "jsonl"]), "help": "How results are written."},
    ),
    (
        ("--inference-backend", "--backend", "backend"),
        {"type": click.Choice(["inference-models", "old-inference"]), "help": "What runs the models."},
    ),
    (
        ("--machine-size",),
        {
            "type": click.Choice(list(MACHINE_SIZES)),
            "hidden": True,
            "help": "An older word for --workers-per-machine.",
        },
    ),
]


def workflow_options(kind: Kind) -> Callable[[F], F]:
    """Give a command the options that say what a workflow is to do with images, or with videos."""
    return _adding([*_WORKFLOW, *(_IMAGES if kind == "images" else _VIDEOS), *_MACHINE, *_RESULTS])


def machine_options(function: F) -> F:
    """Give a command the options that say on what a job runs."""
    return _adding(_MACHINE)(function)


def starting_options(function: F) -> F:
    """Give a command the options of a start."""
    return _adding(_STARTING)(function)


def workflow_job(kind: Kind, batch_id: str, values: dict[str, Any]) -> WorkflowJob:
    """Return the job that the options describe.

    Raises:
        UsageError: they describe none.
    """
    workers = values["workers_per_machine"]
    if workers is None and values["machine_size"] is not None:
        workers = MACHINE_SIZES[values["machine_size"]]
    return WorkflowJob(
        batch_id=batch_id,
        kind=kind,
        workflow_id=values["workflow_id"],
        parameters=_parameters(values["params_file"], values["params"]),
        image_input=values["image_input"],
        save_images=values["save_images"] or bool(values["saved_outputs"]),
        saved_outputs=values["saved_outputs"],
        part=values["part"],
        metadata_part=values.get("metadata_part"),
        metadata_mapping=dict(_pairs("image-metadata-mapping", values.get("metadata_mapping", ()))) or None,
        machine=values["machine"],
        workers_per_machine=workers,
        max_runtime_seconds=values["max_runtime_seconds"],
        max_parallel_tasks=values["max_parallel_tasks"],
        max_failure_rate=values.get("max_failure_rate"),
        aggregation=values["aggregation"],
        max_fps=values.get("max_fps"),
        backend=values["backend"],
        notifications_url=values["notifications_url"],
    )


def _adding(options: list[Option]) -> Callable[[F], F]:
    def add(function: F) -> F:
        for names, settings in reversed(options):
            function = click.option(*names, **settings)(function)
        return function

    return add


def _parameters(file: Path | None, pairs: tuple[str, ...]) -> dict[str, Any] | None:
    """What stands on the line wins over what stands in the file."""
    found = {} if file is None else _read_object(file)
    found |= {name: _value(text) for name, text in _pairs("param", pairs)}
    return found or None


def _read_object(file: Path) -> dict[str, Any]:
    try:
        values = orjson.loads(file.read_bytes())
    except OSError as error:
        raise UsageError(
            "read",
            f"the parameters {file}",
            cause=str(error.strerror),
            advice="name a file that can be read with --params",
        ) from None
    except orjson.JSONDecodeError as error:
        raise UsageError(
            "read", f"the parameters {file}", cause=f"it is not JSON: {error.msg}", advice="mend the file"
        ) from None
    if not isinstance(values, dict):
        raise UsageError(
            "read", f"the parameters {file}", cause="it is no JSON object", advice='write it as {"name": value}'
        )
    return values


def _pairs(option: str, texts: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = [text.partition("=") for text in texts]
    wrong = [text for text, (name, sign, _) in zip(texts, pairs, strict=True) if not name or not sign]
    if wrong:
        raise UsageError(
            "set", option, cause=f"{wrong[0]!r} must be written as name=value", advice="for example confidence=0.4"
        )
    return [(name, value) for name, _, value in pairs]


def _value(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
