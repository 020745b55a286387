"""The state machine of waiting for a job, by its table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.confirming import RowKind
from rfbulk.core.job_stages import StageState
from rfbulk.core.job_watch import ABSENCE_SECONDS, ENDS, JobState, JobWatch, Look
from rfbulk.core.job_wire import Job

GOING = Job(job_id="j", current_stage="processing")
GOOD = Job(job_id="j", is_terminal=True)
BAD = Job(job_id="j", is_terminal=True, error=True, notification="out of memory")


def look(job: Job | None, *stages: StageState) -> Look:
    return Look(job=job, stages=stages, requests=2)


def stage(
    progress: float = 0.0, *, name: str = "processing", kind: RowKind = RowKind.PENDING, failed: int = 0
) -> StageState:
    reasons = {"bad image": failed} if failed else {}
    return StageState(
        stage_id=f"id-{name}", name=name, kind=kind, tasks=4, progress=progress, failed=failed, reasons=reasons
    )


@pytest.mark.parametrize(
    ("looks", "state"),
    [
        ([None], JobState.AWAITED),
        ([GOING], JobState.RUNNING),
        ([None, GOING], JobState.RUNNING),
        ([GOING, None], JobState.MISSING),
        ([GOING, None, GOING], JobState.RUNNING),
        ([GOING, GOOD], JobState.SUCCEEDED),
        ([GOOD], JobState.SUCCEEDED),
        ([GOING, None, GOOD], JobState.SUCCEEDED),
        ([GOING, BAD], JobState.FAILED),
        ([BAD, GOING], JobState.FAILED),
        ([GOOD, None], JobState.SUCCEEDED),
        ([Job(job_id="j", error=True)], JobState.RUNNING),
    ],
)
def test_each_series_of_looks_has_its_state(looks: list[Job | None], state: JobState) -> None:
    watch = JobWatch("j", 0.0)
    for number, job in enumerate(looks):
        watch.see(look(job), float(number))
    assert watch.state is state
    assert watch.is_over is (state in ENDS)


def test_a_job_that_was_never_there_is_gone_at_once_unless_it_was_just_started() -> None:
    watch = JobWatch("j", 0.0, is_new=False)
    watch.see(look(None), 0.0)
    assert watch.state is JobState.GONE


@pytest.mark.parametrize("first", [None, GOING])
def test_a_job_that_is_not_shown_for_long_is_gone(first: Job | None) -> None:
    watch = JobWatch("j", 0.0)
    watch.see(look(first), 0.0)
    watch.see(look(None), ABSENCE_SECONDS - 1)
    assert not watch.is_over
    watch.see(look(None), ABSENCE_SECONDS)
    assert watch.state is JobState.GONE


def test_a_notification_is_a_hint_and_no_proof() -> None:
    watch = JobWatch("j", 0.0)
    watch.see(look(GOING), 0.0)
    for number in range(10):
        watch.see(look(GOING), 100.0 * number)
    before = watch.waits(1000.0)[1]
    watch.notice()
    assert watch.state is JobState.RUNNING
    assert watch.waits(1000.0)[1] < before


def test_a_failed_job_says_why() -> None:
    watch = JobWatch("j", 0.0)
    watch.see(look(BAD, stage(1.0, kind=RowKind.ERROR, failed=3)), 5.0)
    report = watch.report(7.0)
    assert (report.state, report.succeeded, report.tasks_failed) == (JobState.FAILED, False, 3)
    assert report.reasons == ["processing: bad image (3 tasks)", "out of memory"]
    assert (report.wall_seconds, report.requests) == (7.0, 2)


def test_a_job_that_ended_well_still_names_what_failed_in_it() -> None:
    watch = JobWatch("j", 0.0)
    watch.see(look(GOOD, stage(1.0, kind=RowKind.SUCCESS, failed=1)), 5.0)
    report = watch.report(5.0)
    assert (report.succeeded, report.tasks_failed) == (True, 1)
    assert report.reasons == ["processing: bad image (1 tasks)"]


def test_the_time_left_is_told_from_the_progress_that_was_seen() -> None:
    """A job that was half done when the waiting began must not look twice as fast."""
    watch = JobWatch("j", 0.0)
    watch.see(look(GOING, stage(0.5)), 0.0)
    assert watch.seconds_left(0.0) is None
    watch.see(look(GOING, stage(0.6)), 10.0)
    assert watch.seconds_left(10.0) == pytest.approx(40.0)


def test_a_stage_that_is_over_has_no_time_left() -> None:
    watch = JobWatch("j", 0.0)
    watch.see(look(GOING, stage(1.0, kind=RowKind.SUCCESS)), 0.0)
    assert watch.seconds_left(10.0) is None


@given(st.lists(st.sampled_from([None, GOING, GOOD, BAD]), max_size=20))
def test_an_end_is_the_end(jobs: list[Job | None]) -> None:
    watch = JobWatch("j", 0.0)
    ended: JobState | None = None
    for number, job in enumerate(jobs):
        watch.see(look(job), 7.0 * number)
        ended = ended or (watch.state if watch.is_over else None)
    assert watch.state is (ended or watch.state)
