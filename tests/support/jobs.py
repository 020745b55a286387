"""The batch-processing API in memory: jobs that run by a clock nobody waits for, and answers that get lost."""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from rfbulk.core.job_wire import Job, JobLog, Stage, Task
from rfbulk.core.jobs import JobId
from rfbulk.core.wire import Page
from rfbulk.errors import ServiceRefused
from tests.support.fakes import FakeClock


@dataclass
class FakeJob:
    """One job: its body, when it was created, and how it is to end."""

    body: dict[str, Any]
    name: str | None
    at: float
    aborted: bool = False


@dataclass
class FakeJobs:
    """Runs each job in two stages of `seconds` each, the first with `tasks` tasks of which `failing` fail.

    `troubles` are raised by the next calls of an operation, `lost_answers` after the call has had its effect.
    `shown_after` is how long a new job is not shown; `hidden` tells when jobs are not shown at all. `page_size` cuts
    listings of tasks. `stage_types` overrides the status of a stage. `fills_in` is what the service adds to a body,
    `says` and `log` are why a job failed.
    """

    clock: FakeClock
    seconds: float = 10.0
    tasks: int = 4
    failing: int = 0
    fails: bool = False
    shown_after: float = 0.0
    hidden_from: float = float("inf")
    page_size: int = 100
    stage_types: dict[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    says: str = "out of memory"
    fills_in: dict[str, Any] = field(default_factory=dict)
    troubles: dict[str, deque[Exception]] = field(default_factory=dict)
    lost_answers: dict[str, deque[Exception]] = field(default_factory=dict)
    calls: Counter[str] = field(default_factory=Counter)
    asked_at: list[float] = field(default_factory=list)
    jobs: dict[str, FakeJob] = field(default_factory=dict)

    async def create_job(self, job: JobId, body: dict[str, Any], name: str | None) -> None:
        self._meet_trouble("create")
        if job in self.jobs:
            raise ServiceRefused("start", f"job {job}", cause="the service answered 409", status=409)
        self.jobs[job] = FakeJob(body | self.fills_in, name, self.clock.now)
        self._lose_answer("create")

    async def job(self, job: JobId) -> Job | None:
        self._meet_trouble("job")
        found = self._shown(job)
        if found is None:
            return None
        age = self.clock.now - found.at
        is_over = age >= 2 * self.seconds
        return Job(
            job_id=job,
            name=found.name or "",
            definition=found.body,
            current_stage="" if is_over else "export" if age >= self.seconds else "processing",
            planned_stages=("processing", "export"),
            is_terminal=is_over or found.aborted,
            error=found.aborted or (is_over and self.fails),
            notification=self.says if is_over and self.fails else "",
        )

    async def stages(self, job: JobId) -> tuple[Stage, ...] | None:
        self._meet_trouble("stages")
        found = self._shown(job)
        if found is None:
            return None
        age = self.clock.now - found.at
        names = ["processing"] + (["export"] if age >= self.seconds else [])
        return tuple(self._stage(name, job, age) for name in names)

    async def tasks_page(
        self,
        job: JobId,
        stage: str,
        token: str | None = None,
        page_size: int | None = None,  # noqa: ARG002 - the port's shape
    ) -> Page[Task] | None:
        self._meet_trouble("tasks")
        found = self._shown(job)
        if found is None:
            return None
        age = self.clock.now - found.at - (self.seconds if stage == "export-id" else 0.0)
        count = self.tasks if stage == "processing-id" else 1
        rows = [self._task(number, age, failing=stage == "processing-id") for number in range(count)]
        start = int(token or 0)
        end = start + self.page_size
        return Page(tuple(rows[start:end]), str(end) if end < len(rows) else None)

    async def logs_page(
        self,
        job: JobId,  # noqa: ARG002 - the port's shape
        severity: str | None = None,  # noqa: ARG002
        token: str | None = None,  # noqa: ARG002
        page_size: int | None = None,  # noqa: ARG002
    ) -> Page[JobLog]:
        self._meet_trouble("logs")
        return Page(tuple(JobLog(severity="error", payload={"message": text}) for text in self.log), None)

    async def restart(self, job: JobId, body: dict[str, Any] | None) -> None:  # noqa: ARG002 - the API's shape
        """Begin a job again, as the API's restart does."""
        self._meet_trouble("restart")
        self.jobs[job].at = self.clock.now
        self._lose_answer("restart")

    def _stage(self, name: str, job: str, age: float) -> Stage:
        began = 0.0 if name == "processing" else self.seconds
        status = "success" if age >= began + self.seconds else "info"
        if self.fails and status == "success":
            status = "error"
        return Stage(
            stage_id=f"{name}-id",
            name=name,
            tasks=self.tasks if name == "processing" else 1,
            output_batches=(f"{job}-{name}",),
            status_type=self.stage_types.get(name, status),
            started=f"{began:06}",
        )

    def _task(self, number: int, age: float, *, failing: bool) -> Task:
        progress = min(1.0, age / self.seconds)
        if failing and number < self.failing and progress == 1.0:
            return Task(task_id=str(number), status_type="error", progress=1.0, notification="bad image")
        return Task(task_id=str(number), status_type="success" if progress == 1.0 else "info", progress=progress)

    def _shown(self, job: str) -> FakeJob | None:
        found = self.jobs.get(job)
        is_shown = found is not None and self.clock.now >= found.at + self.shown_after
        return found if is_shown and self.clock.now < self.hidden_from else None

    def _meet_trouble(self, operation: str) -> None:
        self.calls[operation] += 1
        self.asked_at.append(self.clock.now)
        if self.troubles.get(operation):
            raise self.troubles[operation].popleft()

    def _lose_answer(self, operation: str) -> None:
        if self.lost_answers.get(operation):
            raise self.lost_answers[operation].popleft()
