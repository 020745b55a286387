"""A whole run over fakes: each step once, whatever it was stopped by, and no job on an incomplete batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import anyio
import pytest

from rfbulk.core.export_report import ExportReport
from rfbulk.core.failpoints import OF_RUNS, Failpoint
from rfbulk.core.job_watch import JobReport, JobState
from rfbulk.core.report import UploadReport
from rfbulk.core.run_report import RunReport, Step
from rfbulk.errors import TroublePassing
from rfbulk.events import Event, RunStepped
from rfbulk.pipeline.flow import FlowPorts, run_flow
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio


class Killed(Exception):
    """The process died here."""


@dataclass
class FakeWorks:
    """A service and a disk that keep what was done, however often the run is begun."""

    uploaded: UploadReport = field(
        default_factory=lambda: UploadReport(batch_id="b", planned=3, sent=3, is_confirmed=True)
    )
    end: JobState = JobState.SUCCEEDED
    batches: Sequence[str] = ("results",)
    left: int = 0
    started: int = 0
    calls: list[str] = field(default_factory=list)
    exported: list[tuple[str, bool]] = field(default_factory=list)
    stop_in: str = ""
    fail_in: str = ""
    stop: anyio.Event = field(default_factory=anyio.Event)

    def _at(self, name: str) -> None:
        self.calls.append(name)
        if self.stop_in == name:
            self.stop.set()
        if self.fail_in == name:
            self.fail_in = ""
            raise TroublePassing(name)

    async def job_is_known(self) -> bool:
        self._at("look")
        return self.started > 0

    async def upload(self) -> UploadReport:
        self._at("upload")
        return self.uploaded

    async def start_job(self) -> bool:
        self._at("start")
        is_new = not self.started
        self.started += is_new
        return is_new

    async def wait_for_job(self, *, is_new: bool) -> JobReport:
        self._at(f"wait{'-new' if is_new else ''}")
        return JobReport(job_id="j", state=self.end)

    async def output_batches(self) -> Sequence[str]:
        self._at("find")
        return self.batches

    async def export(self, batch: str, *, is_only: bool) -> ExportReport:
        self._at("export")
        self.exported.append((batch, is_only))
        return ExportReport(batch_id=batch, target="t", listed=2, fetched=2 - self.left, left=self.left)


async def run(
    works: FakeWorks, *, allow_incomplete: bool = False, die_at: Failpoint | None = None
) -> tuple[RunReport, list[str]]:
    events: list[Event] = []

    def reach(failpoint: Failpoint) -> None:
        if failpoint is die_at:
            raise Killed

    report = RunReport(batch_id="b", job_id="j", target="t")
    ports = FlowPorts(works, FakeClock(), events.append, reach)
    await run_flow(ports, report, allow_incomplete=allow_incomplete, stop=works.stop)
    return report, [event.step for event in events if isinstance(event, RunStepped)]


async def test_a_run_takes_all_steps_in_their_order() -> None:
    works = FakeWorks()
    report, steps = await run(works)
    assert works.calls == ["look", "upload", "start", "wait-new", "find", "export"]
    assert steps == ["upload", "start", "wait", "export", "done"]
    assert (report.is_done, report.stopped, report.has_failures) == (True, "", False)
    assert works.exported == [("results", True)]


async def test_once_the_job_has_been_started_nothing_is_added_to_its_batch() -> None:
    works = FakeWorks(started=1)
    report, _ = await run(works)
    assert works.calls == ["look", "wait", "find", "export"]
    assert (report.is_done, report.upload) == (True, None)


@pytest.mark.parametrize("failpoint", sorted(OF_RUNS))
async def test_a_run_that_died_anywhere_goes_on_to_one_job(failpoint: Failpoint) -> None:
    works = FakeWorks()
    with pytest.raises(Killed):
        await run(works, die_at=failpoint)
    report, _ = await run(works)
    assert (report.is_done, works.started) == (True, 1)


@pytest.mark.parametrize("call", ["look", "upload", "start", "wait-new", "find", "export"])
async def test_an_error_in_any_step_leaves_a_run_that_goes_on(call: str) -> None:
    works = FakeWorks(fail_in=call)
    with pytest.raises(TroublePassing):
        await run(works)
    report, _ = await run(works)
    assert (report.is_done, works.started) == (True, 1)


@pytest.mark.parametrize("allow_incomplete", [False, True])
async def test_no_job_starts_on_an_incomplete_batch_unless_that_is_allowed(allow_incomplete: bool) -> None:
    works = FakeWorks(UploadReport(batch_id="b", planned=3, sent=2, failed=1, is_confirmed=True))
    report, _ = await run(works, allow_incomplete=allow_incomplete)
    assert (works.started, report.is_done) == (int(allow_incomplete), allow_incomplete)
    if not allow_incomplete:
        assert report.step is Step.UPLOAD
        assert report.stopped.startswith("the batch is incomplete")


async def test_nothing_is_exported_of_a_failed_job() -> None:
    works = FakeWorks(end=JobState.FAILED)
    report, _ = await run(works)
    assert (report.step, report.stopped, works.exported) == (Step.WAIT, "the job failed", [])


async def test_several_batches_of_results_come_into_folders_of_their_own() -> None:
    works = FakeWorks(batches=("one", "two"))
    report, _ = await run(works)
    assert works.exported == [("one", False), ("two", False)]
    assert report.is_done


async def test_files_that_are_left_keep_the_run_from_being_done() -> None:
    report, _ = await run(FakeWorks(left=1))
    assert (report.step, report.stopped) == (Step.EXPORT, "files are still to be fetched")


@pytest.mark.parametrize(("call", "step"), [("upload", Step.UPLOAD), ("wait-new", Step.WAIT), ("export", Step.EXPORT)])
async def test_a_stop_ends_the_run_behind_the_step_it_came_in(call: str, step: Step) -> None:
    works = FakeWorks(stop_in=call)
    report, _ = await run(works)
    assert (report.step, report.stopped, works.calls[-1]) == (step, "interrupted", call)
