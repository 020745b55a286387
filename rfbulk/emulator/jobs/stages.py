"""A stage as it runs: its tasks, several at once, at the pace and with the failures that the script says."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread

from rfbulk.emulator.jobs.events import JobLogged, StageEnded, StageStarted, TaskChanged
from rfbulk.emulator.jobs.examining import Finding, examine, write_table
from rfbulk.emulator.jobs.inputs import read_inputs
from rfbulk.emulator.jobs.outputs import TaskOutput, form_of, plan_archives, write_archive, write_export, write_results
from rfbulk.emulator.jobs.state import ERROR, GOING, SUCCESS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from rfbulk.emulator.jobs.inputs import Input
    from rfbulk.emulator.jobs.state import Job
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.shelf import Place

PROCESSING, EXPORT, COMPILATION = "processing", "export", "compilation"

_PARALLEL_TASKS = 4
_STEPS = 4
# How much of a job's time each stage takes.
_SHARES = {PROCESSING: 0.8, EXPORT: 0.2, COMPILATION: 1.0}
# What the service lets fail in a task if nothing was said about it.
_FAILURES_ALLOWED = 10
_MOST_IMAGES_LOGGED = 100


class TaskFailedError(Exception):
    """A task ends in an error; the text is its notification."""


class StageFailedError(Exception):
    """A stage ends in an error, and the job with it."""


def stage_id_of(job: Job, name: str) -> str:
    """Return the name that a stage has in the API; every run has its own."""
    return f"{name}-{job.mark(name)}"


@dataclass(slots=True)
class StageRun:
    """One stage of one run of a job."""

    service: Service
    job: Job
    name: str
    failed: list[int] = field(default_factory=list)

    @property
    def stage_id(self) -> str:
        """The stage's name in the API."""
        return stage_id_of(self.job, self.name)

    async def run(self) -> None:
        """Run it, unless an earlier process has.

        Raises:
            StageFailedError: it ended in an error.
        """
        present = self.job.stage(self.stage_id)
        if present is not None and present.status == SUCCESS:
            return
        outputs: list[str] = []
        match self.name:
            case "processing":
                outputs.append(await self._process())
            case "export":
                outputs.append(await self._export())
            case _:
                await self._compile()
        is_good = not self.failed or self.job.script.tolerant
        text = f"{len(self.failed)} tasks failed" if self.failed else "Done"
        status = SUCCESS if is_good else ERROR
        now = self.service.clock.now()
        await self.service.record(StageEnded(self.job.job_id, self.stage_id, status, text, tuple(outputs), now))
        if not is_good:
            raise StageFailedError(f"Stage {self.name}: {text}")

    async def _process(self) -> str:
        asked = self.job.definition["jobInput"]
        inputs = self._inputs(asked if isinstance(asked, dict) else {})
        size = 1 if self._of_videos else self.service.options.jobs.task_files
        groups = [inputs[at : at + size] for at in range(0, len(inputs), size)] or [[]]
        done: dict[int, TaskOutput] = {}

        async def read(number: int) -> str:
            done[number] = await self._read(number, groups[number])
            return f"{len(groups[number])} files read"

        await self._work(len(groups), read)
        batch_id = f"{self.job.job_id}-results-{self.job.mark(self.name)}"
        await write_results(self.service, self.job, sorted(done.items()), batch_id)
        return batch_id

    def _inputs(self, asked: dict[str, object]) -> list[Input]:
        batch = self.service.state.batches.get(str(asked["batchId"]))
        part = asked.get("partName")
        if batch is None:
            raise StageFailedError("The input batch is gone")
        return read_inputs(batch, None if part is None else str(part))

    async def _read(self, number: int, inputs: Sequence[Input]) -> TaskOutput:
        if number < self.job.script.fail_tasks:
            raise TaskFailedError("The task failed, as it was told to")
        look = partial(examine, self.service.shelf, inputs, videos=self._of_videos)
        findings = await to_thread.run_sync(look)
        await self._judge(number, findings)
        what = "video" if self._of_videos else "image"
        return TaskOutput(inputs, findings, await to_thread.run_sync(write_table, findings, form_of(self.job), what))

    async def _judge(self, number: int, findings: Sequence[Finding]) -> None:
        bad = [finding for finding in findings if finding.error is not None and finding.sha256 is not None]
        for finding in bad[:_MOST_IMAGES_LOGGED]:
            payload: dict[str, object] = {"name": finding.name, "error": finding.error}
            await self._log("warning", "image-failed", payload, number)
        rate = self.job.parameter("maxImageFailureRate")
        allowed = rate * len(findings) if isinstance(rate, int | float) else _FAILURES_ALLOWED
        if len(bad) > allowed:
            raise TaskFailedError(f"{len(bad)} of {len(findings)} images could not be processed")

    async def _export(self) -> str:
        processed = self.job.stage(stage_id_of(self.job, PROCESSING))
        source = "" if processed is None else processed.output_batches[0]
        if source not in self.service.state.batches:
            raise StageFailedError("The batch of results is gone")
        archives = plan_archives(self.service, source)
        places: dict[int, Place] = {}

        async def pack(number: int) -> str:
            try:
                if number < len(archives):
                    places[number] = await write_archive(self.service, archives[number])
            except KeyError as error:
                raise TaskFailedError("A result is gone") from error
            return "Packed"

        await self._work(max(len(archives), 1), pack)
        batch_id = f"{self.job.job_id}-export-{self.job.mark(self.name)}"
        packed = [(archives[number], place) for number, place in sorted(places.items())]
        await write_export(self.service, self.job, source, packed, batch_id)
        return batch_id

    async def _compile(self) -> None:
        devices = self.job.definition.get("compilationDevices")

        async def compile_for(number: int) -> str:
            if number < self.job.script.fail_tasks:
                raise TaskFailedError("The compilation failed, as it was told to")
            return "Compiled"

        await self._work(len(devices) if isinstance(devices, list) else 2, compile_for)

    async def _work(self, count: int, do: Callable[[int], Awaitable[str]]) -> None:
        """Do all tasks of this stage, several at once; the failed ones are noted."""
        now = self.service.clock.now()
        await self.service.record(StageStarted(self.job.job_id, self.stage_id, self.name, count, now))
        await self._log("info", "stage-started", {"stage": self.name, "tasks": count})
        asked = self.job.parameter("maxParallelTasks")
        parallel = min(asked if isinstance(asked, int) else _PARALLEL_TASKS, count)
        seconds = self.job.script.seconds * _SHARES[self.name] * parallel / count
        limit = anyio.CapacityLimiter(parallel)
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(self._task, number, count, do, seconds, limit)

    async def _task(
        self, number: int, count: int, do: Callable[[int], Awaitable[str]], seconds: float, limit: anyio.CapacityLimiter
    ) -> None:
        async with limit:
            await self._change(number, GOING, 0.0, "Running")
            await self._pace(number, count, seconds)
            try:
                text = await do(number)
            except TaskFailedError as error:
                self.failed.append(number)
                await self._log("error", "task-failed", {"message": str(error)}, number)
                await self._change(number, ERROR, 1.0, str(error))
            else:
                await self._change(number, SUCCESS, 1.0, text)

    async def _pace(self, number: int, count: int, seconds: float) -> None:
        if self.job.script.end == "stall" and number >= count // 2:
            await self._change(number, GOING, 0.5, "Running")
            await anyio.sleep_forever()
        for step in range(1, _STEPS + 1 if seconds else 1):
            await anyio.sleep(seconds / _STEPS)
            await self._change(number, GOING, step / _STEPS, "Running")

    async def _change(self, number: int, status: str, progress: float, text: str) -> None:
        now = self.service.clock.now()
        await self.service.record(TaskChanged(self.job.job_id, self.stage_id, number, status, progress, text, now))

    async def _log(self, severity: str, kind: str, payload: dict[str, object], task: int | None = None) -> None:
        now = self.service.clock.now()
        await self.service.record(JobLogged(self.job.job_id, now, severity, kind, payload, self.stage_id, task))

    @property
    def _of_videos(self) -> bool:
        return self.job.definition["type"] == "simple-video-processing-v1"
