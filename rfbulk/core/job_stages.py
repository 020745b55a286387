"""What a job's stages and tasks come to: how far each is, what failed and why, and which batch holds the results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from rfbulk.core.confirming import RowKind, row_kind
from rfbulk.core.job_wire import Job, JobLog, Stage, Task, text_of
from rfbulk.core.redaction import excerpt

EXPORT_STAGE: Final = "export"
"""The stage whose batch one usually downloads: it holds archives, made for transfer."""

MAX_REASONS: Final = 20
_MAX_KEPT: Final = 200


class StageState(msgspec.Struct, kw_only=True):
    """How far a stage is. `tasks` is how many it has, `registered` how many have begun."""

    stage_id: str
    name: str
    kind: RowKind
    tasks: int
    output_batches: tuple[str, ...] = ()
    registered: int = 0
    succeeded: int = 0
    failed: int = 0
    running: int = 0
    progress: float = 0.0
    reasons: dict[str, int] = {}

    @property
    def is_over(self) -> bool:
        """Whether the stage has ended, well or not."""
        return self.kind is not RowKind.PENDING


class TaskTally:
    """Counts the tasks of a stage, page by page, in memory for the reasons alone."""

    def __init__(self) -> None:
        self._kinds: Counter[RowKind] = Counter()
        self._begun = 0
        self._running = 0
        self._progress = 0.0
        self._reasons: Counter[str] = Counter()

    def add(self, tasks: Iterable[Task]) -> None:
        """Take note of a page of tasks."""
        for task in tasks:
            kind = row_kind(task.status_type)
            self._kinds[kind] += 1
            is_over = kind is not RowKind.PENDING
            self._begun += is_over or task.progress is not None
            self._running += not is_over and task.progress is not None
            self._progress += 1.0 if is_over else task.progress or 0.0
            if kind is RowKind.ERROR and (task.notification in self._reasons or len(self._reasons) < _MAX_KEPT):
                self._reasons[task.notification or "no reason given"] += 1

    def state_of(self, stage: Stage) -> StageState:
        """Return how far the stage is that these are the tasks of."""
        listed = sum(self._kinds.values())
        tasks = max(stage.tasks, listed)
        return StageState(
            stage_id=stage.stage_id,
            name=stage.name,
            kind=row_kind(stage.status_type),
            tasks=tasks,
            output_batches=stage.output_batches,
            registered=self._begun,
            succeeded=self._kinds[RowKind.SUCCESS],
            failed=self._kinds[RowKind.ERROR],
            running=self._running,
            progress=self._progress / tasks if tasks else 0.0,
            reasons={excerpt(reason): count for reason, count in self._reasons.most_common(MAX_REASONS)},
        )


def current_stage(job: Job, stages: Sequence[StageState]) -> StageState | None:
    """Return the stage to look at: the one the job names, else the first that is not over, else the last."""
    named = [stage for stage in stages if job.current_stage and job.current_stage in {stage.name, stage.stage_id}]
    going = [stage for stage in stages if not stage.is_over]
    return next(iter(named or going or stages[-1:]), None)


def failure_reasons(job: Job, stages: Sequence[StageState]) -> list[str]:
    """Return why a job failed, in the service's words, the most frequent first. Empty where it says nothing."""
    reasons: list[str] = []
    for stage in stages:
        counted = sorted(stage.reasons.items(), key=lambda reason: -reason[1])
        reasons += [f"{stage.name or stage.stage_id}: {reason} ({count} tasks)" for reason, count in counted]
    if job.notification:
        reasons.append(excerpt(job.notification))
    return reasons[:MAX_REASONS]


def log_reasons(lines: Sequence[JobLog]) -> list[str]:
    """Return the reasons that a log of errors gives, or that there is none."""
    said = [f"{line.module} {line.log_type}: {text_of(line.payload)}".strip(": ") for line in lines]
    return [excerpt(text) for text in dict.fromkeys(said)][:MAX_REASONS] or ["the service gives no reason"]


def output_batches(stages: Sequence[StageState | Stage], wanted: str | None = None) -> tuple[str, ...] | None:
    """Return the batches that hold a job's results, None if no such stage has made any.

    =========== =============================================================
    wanted      the batches of
    =========== =============================================================
    a name      the stage of this name, or with this id
    None        the export stage; without one, the last stage with any output
    =========== =============================================================
    """
    name = (wanted or EXPORT_STAGE).lower()
    chosen = [stage for stage in stages if name in {stage.name.lower(), stage.stage_id.lower()}]
    if not chosen and wanted is None:
        chosen = [stage for stage in stages if stage.output_batches][-1:]
    return tuple(dict.fromkeys(batch for stage in chosen for batch in stage.output_batches)) or None
