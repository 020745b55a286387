"""What stages and tasks come to."""

from __future__ import annotations

import pytest

from rfbulk.core.confirming import RowKind
from rfbulk.core.job_stages import TaskTally, current_stage, failure_reasons, log_reasons, output_batches
from rfbulk.core.job_wire import Job, JobLog, Stage, Task

PROCESSING = Stage(stage_id="p1", name="processing", tasks=4, output_batches=("results",), status_type="info")
EXPORT = Stage(stage_id="e1", name="export", tasks=1, output_batches=("archives",), status_type="info")


def task(status: str, progress: float | None = None, notification: str = "") -> Task:
    return Task(task_id="t", status_type=status, progress=progress, notification=notification)


def test_tasks_are_counted_over_pages() -> None:
    tally = TaskTally()
    tally.add([task("success", 1.0), task("error", 0.5, "bad")])
    tally.add([task("info", 0.5), task("info")])
    state = tally.state_of(PROCESSING)
    assert (state.tasks, state.registered, state.succeeded, state.failed, state.running) == (4, 3, 1, 1, 1)
    assert state.progress == pytest.approx(2.5 / 4)
    assert state.reasons == {"bad": 1}


def test_tasks_that_are_not_listed_yet_have_no_progress() -> None:
    tally = TaskTally()
    tally.add([task("success", 1.0)])
    assert tally.state_of(PROCESSING).progress == 0.25


def test_more_tasks_than_were_announced_count() -> None:
    tally = TaskTally()
    tally.add([task("success")] * 9)
    assert (tally.state_of(PROCESSING).tasks, tally.state_of(PROCESSING).progress) == (9, 1.0)


def test_an_unknown_status_is_still_going() -> None:
    tally = TaskTally()
    tally.add([task("quantum", 0.5)])
    assert tally.state_of(Stage(stage_id="x", status_type="quantum")).kind is RowKind.PENDING
    assert tally.state_of(PROCESSING).running == 1


def test_equal_reasons_are_told_once_with_their_number() -> None:
    tally = TaskTally()
    tally.add([task("error", None, "bad image")] * 3 + [task("error", None, "no memory")] * 5 + [task("error")])
    state = tally.state_of(PROCESSING)
    assert failure_reasons(Job(job_id="j"), [state]) == [
        "processing: no memory (5 tasks)",
        "processing: bad image (3 tasks)",
        "processing: no reason given (1 tasks)",
    ]


def test_reasons_are_bounded_and_safe_to_show() -> None:
    tally = TaskTally()
    tally.add([task("error", None, f"{number} https://store.example/x?sig=c4n4ry\n") for number in range(1000)])
    reasons = failure_reasons(Job(job_id="j"), [tally.state_of(PROCESSING)])
    assert len(reasons) == 20
    assert not any("c4n4ry" in reason or "\n" in reason for reason in reasons)


def test_the_stage_to_look_at_is_the_one_the_job_is_in() -> None:
    empty = TaskTally()
    processing, export = empty.state_of(PROCESSING), empty.state_of(EXPORT)
    assert current_stage(Job(job_id="j", current_stage="export"), [processing, export]) == export
    assert current_stage(Job(job_id="j", current_stage="e1"), [processing, export]) == export
    assert current_stage(Job(job_id="j"), [processing, export]) == processing
    assert current_stage(Job(job_id="j"), []) is None


@pytest.mark.parametrize(
    ("stages", "wanted", "batches"),
    [
        ([PROCESSING, EXPORT], None, ("archives",)),
        ([PROCESSING, EXPORT], "processing", ("results",)),
        ([PROCESSING, EXPORT], "Export", ("archives",)),
        ([PROCESSING, EXPORT], "p1", ("results",)),
        ([PROCESSING], None, ("results",)),
        ([PROCESSING], "export", None),
        ([PROCESSING, Stage(stage_id="e1", name="export")], None, None),
        ([], None, None),
    ],
)
def test_results_are_in_the_batch_of_the_export_stage_or_of_the_one_that_is_named(
    stages: list[Stage], wanted: str | None, batches: tuple[str, ...] | None
) -> None:
    assert output_batches(stages, wanted) == batches


def test_a_log_of_errors_gives_each_reason_once_and_safe_to_show() -> None:
    lines = [
        JobLog(severity="error", module="worker", log_type="crash", payload={"message": "no memory\x1b"}),
        JobLog(severity="error", module="worker", log_type="crash", payload={"message": "no memory\x1b"}),
        JobLog(severity="error", payload={"code": 3}),
    ]
    assert log_reasons(lines) == ["worker crash: no memory\\x1b", '{"code":3}']


def test_where_nothing_gives_a_reason_that_is_said() -> None:
    assert log_reasons([]) == ["the service gives no reason"]
