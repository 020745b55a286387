"""Starting a job once, and waiting for it."""

from __future__ import annotations

from collections import deque

import anyio
import pytest

from rfbulk.core.job_watch import ABSENCE_SECONDS, JobReport, JobState
from rfbulk.core.job_wire import definition_body
from rfbulk.core.jobs import JobId, WorkflowJob
from rfbulk.core.notices import job_subject
from rfbulk.core.polling import LONGEST_WAIT
from rfbulk.errors import NotAuthorised, ServiceRefused, TroublePassing, UsageError, WaitTimeout
from rfbulk.events import Event, JobProgress
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.jobs import JobPorts, restart_job, start_job, watch_job
from tests.support.fakes import FakeClock
from tests.support.jobs import FakeJobs
from tests.support.world import POLICY

pytestmark = pytest.mark.anyio

JOB = JobId("j-1")
BODY = definition_body(WorkflowJob(batch_id="spring", workflow_id="detect"), "acme")
OTHER = definition_body(WorkflowJob(batch_id="summer", workflow_id="detect"), "acme")
LOST = TroublePassing("start", cause="no answer")


def service_of(**values: object) -> FakeJobs:
    return FakeJobs(FakeClock(), **values)  # type: ignore[arg-type]  # passed through


def ports_of(service: FakeJobs, events: list[Event] | None = None, bell: Bell | None = None) -> JobPorts:
    told = events if events is not None else []
    return JobPorts(service, service.clock, POLICY, told.append, bell or Bell())


async def start(service: FakeJobs, body: dict[str, object] = BODY) -> bool:
    return await service.clock.run(lambda: start_job(ports_of(service), JOB, body, None))


async def watch(service: FakeJobs, *, seconds: float = 86_400.0, is_new: bool = True) -> JobReport:
    return await service.clock.run(lambda: watch_job(ports_of(service), JOB, seconds=seconds, is_new=is_new))


# starting


async def test_a_job_is_started() -> None:
    service = service_of()
    assert await start(service)
    assert service.jobs[JOB].body == BODY


async def test_the_same_start_again_starts_nothing() -> None:
    service = service_of(fills_in={"maxParallelTasks": 3})
    assert await start(service)
    assert not await start(service)
    assert service.calls["create"] == 1


async def test_another_job_under_the_same_id_is_a_clear_error() -> None:
    service = service_of()
    await start(service, OTHER)
    with pytest.raises(UsageError, match=r"does something else.*another --job-id"):
        await start(service)
    assert service.calls["create"] == 1


async def test_a_lost_answer_is_resolved_by_asking() -> None:
    service = service_of()
    service.lost_answers["create"] = deque([LOST])
    assert not await start(service)
    assert (service.calls["create"], len(service.jobs)) == (1, 1)


async def test_a_job_that_is_never_shown_is_not_started_twice() -> None:
    """The second attempt is answered 409, and nobody can tell whose job that is."""
    service = service_of(shown_after=1e9)
    service.lost_answers["create"] = deque([LOST])
    with pytest.raises(ServiceRefused, match="409"):
        await start(service)
    assert len(service.jobs) == 1


async def test_a_job_that_came_between_is_seen_after_the_conflict() -> None:
    service = service_of()
    await start(service)
    shown, service.shown_after = service.shown_after, 1e9

    async def create_then_show(job: JobId, body: dict[str, object], name: str | None) -> None:
        service.shown_after = shown
        raise ServiceRefused("start", "job", status=409)

    service.create_job = create_then_show  # type: ignore[method-assign]  # the race, played
    assert not await start(service)


async def test_passing_troubles_are_outlived_and_each_attempt_looks_first() -> None:
    service = service_of()
    service.troubles["create"] = deque([TroublePassing("start", status=503), TroublePassing("start", status=500)])
    assert await start(service)
    assert (service.calls["job"], service.calls["create"]) == (3, 3)


async def test_too_many_requests_are_told_as_what_they_may_mean_and_not_repeated() -> None:
    service = service_of()
    service.troubles["create"] = deque([TroublePassing("start", status=429)] * 9)
    with pytest.raises(TroublePassing, match="out of credits") as raised:
        await start(service)
    assert (raised.value.status, service.calls["create"]) == (429, 1)


async def test_a_short_rest_that_the_service_asks_for_is_taken_once() -> None:
    service = service_of()
    service.troubles["create"] = deque([TroublePassing("start", status=429, retry_after=5.0)])
    assert await start(service)
    assert service.clock.now == 1005.0


async def test_a_rest_that_does_not_help_is_not_taken_twice() -> None:
    service = service_of()
    service.troubles["create"] = deque([TroublePassing("start", status=429, retry_after=5.0)] * 9)
    with pytest.raises(TroublePassing, match="out of credits"):
        await start(service)
    assert service.calls["create"] == 2


@pytest.mark.parametrize("retry_after", [61.0, 86_400.0])
async def test_a_long_rest_is_the_users_to_take(retry_after: float) -> None:
    service = service_of()
    service.troubles["create"] = deque([TroublePassing("start", status=429, retry_after=retry_after)])
    with pytest.raises(TroublePassing, match="out of credits"):
        await start(service)
    assert service.clock.now == 1000.0


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ServiceRefused("start", cause="bad workflow", status=400), "bad workflow .*nothing was started"),
        (ServiceRefused("start", cause="no batch", status=404), "are the batch and the workflow"),
        (NotAuthorised("start", cause="no plan"), "no plan"),
        (ServiceRefused("start", cause="teapot", status=418, advice="brew"), "teapot .brew"),
    ],
)
async def test_a_refusal_is_told_in_words_and_final(error: Exception, words: str) -> None:
    service = service_of()
    service.troubles["create"] = deque([error])
    with pytest.raises(type(error), match=words):
        await start(service)
    assert service.calls["create"] == 1


async def test_a_restart_whose_answer_was_lost_is_one_restart() -> None:
    service = service_of()
    await start(service)
    service.clock.now += 100.0
    service.lost_answers["restart"] = deque([LOST])
    await service.clock.run(lambda: restart_job(ports_of(service), service.restart, JOB, None))
    assert service.calls["restart"] == 1


# waiting


async def test_a_job_is_waited_for_to_its_end() -> None:
    service = service_of(failing=0)
    await start(service)
    report = await watch(service)
    assert (report.state, report.tasks_failed) == (JobState.SUCCEEDED, 0)
    assert [(stage.name, stage.succeeded) for stage in report.stages] == [("processing", 4), ("export", 1)]
    assert report.stages[1].output_batches == ("j-1-export",)
    assert 1020.0 <= service.clock.now < 1060.0


async def test_a_failed_job_is_a_finding_with_its_reasons() -> None:
    service = service_of(failing=3, fails=True)
    await start(service)
    report = await watch(service)
    assert (report.state, report.succeeded) == (JobState.FAILED, False)
    assert report.reasons == ["processing: bad image (3 tasks)", "out of memory"]


async def test_a_failed_job_whose_tasks_say_nothing_is_explained_by_its_log() -> None:
    service = service_of(fails=True, says="", log=["no disk", "no disk"])
    await start(service)
    assert (await watch(service)).reasons == ["no disk"]


async def test_tasks_are_counted_over_all_pages() -> None:
    service = service_of(tasks=25, failing=5, page_size=4)
    await start(service)
    report = await watch(service)
    assert (report.stages[0].tasks, report.stages[0].succeeded, report.tasks_failed) == (25, 20, 5)


async def test_progress_is_told_while_it_goes_on() -> None:
    service = service_of(seconds=100.0)
    events: list[Event] = []
    await start(service)
    await service.clock.run(lambda: watch_job(ports_of(service, events), JOB, seconds=1e6, is_new=True))
    told = [event for event in events if isinstance(event, JobProgress)]
    assert [event.progress for event in told if event.stage_number == 1] == sorted(
        event.progress for event in told if event.stage_number == 1
    )
    middle = next(event for event in told if event.stage_number == 1 and event.progress > 0.5)
    assert (middle.stage, middle.stages, middle.tasks, middle.tasks_running) == ("processing", 2, 4, 4)
    assert middle.seconds_left == pytest.approx(100.0 * (1 - middle.progress), rel=0.01)
    assert told[-1].state == "succeeded"


async def test_an_unknown_status_of_a_stage_is_tolerated() -> None:
    service = service_of(stage_types={"processing": "quantum-superposition"})
    await start(service)
    assert (await watch(service)).succeeded


async def test_passing_troubles_do_not_end_the_waiting() -> None:
    service = service_of()
    await start(service)
    service.troubles = {name: deque([TroublePassing(name, status=503)]) for name in ("job", "stages", "tasks")}
    assert (await watch(service)).succeeded


async def test_a_deadline_ends_the_waiting_and_says_how_far_the_job_is() -> None:
    service = service_of(seconds=1000.0)
    await start(service)
    with pytest.raises(WaitTimeout, match="after 60 s it is running in stage processing, 0 of 4 tasks done"):
        await watch(service, seconds=60.0)
    assert service.clock.now == pytest.approx(1060.0, abs=0.1)


async def test_a_new_job_may_be_shown_late() -> None:
    service = service_of(shown_after=5.0)
    await start(service)
    assert (await watch(service)).succeeded


async def test_an_unknown_job_is_told_at_once() -> None:
    service = service_of()
    with pytest.raises(UsageError, match="does not know it"):
        await watch(service, is_new=False)
    assert service.calls["job"] == 1


async def test_a_job_that_vanishes_is_told() -> None:
    service = service_of(seconds=1e6, hidden_from=1500.0)
    await start(service)
    with pytest.raises(ServiceRefused, match="does not show it any more"):
        await watch(service)
    assert service.clock.now >= 1500.0 + ABSENCE_SECONDS - LONGEST_WAIT


@pytest.mark.parametrize("tasks", [1, 300])
async def test_six_hours_of_waiting_stay_under_one_request_in_two_seconds(tasks: int) -> None:
    service = service_of(seconds=3 * 3600.0, tasks=tasks)
    await start(service)
    before = len(service.asked_at)
    report = await watch(service)
    made = len(service.asked_at) - before
    assert made == report.requests
    assert made < 0.5 * 6 * 3600
    assert report.succeeded


async def test_a_notification_ends_the_rest_and_the_service_is_asked() -> None:
    """The job ended long ago for the notification, but what counts is what the service shows."""
    service = service_of(seconds=5000.0)
    bell, clock = Bell(), service.clock
    await start(service)

    async def both() -> JobReport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ring_when_over)
            report = await watch_job(ports_of(service, None, bell), JOB, seconds=1e6, is_new=True)
        assert report.succeeded
        return report

    async def ring_when_over() -> None:
        await clock.sleep(4000.0)
        bell.ring(job_subject(JOB))  # untrue
        await clock.sleep(6000.5)
        bell.ring(job_subject("another"))
        bell.ring(job_subject(JOB))

    await clock.run(both)
    assert service.asked_at[-1] == pytest.approx(11_000.5, abs=0.01)


async def test_notifications_without_end_do_not_hurry_beyond_the_manners() -> None:
    service = service_of(seconds=3600.0)
    bell, clock = Bell(), service.clock
    await start(service)

    async def both() -> JobReport:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ring_for_ever)
            report = await watch_job(ports_of(service, None, bell), JOB, seconds=1e6, is_new=True)
            tasks.cancel_scope.cancel()
        return report

    async def ring_for_ever() -> None:
        while True:
            bell.ring(job_subject(JOB))
            await clock.sleep(1.0)

    await clock.run(both)
    assert len(service.asked_at) < 0.5 * 7200
