"""Starts a job so that it is started once, and waits for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from rfbulk.core.job_stages import StageState, TaskTally, log_reasons
from rfbulk.core.job_watch import JobReport, JobState, JobWatch, Look
from rfbulk.core.job_wire import Task, is_same_definition
from rfbulk.core.notices import job_subject
from rfbulk.core.wire import Page
from rfbulk.errors import ServiceRefused, TroublePassing, UsageError, WaitTimeout
from rfbulk.events import JobProgress, OnEvent
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.paging import walk_pages
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from rfbulk.core.job_wire import Job, JobLog, Stage
    from rfbulk.core.jobs import JobId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.pipeline.ports import Clock

T = TypeVar("T")
LONGEST_REST_BEFORE_START: Final = 60.0
"""A service that answers 429 to a start and asks for longer than this will not be asked again by this command."""


class JobService(Protocol):
    """The batch-processing API. Each call is one attempt."""

    async def create_job(self, job: JobId, body: dict[str, Any], name: str | None) -> None:
        """Create a job, which starts it."""

    async def job(self, job: JobId) -> Job | None:
        """Describe a job, None if there is none."""

    async def stages(self, job: JobId) -> tuple[Stage, ...] | None:
        """List the stages of a job, None if there is no job."""

    async def tasks_page(
        self, job: JobId, stage: str, token: str | None = None, page_size: int | None = None
    ) -> Page[Task] | None:
        """List one page of a stage's tasks, None if there is no such stage."""

    async def logs_page(
        self, job: JobId, severity: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[JobLog]:
        """List one page of a job's log."""


@dataclass(frozen=True, slots=True)
class JobPorts:
    """Everything outside that starting a job and waiting for it need."""

    service: JobService
    clock: Clock
    policy: RetryPolicy
    tell: OnEvent
    bell: Bell = field(default_factory=Bell)

    async def persist(self, call: Callable[[], Awaitable[T]]) -> T:
        """Make a call until it succeeds, or the policy ends."""
        return await persist(call, policy=self.policy, clock=self.clock, tell=self.tell)


async def start_job(ports: JobPorts, job: JobId, body: dict[str, Any], name: str | None) -> bool:
    """Start a job unless it has been started already. True if it was started now.

    Every attempt looks first, so that an answer that was lost starts nothing twice.

    Raises:
        UsageError: another job has this id.
        TroublePassing: the service did not work for the whole retry budget, or answered 429 (not tried for long).
        ServiceRefused: the service will not have it.
    """
    busy: list[TroublePassing] = []

    async def attempt() -> bool:
        if await _is_there(ports.service, job, body):
            return False
        try:
            await ports.service.create_job(job, body, name)
        except TroublePassing as error:
            if error.status != HTTPStatus.TOO_MANY_REQUESTS:
                raise
            busy.append(error)
        except ServiceRefused as refusal:
            if refusal.status == HTTPStatus.CONFLICT and await _is_there(ports.service, job, body):
                return False
            raise _explained(refusal) from None
        return True

    started = await ports.persist(attempt)
    rest = busy[0].retry_after if busy else None
    if rest is not None and rest <= LONGEST_REST_BEFORE_START:
        busy.clear()
        await ports.clock.sleep(rest)
        started = await ports.persist(attempt)
    if busy:
        raise _out_of_credits(busy[0])
    return started


async def restart_job(
    ports: JobPorts,
    restart: Callable[[JobId, dict[str, Any] | None], Awaitable[None]],
    job: JobId,
    body: dict[str, Any] | None,
) -> None:
    """Run a job again. After an answer that was lost, a job that is going on has been restarted already."""
    attempts = 0

    async def attempt() -> None:
        nonlocal attempts
        attempts += 1
        if attempts > 1:
            shown = await ports.service.job(job)
            if shown is not None and not shown.is_terminal:
                return
        await restart(job, body)

    await ports.persist(attempt)


async def _is_there(service: JobService, job: JobId, body: dict[str, Any]) -> bool:
    shown = await service.job(job)
    if shown is None:
        return False
    if not is_same_definition(body, shown.definition):
        raise UsageError(
            "start",
            f"job {job}",
            cause="a job with this id does something else",
            advice=f"choose another --job-id; `rfbulk job show {job}` tells what it does",
        )
    return True


_REFUSED: Final[dict[int, str]] = {
    HTTPStatus.BAD_REQUEST: "mend what it names; nothing was started",
    HTTPStatus.NOT_FOUND: "are the batch and the workflow of this workspace?",
    HTTPStatus.CONFLICT: "is a job with this id being deleted? choose another --job-id",
}


def _explained(refusal: ServiceRefused) -> ServiceRefused:
    advice = _REFUSED.get(refusal.status, refusal.advice)
    return ServiceRefused(refusal.operation, refusal.subject, cause=refusal.cause, advice=advice, status=refusal.status)


def _out_of_credits(error: TroublePassing) -> TroublePassing:
    return TroublePassing(
        error.operation,
        error.subject,
        cause=error.cause,
        advice="the workspace may be out of credits, or runs too many jobs: look at its plan, then run the same again",
        status=error.status,
        retry_after=error.retry_after,
    )


async def watch_job(ports: JobPorts, job: JobId, *, seconds: float, is_new: bool = False) -> JobReport:
    """Wait until a job has ended, asking ever more seldom while nothing changes, and tell how far it is.

    `is_new`: it has just been started, so that the service may not show it for a while. A failed job is a finding.

    Raises:
        UsageError: there is no such job.
        ServiceRefused: it was there, and is not any more.
        WaitTimeout: it has not ended within `seconds`.
    """
    clock = ports.clock
    deadline = clock.monotonic() + seconds
    watch = JobWatch(job, clock.monotonic(), is_new=is_new)
    looking = _Looking(ports, job)
    with ports.bell.listen(job_subject(job), clock) as ear:
        while True:
            watch.see(await looking.look(), clock.monotonic())
            now = clock.monotonic()
            ports.tell(_progress(watch, now))
            if watch.is_over:
                return await _with_reasons(ports, job, _ended(watch, now))
            if now >= deadline:
                raise _timed_out(watch, seconds)
            at_least, at_most = watch.waits(now)
            left = max(0.05, deadline - now)
            if await ear.rest(min(at_least, left), min(at_most, left)):
                watch.notice()


async def _with_reasons(ports: JobPorts, job: JobId, report: JobReport) -> JobReport:
    """Where a failed job's tasks say nothing, its log may."""
    if report.state is JobState.FAILED and not report.reasons:
        page = await ports.persist(partial(ports.service.logs_page, job, "error"))
        report.reasons = log_reasons(page.items)
    return report


class _Looking:
    """Looks at one job. The tasks of a stage that is over are listed once: they change no more."""

    def __init__(self, ports: JobPorts, job: JobId) -> None:
        self._ports = ports
        self._job = job
        self._over: dict[str, StageState] = {}
        self._requests = 0

    async def look(self) -> Look:
        """Ask for the job, its stages, and the tasks of those that are going on."""
        self._requests = 0
        job = await self._ask(partial(self._ports.service.job, self._job))
        if job is None:
            return Look(job=None, requests=self._requests)
        stages = await self._ask(partial(self._ports.service.stages, self._job)) or ()
        states = tuple([await self._state_of(stage) for stage in stages])
        return Look(job=job, stages=states, requests=self._requests)

    async def _state_of(self, stage: Stage) -> StageState:
        known = self._over.get(stage.stage_id)
        if known is not None and TaskTally().state_of(stage).kind is known.kind:
            return known
        tally = TaskTally()

        async def page_at(token: str | None) -> Page[Task]:
            page = await self._ask(partial(self._ports.service.tasks_page, self._job, stage.stage_id, token))
            return page if page is not None else Page((), None)

        async def take(tasks: Sequence[Task]) -> None:
            tally.add(tasks)

        await walk_pages("list tasks of", f"stage {stage.stage_id} of job {self._job}", page_at, take)
        state = tally.state_of(stage)
        if state.is_over:
            self._over[stage.stage_id] = state
        return state

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        async def counted() -> T:
            self._requests += 1
            return await call()

        return await self._ports.persist(counted)


def _progress(watch: JobWatch, now: float) -> JobProgress:
    stage, job = watch.stage, watch.last.job
    names = [each.name for each in watch.last.stages]
    planned = max(len(names), len(job.planned_stages) if job else 0)
    return JobProgress(
        job_id=watch.job_id,
        state=str(watch.state),
        stage=stage.name if stage else "",
        stage_number=names.index(stage.name) + 1 if stage else 0,
        stages=planned,
        tasks=stage.tasks if stage else 0,
        tasks_done=stage.succeeded + stage.failed if stage else 0,
        tasks_failed=stage.failed if stage else 0,
        tasks_running=stage.running if stage else 0,
        progress=stage.progress if stage else 0.0,
        seconds_left=watch.seconds_left(now),
    )


def _ended(watch: JobWatch, now: float) -> JobReport:
    if watch.state is not JobState.GONE:
        return watch.report(now)
    if watch.last.job is None:
        raise UsageError(
            "find", f"job {watch.job_id}", cause="the service does not know it", advice="`rfbulk job list` shows all"
        )
    raise ServiceRefused(
        "wait for",
        f"job {watch.job_id}",
        cause="the service does not show it any more",
        advice="`rfbulk job list` shows all; was it deleted?",
        status=HTTPStatus.NOT_FOUND,
    )


def _timed_out(watch: JobWatch, seconds: float) -> WaitTimeout:
    stage = watch.stage
    where = f"in stage {stage.name}, {stage.succeeded + stage.failed} of {stage.tasks} tasks done" if stage else ""
    return WaitTimeout(
        "wait for",
        f"job {watch.job_id}",
        cause=f"after {seconds:g} s it is {watch.state} {where}".rstrip(),
        advice="run the same again to go on waiting",
    )
