"""Standing flows, as a file describes them: which batches are processed by which job, and where results come."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

import msgspec

from rfbulk.core.jobs import WorkflowJob
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.errors import UsageError

ANY_BATCH: Final = "-"
"""Stands for the batch in a flow's job until one is there."""

Positive = Annotated[float, msgspec.Meta(gt=0)]


class Flow(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What follows once a batch is in.

    `batches` are patterns of names (`cam-*`). `job` says what is done with it. `output` is the folder of the results,
    in which `{batch}` stands for the batch's name. `stage` is whose results are exported (None: the export stage's).
    `expect` is how many files such a batch has, if that is known; otherwise it is in once its count has stood still
    for `quiet_seconds`.
    """

    job: WorkflowJob
    output: str
    batches: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)] = ("*",)
    stage: str | None = None
    expect: Annotated[int, msgspec.Meta(ge=1)] | None = None
    allow_incomplete: bool = False
    quiet_seconds: Positive = 120.0
    ready_seconds: Positive = 7200.0
    job_seconds: Positive = 21_600.0

    def is_for(self, batch: str) -> bool:
        """Whether the flow is for a batch of this name."""
        return any(fnmatchcase(batch, pattern) for pattern in self.batches)

    def folder_for(self, batch: str) -> str:
        """Return where the results of a batch come."""
        return self.output.replace("{batch}", checked_batch_id(batch))


class _File(msgspec.Struct, forbid_unknown_fields=True):
    flow: Annotated[tuple[dict[str, Any], ...], msgspec.Meta(min_length=1)]
    notifications_url: str | None = None


def parse_flows(text: str) -> tuple[Flow, ...]:
    """Return the flows that a file describes.

    Raises:
        UsageError: it is no TOML, or describes none; the message names the field.
    """
    try:
        file = msgspec.convert(_toml(text), _File)
        flows = tuple(_flow(values, file.notifications_url) for values in file.flow)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise UsageError(
            "read",
            "the flows",
            cause=str(error),
            advice="mend the file; the README shows one",
        ) from None
    for flow in flows:
        if "{batch}" not in flow.output and (
            len(flow.batches) > 1 or any(set("*?[") & set(each) for each in flow.batches)
        ):
            cause = f"results of several batches would meet in {flow.output!r}"
            raise UsageError("read", "the flows", cause=cause, advice="put {batch} into the flow's output")
    return flows


def flow_for(flows: Sequence[Flow], batch: str) -> Flow | None:
    """Return the first flow for a batch, None if there is none."""
    return next((flow for flow in flows if flow.is_for(batch)), None)


def _toml(text: str) -> dict[str, Any]:
    """As `tomllib.loads`, which lets through what Python itself says to endless numbers and depths."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except (ValueError, RecursionError):
        raise msgspec.ValidationError("a value is too long, or nested too deep") from None


def _flow(values: dict[str, Any], notifications_url: str | None) -> Flow:
    job = values.get("job")
    if not isinstance(job, dict):
        raise msgspec.ValidationError("a flow must have a table `job`")
    told = {"notifications_url": notifications_url} if notifications_url is not None else {}
    whole = {"batch_id": ANY_BATCH} | told | job
    return msgspec.convert(values | {"job": whole}, Flow)
