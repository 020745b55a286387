"""A whole run: upload, start of the job, waiting for it, export. Each step is safe to repeat, so the run is too.

No step is recorded as such: the upload and the export have their checkpoints, and whether the job was started is asked
of the service, whose answer is what counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.run_report import RunReport, Step, fault_of_batch
from rfbulk.events import RunStepped

if TYPE_CHECKING:
    import anyio

    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.job_watch import JobReport
    from rfbulk.core.report import UploadReport
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock


class Works(Protocol):
    """What a run is made of. Every call may be repeated after a crash, and then goes on where it was."""

    async def job_is_known(self) -> bool:
        """Tell whether the service knows the job already, and refuse another one under its id."""

    async def upload(self) -> UploadReport:
        """Bring the source into the batch, and wait until the service has confirmed it."""

    async def start_job(self) -> bool:
        """Start the job unless it has been started. True if it was started now."""

    async def wait_for_job(self, *, is_new: bool) -> JobReport:
        """Wait until the job has ended."""

    async def output_batches(self) -> Sequence[str]:
        """Find the batches with the job's results."""

    async def export(self, batch: str, *, is_only: bool) -> ExportReport:
        """Bring one of them home: into the target, or into a folder of its own there if it is not the only one."""


@dataclass(frozen=True, slots=True)
class FlowPorts:
    """Everything outside that a run needs."""

    works: Works
    clock: Clock
    tell: OnEvent
    reach: Callable[[Failpoint], None]


async def run_flow(ports: FlowPorts, report: RunReport, *, allow_incomplete: bool, stop: anyio.Event) -> RunReport:
    """Take all steps, filling in `report`; it says where the run ended. `stop` ends it between two steps at the latest.

    Errors come out as they are; `report` then tells how far the run had come.
    """
    began = ports.clock.monotonic()
    try:
        await _steps(ports, report, allow_incomplete, stop)
    finally:
        report.wall_seconds = ports.clock.monotonic() - began
    return report


async def _steps(ports: FlowPorts, report: RunReport, allow_incomplete: bool, stop: anyio.Event) -> None:
    works = ports.works
    is_known = await works.job_is_known()
    ports.reach(Failpoint.JOB_LOOKED_UP)
    is_new = False
    if not is_known:
        _step(ports, report, Step.UPLOAD)
        report.upload = await works.upload()
        report.stopped = (
            "interrupted" if stop.is_set() else fault_of_batch(report.upload, allow_incomplete=allow_incomplete)
        )
        if report.stopped:
            return
        ports.reach(Failpoint.BATCH_READY)
        _step(ports, report, Step.START)
        ports.reach(Failpoint.JOB_INTENDED)
        is_new = await works.start_job()
        ports.reach(Failpoint.JOB_STARTED)
    _step(ports, report, Step.WAIT)
    report.job = await works.wait_for_job(is_new=is_new)
    ports.reach(Failpoint.JOB_ENDED)
    report.stopped = "interrupted" if stop.is_set() else "" if report.job.succeeded else "the job failed"
    if not report.stopped:
        await _bring_home(ports, report, stop)


async def _bring_home(ports: FlowPorts, report: RunReport, stop: anyio.Event) -> None:
    _step(ports, report, Step.EXPORT)
    batches = await ports.works.output_batches()
    ports.reach(Failpoint.RESULTS_FOUND)
    for batch in batches:
        report.exports.append(await ports.works.export(batch, is_only=len(batches) == 1))
        if stop.is_set():
            report.stopped = "interrupted"
            return
    if any(export.left for export in report.exports):
        report.stopped = "files are still to be fetched"
        return
    _step(ports, report, Step.DONE)


def _step(ports: FlowPorts, report: RunReport, step: Step) -> None:
    report.step = step
    ports.tell(RunStepped(str(step)))
