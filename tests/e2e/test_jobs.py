"""Jobs by the library, against a service that really runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import rfbulk
from rfbulk import Client, Overrides, WorkflowJob
from rfbulk.core.job_watch import JobState
from rfbulk.core.job_wire import JobLog, Task
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript
from rfbulk.emulator.images import sample_image
from rfbulk.errors import ServiceRefused, TroublePassing, UsageError
from rfbulk.events import Event, JobProgress
from tests.crash.commands import KEY

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
IMAGES = 12
JOB = WorkflowJob(batch_id="spring", workflow_id="detect")


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, page_size=2, jobs=JobOptions(task_files=3))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / f"{number:03}.png").write_bytes(sample_image(number))
    return folder


@pytest.fixture
async def filled(client: Client, images: Path) -> Client:
    await client.upload_images(images, "spring", options=rfbulk.UploadOptions(quiet_seconds=0.1))
    return client


@pytest.fixture(autouse=True)
async def _all_scripts_are_played(emulator: Emulator) -> AsyncIterator[None]:
    yield
    assert emulator.unplayed_scripts() == []


# the library


async def test_a_job_runs_to_its_end_and_tells_how_far_it_is(filled: Client, emulator: Emulator) -> None:
    emulator.script_jobs(JobScript(seconds=1.0))
    events: list[Event] = []
    started = await filled.start_job(JOB, name="May")
    report = await filled.wait_for_job(started.job_id, is_new=started.is_new, on_event=events.append)
    assert (report.state, report.name, report.tasks_failed) == (JobState.SUCCEEDED, "May", 0)
    assert (report.stages[0].name, report.stages[0].tasks, report.stages[0].succeeded) == ("processing", 4, 4)
    told = [event for event in events if isinstance(event, JobProgress)]
    assert any(0 < event.progress < 1 for event in told)
    (batch,) = await filled.output_batches(started.job_id)
    assert batch in {name for stage in report.stages for name in stage.output_batches if stage.name == "export"}


async def test_a_start_said_twice_is_one_job(filled: Client, emulator: Emulator) -> None:
    first, again = await filled.start_job(JOB), await filled.start_job(JOB)
    assert (first.job_id, first.is_new, again.is_new) == (again.job_id, True, False)
    assert emulator.requests["start"] == 1


@pytest.mark.parametrize("fault", ["start:swallow", "start:status=503", "start:reset"])
async def test_a_start_whose_answer_is_lost_is_one_job(filled: Client, emulator: Emulator, fault: str) -> None:
    emulator.faults.add(fault)
    started = await filled.start_job(JOB)
    found: list[str] = []
    await filled.each_job(lambda job: found.append(job.job_id))
    assert found == [started.job_id]


async def test_another_job_under_one_id_is_refused(filled: Client) -> None:
    await filled.start_job(JOB, job_id="mine")
    with pytest.raises(UsageError, match="does something else"):
        await filled.start_job(WorkflowJob(batch_id="spring", workflow_id="segment"), job_id="mine")


async def test_a_job_that_the_service_will_not_have_is_told_in_its_words(filled: Client) -> None:
    with pytest.raises(ServiceRefused, match="absent"):
        await filled.start_job(WorkflowJob(batch_id="absent", workflow_id="detect"))


async def test_failed_tasks_are_told_with_their_reasons_and_the_log(filled: Client, emulator: Emulator) -> None:
    emulator.script_jobs(JobScript(fail_tasks=2))
    started = await filled.start_job(JOB)
    report = await filled.wait_for_job(started.job_id, is_new=True)
    assert (report.state, report.tasks_failed) == (JobState.FAILED, 2)
    assert "(2 tasks)" in report.reasons[0]
    tasks: list[Task] = []
    await filled.each_task(started.job_id, "processing", tasks.append)
    assert [task.status_type for task in tasks].count("error") == 2
    lines: list[JobLog] = []
    await filled.each_log(started.job_id, lines.append, severity="error")
    assert lines
    assert {line.severity for line in lines} == {"error"}


async def test_a_failed_job_is_restarted_with_other_values(filled: Client, emulator: Emulator) -> None:
    emulator.script_jobs(JobScript(end="fail"), JobScript())
    started = await filled.start_job(JOB)
    assert not (await filled.wait_for_job(started.job_id, is_new=True)).succeeded
    await filled.restart_job(started.job_id, Overrides(machine="gpu", max_parallel_tasks=2))
    assert (await filled.wait_for_job(started.job_id)).succeeded
    job = await filled.job(started.job_id)
    assert job is not None
    assert "gpu" in str(job.overrides)


async def test_an_aborted_job_has_failed(filled: Client, emulator: Emulator) -> None:
    emulator.script_jobs(JobScript(seconds=60.0))
    started = await filled.start_job(JOB)
    await filled.abort_job(started.job_id)
    assert (await filled.wait_for_job(started.job_id)).state is JobState.FAILED


async def test_troubles_of_the_service_do_not_end_the_waiting(filled: Client, emulator: Emulator) -> None:
    started = await filled.start_job(JOB)
    emulator.faults.add("job:status=503,times=2", "stages:reset", "tasks:status=500", "tasks:swallow")
    assert (await filled.wait_for_job(started.job_id, is_new=True)).succeeded


async def test_waiting_is_called_off_at_any_time(filled: Client, emulator: Emulator) -> None:
    emulator.script_jobs(JobScript(end="stall"))
    started = await filled.start_job(JOB)
    with anyio.move_on_after(0.3) as scope:
        await filled.wait_for_job(started.job_id, is_new=True)
    assert scope.cancelled_caught


@pytest.mark.parametrize("options", [EmulatorOptions(api_key=KEY, jobs=JobOptions(out_of_credits=True))])
async def test_429_on_a_start_is_told_as_what_it_may_be(filled: Client, emulator: Emulator) -> None:
    with pytest.raises(TroublePassing, match="out of credits"):
        await filled.start_job(JOB)
    assert emulator.requests["start"] <= 2


async def test_what_there_is_not_is_told(client: Client) -> None:
    assert await client.job("nobody") is None
    for call in (client.stages("nobody"), client.wait_for_job("nobody"), client.each_log("nobody", print)):
        with pytest.raises(UsageError, match="does not know it"):
            await call
