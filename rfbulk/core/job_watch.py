"""Waiting for a job as one state machine, fed by looks at the service and by notifications alike.

A notification is a hint: it only makes the next look come sooner. What a job has come to is what the service shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from rfbulk.core.job_stages import StageState, current_stage, failure_reasons
from rfbulk.core.job_wire import Job
from rfbulk.core.polling import Pace

ABSENCE_SECONDS: Final = 60.0
"""How long a job may not be shown, after it was started or seen, before it counts as gone: listings lag."""


class JobState(StrEnum):
    """Where a job stands."""

    AWAITED = "awaited"  # started, and not shown yet
    RUNNING = "running"
    MISSING = "missing"  # it was shown, and is not now
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    GONE = "gone"  # not shown for too long


class Sight(StrEnum):
    """What one look amounts to."""

    GOING = "going"
    GOOD_END = "good-end"
    BAD_END = "bad-end"
    ABSENT = "absent"
    LONG_ABSENT = "long-absent"


_AFTER: Final[dict[JobState, dict[Sight, JobState]]] = {
    state: {
        Sight.GOING: JobState.RUNNING,
        Sight.GOOD_END: JobState.SUCCEEDED,
        Sight.BAD_END: JobState.FAILED,
        Sight.ABSENT: absent,
        Sight.LONG_ABSENT: JobState.GONE,
    }
    for state, absent in {
        JobState.AWAITED: JobState.AWAITED,
        JobState.RUNNING: JobState.MISSING,
        JobState.MISSING: JobState.MISSING,
    }.items()
}
"""What follows from a look while the waiting goes on. A state without a row is an end, and nothing follows."""

ENDS: Final = frozenset(JobState) - _AFTER.keys()


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What one look showed: the job (None: not there), its stages, and how many requests it took."""

    job: Job | None
    stages: tuple[StageState, ...] = ()
    requests: int = 1


class JobReport(msgspec.Struct, kw_only=True):
    """What a job has come to. `reasons` say why it failed, or why some of its tasks did."""

    job_id: str
    name: str = ""
    state: JobState = JobState.AWAITED
    stages: list[StageState] = []
    reasons: list[str] = []
    notification: str = ""
    wall_seconds: float = 0.0
    requests: int = 0

    @property
    def succeeded(self) -> bool:
        """Whether the job has ended well. Some of its tasks may have failed nevertheless."""
        return self.state is JobState.SUCCEEDED

    @property
    def tasks_failed(self) -> int:
        """How many tasks failed, in all stages."""
        return sum(stage.failed for stage in self.stages)


class JobWatch:
    """Watches one job. `see` is told each look, `notice` each notification; `waits` tells when to look again."""

    def __init__(self, job_id: str, now: float, *, is_new: bool = True) -> None:
        self.job_id = job_id
        self.state = JobState.AWAITED
        self.last = Look(job=None, requests=0)
        self.requests = 0
        self._grace = ABSENCE_SECONDS if is_new else 0.0
        self._began = now
        self._seen_at = now
        self._pace = Pace(now)
        self._milestones: dict[str, tuple[float, float]] = {}

    @property
    def is_over(self) -> bool:
        """Whether the waiting has ended."""
        return self.state in ENDS

    def see(self, look: Look, now: float) -> None:
        """Take in a look."""
        has_changed = _signature(look) != _signature(self.last)
        sight = self._sight(look, now)
        if look.job is not None:
            self._seen_at, self._grace = now, ABSENCE_SECONDS
            self.last = look
        self.requests += look.requests
        self._pace.spent(look.requests, now, has_changed=has_changed)
        self.state = _AFTER[self.state][sight] if self.state in _AFTER else self.state
        for stage in look.stages:
            self._milestones.setdefault(stage.stage_id, (now, stage.progress))

    def notice(self) -> None:
        """Take in a notification that the job has ended. The service is asked before it is believed."""
        self._pace.hurry()

    def waits(self, now: float) -> tuple[float, float]:
        """Return the seconds to rest at least, and at most, before the next look."""
        return self._pace.waits(now)

    def seconds_left(self, now: float) -> float | None:
        """Estimate how long the current stage will take, from its progress since it was first seen."""
        stage = self.stage
        if stage is None or stage.is_over:
            return None
        since, before = self._milestones[stage.stage_id]
        gained = stage.progress - before
        return (1 - stage.progress) * (now - since) / gained if gained > 0 and now > since else None

    @property
    def stage(self) -> StageState | None:
        """The stage that the job is in."""
        return None if self.last.job is None else current_stage(self.last.job, self.last.stages)

    def report(self, now: float) -> JobReport:
        """Return what the job has come to so far."""
        job, stages = self.last.job, self.last.stages
        has_failed = self.state is JobState.FAILED or any(stage.failed for stage in stages)
        return JobReport(
            job_id=self.job_id,
            name=job.name if job else "",
            state=self.state,
            stages=list(stages),
            reasons=failure_reasons(job, stages) if job and has_failed else [],
            notification=job.notification if job else "",
            wall_seconds=now - self._began,
            requests=self.requests,
        )

    def _sight(self, look: Look, now: float) -> Sight:
        if look.job is None:
            return Sight.LONG_ABSENT if now - self._seen_at >= self._grace else Sight.ABSENT
        if not look.job.is_terminal:
            return Sight.GOING
        return Sight.BAD_END if look.job.error else Sight.GOOD_END


def _signature(look: Look) -> tuple[object, ...]:
    """What makes two looks differ for somebody who waits. Dates may move without anything happening."""
    job = look.job
    seen = None if job is None else (job.current_stage, job.error, job.is_terminal, job.notification)
    return seen, _counts(look.stages)


def _counts(stages: Sequence[StageState]) -> tuple[object, ...]:
    return tuple((s.stage_id, s.kind, s.registered, s.succeeded, s.failed, s.progress) for s in stages)
