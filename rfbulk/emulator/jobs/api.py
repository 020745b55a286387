"""The Batch Processing API: jobs are started, shown, aborted and restarted here, and run elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator.answers import ApiError, json_answer
from rfbulk.emulator.jobs.body import JOB_ID, CompilationJob, read_job, read_override
from rfbulk.emulator.jobs.events import JobLogged, JobRestarted, JobStarted
from rfbulk.emulator.jobs.inputs import check_job
from rfbulk.emulator.jobs.rows import job_row, log_row, stage_row, task_row
from rfbulk.emulator.jobs.stages import COMPILATION, EXPORT, PROCESSING
from rfbulk.emulator.listing import read_page

if TYPE_CHECKING:
    from aiohttp import web

    from rfbulk.emulator.jobs.options import JobScript
    from rfbulk.emulator.jobs.running import Runner
    from rfbulk.emulator.jobs.state import Job
    from rfbulk.emulator.service import Service

_SEVERITIES = ("info", "warning", "error")


@dataclass(frozen=True, slots=True)
class JobsApi:
    """The handlers of jobs; each takes a request that has been authorised."""

    service: Service
    runner: Runner

    async def list_jobs(self, request: web.Request) -> web.Response:
        """List jobs in the order of their making."""
        jobs = list(self.service.state.jobs.by_id.values())
        page = read_page(self.service, request, "jobs")
        return page.answer("jobs", [job_row(job) for job in jobs[page.start : page.end]], len(jobs))

    async def show(self, request: web.Request) -> web.Response:
        """Show a job."""
        return json_answer({"job": job_row(self._job(request))})

    async def start(self, request: web.Request) -> web.Response:
        """Take a job; the same one again has no effect, another one under its id is a conflict."""
        job_id = _job_id(request)
        try:
            asked, definition = read_job(await request.read())
        except ValueError as error:
            raise ApiError(400, f"invalid job: {error}") from None
        present = self.service.state.jobs.by_id.get(job_id)
        if present is not None:
            return self._answer_repeated(present, definition)
        check_job(self.service, asked)
        self._check_credits()
        stages = (COMPILATION,) if isinstance(asked, CompilationJob) else (PROCESSING, EXPORT)
        name, now = request.query.get("name") or job_id, self.service.clock.now()
        await self.service.record(JobStarted(job_id, name, definition, stages, self._next_script(), now))
        await self.service.record(JobLogged(job_id, now, "info", "job-accepted", {"name": name}))
        self.runner.start(self.service.state.jobs.by_id[job_id])
        return json_answer({"status": "ok", "jobId": job_id})

    async def stages(self, request: web.Request) -> web.Response:
        """List the stages of a job's last run, as far as they have begun."""
        words = self.service.options.jobs.status_words
        return json_answer({"stages": [stage_row(stage, words) for stage in self._job(request).stages]})

    async def tasks(self, request: web.Request) -> web.Response:
        """List a stage's tasks."""
        job = self._job(request)
        stage = job.stage(request.match_info["stage_id"])
        if stage is None:
            raise ApiError(404, f"job {job.job_id} has no stage {request.match_info['stage_id']}")
        page = read_page(self.service, request, f"tasks/{stage.stage_id}")
        words = self.service.options.jobs.status_words
        tasks = enumerate(stage.tasks[page.start : page.end], page.start)
        rows = [task_row(stage, number, task, words) for number, task in tasks]
        return page.answer("tasks", rows, len(stage.tasks))

    async def logs(self, request: web.Request) -> web.Response:
        """List what a job said, oldest first."""
        job = self._job(request)
        severity = request.query.get("severity")
        if severity is not None and severity not in _SEVERITIES:
            raise ApiError(400, f"severity must be one of {', '.join(_SEVERITIES)}")
        logs = [log for log in job.logs if severity in {None, log.severity}]
        page = read_page(self.service, request, f"logs/{job.job_id}/{severity}")
        return page.answer("logs", [log_row(log) for log in logs[page.start : page.end]], len(logs))

    async def abort(self, request: web.Request) -> web.Response:
        """End a job that is running."""
        job = self._job(request)
        if not job.is_running:
            raise ApiError(409, f"job {job.job_id} is not running")
        await self.runner.abort(job)
        return json_answer({"status": "ok", "jobId": job.job_id})

    async def restart(self, request: web.Request) -> web.Response:
        """Run a job again that has ended, perhaps with other parameters."""
        job = self._job(request)
        try:
            override = read_override(await request.read())
        except ValueError as error:
            raise ApiError(400, f"invalid parameters: {error}") from None
        if job.is_running:
            raise ApiError(409, f"job {job.job_id} is running")
        self._check_credits()
        now = self.service.clock.now()
        await self.service.record(JobRestarted(job.job_id, override, self._next_script(), now))
        await self.service.record(JobLogged(job.job_id, now, "info", "job-restarted", {"override": override}))
        self.runner.start(job)
        return json_answer({"status": "ok", "jobId": job.job_id})

    def _job(self, request: web.Request) -> Job:
        job_id = _job_id(request)
        job = self.service.state.jobs.by_id.get(job_id)
        if job is None:
            raise ApiError(404, f"job {job_id} does not exist")
        return job

    def _answer_repeated(self, present: Job, definition: dict[str, object]) -> web.Response:
        if present.definition != definition:
            raise ApiError(409, f"job {present.job_id} exists with another definition")
        if self.service.options.jobs.repeated_start == "conflict":
            raise ApiError(409, f"job {present.job_id} exists")
        return json_answer({"status": "ok", "jobId": present.job_id})

    def _check_credits(self) -> None:
        if self.service.options.jobs.out_of_credits:
            raise ApiError(429, "the workspace has no credits left")

    def _next_script(self) -> JobScript:
        scripts = self.service.job_scripts
        return scripts.popleft() if scripts else self.service.options.jobs.script


def _job_id(request: web.Request) -> str:
    job_id = request.match_info["job_id"]
    if not JOB_ID.fullmatch(job_id):
        raise ApiError(400, "job id must match ^[a-z0-9_-]{1,20}$")
    return job_id
