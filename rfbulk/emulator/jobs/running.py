"""Jobs as they run: taken up, ended, aborted, and taken up again by the next process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from rfbulk.emulator.jobs.events import JobEnded, JobLogged
from rfbulk.emulator.jobs.stages import StageFailedError, StageRun
from rfbulk.emulator.underway import Underway
from rfbulk.emulator.webhooks.shapes import job_body

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from rfbulk.emulator.jobs.state import Job
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.webhooks.delivering import Notifier


@dataclass(slots=True)
class Runner:
    """Runs jobs in the tasks of the group it was given."""

    service: Service
    notifier: Notifier
    tasks: TaskGroup
    _scopes: dict[str, anyio.CancelScope] = field(default_factory=dict)
    _underway: Underway = field(default_factory=Underway)

    def resume(self) -> None:
        """Go on with what an earlier process left."""
        for job in self.service.state.jobs.by_id.values():
            if job.is_running:
                self.start(job)

    def start(self, job: Job) -> None:
        """Run a job that has just been taken or restarted."""
        self._underway.begin()
        scope = self._scopes[job.job_id] = anyio.CancelScope()
        self.tasks.start_soon(self._run, job, scope)

    async def abort(self, job: Job) -> None:
        """End a job that is running."""
        if job.job_id in self._scopes:
            self._scopes[job.job_id].cancel()
        await self._end(job, "aborted", "The job was aborted")

    async def settled(self) -> None:
        """Wait until no job is running; for ever, if one was told to stall."""
        await self._underway.settled()

    async def _run(self, job: Job, scope: anyio.CancelScope) -> None:
        with self._underway.ending():
            with scope:
                outcome, message = await self._result(job)
                await self._end(job, outcome, message)
            if self._scopes.get(job.job_id) is scope:
                del self._scopes[job.job_id]

    async def _result(self, job: Job) -> tuple[str, str]:
        limit = job.parameter("processingTimeoutSeconds")
        seconds = float(limit) if isinstance(limit, int | float) else None
        try:
            with anyio.fail_after(seconds):
                for stage in job.planned:
                    await StageRun(self.service, job, stage).run()
        except TimeoutError:
            return "fail", "The job took longer than processingTimeoutSeconds"
        except StageFailedError as error:
            return "fail", str(error)
        if job.script.end == "fail":
            return "fail", "The job failed, as it was told to"
        return "success", "The job succeeded"

    async def _end(self, job: Job, outcome: str, message: str) -> None:
        now = self.service.clock.now()
        severity = "info" if outcome == "success" else "error"
        await self.service.record(JobLogged(job.job_id, now, severity, "job-ended", {"message": message}))
        await self.service.record(JobEnded(job.job_id, outcome, message, now))
        url = job.definition.get("notificationsURL")
        if url is not None:
            await self.notifier.submit(str(url), job_body(job.job_id, success=outcome == "success"))
