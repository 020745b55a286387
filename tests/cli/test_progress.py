from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.cli.lines import line_of
from rfbulk.cli.options import Globals
from rfbulk.cli.progress import PLAIN_SECONDS, PlainView, _view, progress_printer
from rfbulk.cli.state import VISIBLE, State
from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure
from rfbulk.errors import UsageError
from rfbulk.events import (
    AuditProgress,
    ConfirmProgress,
    Event,
    ExportProgress,
    FileNamed,
    JobProgress,
    PhaseChanged,
    RequestRetried,
    RunStepped,
    ShardRetried,
    TransferBegun,
    UploadProgress,
    Warned,
)
from tests.support.events import EXAMPLES

KIB = 1024


def progress(seconds: float = 10.0, **changes: object) -> UploadProgress:
    """An upload half through: 50 of 100 images, none of them by earlier runs."""
    values = {
        "scan_finished": True,
        "images_planned": 100,
        "images_sent": 50,
        "images_before": 0,
        "bytes_planned": 100 * KIB,
        "bytes_sent": 50 * KIB,
        "bytes_before": 0,
        "bytes_in_flight": 0,
        "bytes_on_the_wire": 60 * KIB,
        "shards_planned": 10,
        "shards_sent": 5,
        "shards_in_flight": 2,
        "concurrency": 4,
        "failures": 0,
        "skipped": 0,
    }
    return UploadProgress(seconds, **(values | changes))  # type: ignore[arg-type]  # each test's own


def after(*events: Event) -> State:
    state = State()
    for event in events:
        state.take(event)
    return state


def seconds_left(state: State) -> float | None:
    return None if state.forecast is None else state.forecast.seconds


def test_the_time_left_comes_from_what_this_run_has_done_alone() -> None:
    """On resume, what earlier runs sent took none of this run's seconds."""
    assert seconds_left(after(progress(10.0))) == pytest.approx(10.0)
    resumed = progress(10.0, images_before=40, bytes_before=40 * KIB)
    assert seconds_left(after(resumed)) == pytest.approx(50.0)


@pytest.mark.parametrize(
    "changes",
    [
        {"bytes_sent": 0},
        {"bytes_sent": 50 * KIB, "bytes_before": 50 * KIB},
        {"seconds": 0.0},
    ],
)
def test_no_time_left_is_told_before_it_can_be_known(changes: dict[str, object]) -> None:
    assert after(progress(**changes)).forecast is None  # type: ignore[arg-type]  # names of fields
    assert " left" not in line_of(after(progress(**changes)))  # type: ignore[arg-type]  # names of fields


def test_the_rate_is_that_of_the_last_seconds_and_a_stall_shows() -> None:
    events = [progress(float(second), bytes_on_the_wire=second * 100 * KIB) for second in range(31)]
    assert after(*events).rate == 100 * KIB
    stalled = [progress(30.0 + second, bytes_on_the_wire=3000 * KIB) for second in range(1, 12)]
    assert after(*events, *stalled).rate == 0.0


def test_the_rate_of_a_resumed_run_has_nothing_of_earlier_ones() -> None:
    first = progress(0.0, bytes_before=40 * KIB, bytes_sent=40 * KIB, bytes_on_the_wire=0)
    second = progress(2.0, bytes_before=40 * KIB, bytes_sent=50 * KIB, bytes_on_the_wire=10 * KIB)
    assert after(first, second).rate == 5 * KIB


def test_tars_in_flight_never_make_more_than_all() -> None:
    """A tar of small images is several times as large as they are."""
    state = after(progress(bytes_sent=0, bytes_in_flight=700 * KIB))
    assert state.bytes_done == 100 * KIB
    assert seconds_left(state) == 0.0
    assert "100.0 KiB of 100.0 KiB" in line_of(state)


@given(
    st.floats(0, 1e9),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.integers(0, 2**62),
    st.booleans(),
)
def test_no_numbers_break_the_line(
    seconds: float, planned: int, sent: int, before: int, in_flight: int, scan_finished: bool
) -> None:
    numbers = {"bytes_planned": planned, "bytes_sent": sent, "bytes_before": before, "bytes_in_flight": in_flight}
    state = after(progress(0.0), progress(seconds, scan_finished=scan_finished, **numbers))
    assert line_of(state).startswith("scanning: 50 of 100")
    assert state.rate >= 0
    assert state.forecast is None or state.forecast.least >= 0


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], "scanning"),
        ([PhaseChanged("confirming")], "waiting for the service to index"),
        (
            [PhaseChanged("confirming"), ConfirmProgress(1500, 2000, 3)],
            "waiting for the service to index: 1,500 of 2,000 counted, 3 shards pending",
        ),
        (
            [PhaseChanged("sending"), progress()],
            (
                "sending: 50 of 100 images, 50.0 KiB of 100.0 KiB, 5 of 10 shards, 6.0 KiB/s,"
                " about 10 s left, ± 5 s, 2 at once"
            ),
        ),
        (
            [PhaseChanged("sending"), progress(scan_finished=False, images_before=7, retries={"store 503": 2, "x": 1})],
            (
                "sending: 50 of 100+ images, 50.0 KiB of 100.0 KiB+, 5 of 10+ shards, 6.0 KiB/s,"
                " so far about 10 s left, ± 5 s, 2 at once, 7 by earlier runs, 3 retries (store 503 ×2, x ×1)"
            ),
        ),
        (
            [PhaseChanged("stopping"), progress(failures=1200, reasons={"empty": 1200}, rest_seconds=7.0)],
            (
                "stopping: 50 of 100 images, 50.0 KiB of 100.0 KiB, 5 of 10 shards, 6.0 KiB/s, about 15 s left, ± 5 s, "
                "2 at once, all rest 7 s, as asked, 1,200 failures (empty ×1,200)"
            ),
        ),
    ],
)
def test_the_line_tells_where_it_stands(events: list[Event], expected: str) -> None:
    assert expected == line_of(after(*events))


def test_a_plain_line_comes_every_half_minute(capsys: pytest.CaptureFixture[str]) -> None:
    now = 1000.0
    view = PlainView(lambda: now)
    lines = []
    for tick in range(1, 181):  # a minute and a half, told of twice a second
        now = 1000.0 + tick / 2
        view.show(after(PhaseChanged("sending"), progress(tick / 2)))
        if capsys.readouterr().err:
            lines.append(tick / 2)
    assert lines == [PLAIN_SECONDS, 2 * PLAIN_SECONDS, 3 * PLAIN_SECONDS]


REMARKS: list[tuple[Event, str, int]] = [
    (Warned("the batch\x1b[2J exists"), "warning: the batch\\x1b[2J exists\n", 0),
    (PhaseChanged("stopping"), "stopping: what is in flight may finish; once more stops at once\n", 0),
    (ShardRetried(4, "store 503", "busy\n", 1.25), "shard 4: store 503, again in 1.2 s (busy\\n)\n", 1),
    (RequestRetried("count", "503", 2.0), "count: 503, again in 2.0 s\n", 1),
    (FileNamed(Failure("a\n.jpg", "", RefusalReason.EMPTY)), "empty: a\\n.jpg\n", 1),
    (PhaseChanged("sending"), "", 0),
]


@pytest.mark.parametrize(("event", "expected", "verbosity"), REMARKS)
@pytest.mark.parametrize("quiet", [False, True])
def test_remarks_are_said_as_asked_for_and_foreign_text_commands_no_terminal(
    event: Event, expected: str, verbosity: int, *, quiet: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_printer(Globals(quiet=quiet, verbose=verbosity)) as on_event:
        on_event(event)
    assert capsys.readouterr() == ("", expected)


def test_retries_are_told_only_to_who_asks(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_printer(Globals()) as on_event:
        for event, _, verbosity in REMARKS:
            if verbosity:
                on_event(event)
    assert capsys.readouterr() == ("", "")


def test_a_log_file_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"open the log file .*No such file"),
        progress_printer(Globals(log_file=tmp_path / "no" / "where")),
    ):
        pass


JOB = JobProgress("j-1", "running", "processing", 1, 2, 40, 9, 0, 4, 0.25, None)


def test_a_job_is_shown_by_its_stage_and_tasks() -> None:
    assert line_of(after(JOB)) == "job j-1: running, processing (1 of 2): 9 of 40 tasks, 4 running, 25%"


def test_failed_tasks_and_the_time_left_are_shown_where_there_are_any() -> None:
    job = JobProgress("j-1", "running", "export", 2, 2, 4, 3, 1, 0, 0.75, 200.0)
    assert line_of(after(job)) == (
        "job j-1: running, export (2 of 2): 3 of 4 tasks, 1 failed, 0 running, 75%, 3 min 20 s left in this stage"
    )


def test_a_job_that_has_no_stage_yet_is_shown_by_its_state() -> None:
    assert line_of(after(JobProgress("j-1", "awaited", "", 0, 0, 0, 0, 0, 0, 0.0, None))) == "job j-1: awaited"


def test_what_comes_after_a_job_is_shown_in_its_place() -> None:
    assert line_of(after(JOB, PhaseChanged("scanning"))) == "scanning"


def test_what_a_step_of_a_run_does_is_shown_with_it() -> None:
    assert line_of(after(RunStepped("wait"), JOB)).startswith("wait: job j-1: running")
    assert line_of(after(RunStepped("upload"), PhaseChanged("sending"))) == "upload: looking at the batch"
    assert line_of(after(PhaseChanged("done"), RunStepped("export"))) == "export: looking for the results"


def test_the_numbers_of_a_transfer_that_has_ended_are_not_shown_of_the_next() -> None:
    export = ExportProgress(4.0, False, 10, 2, 0, 2048, 4096, 1, 8, 0)
    state = after(progress(), TransferBegun("export", "results", ("/r",)), PhaseChanged("fetching"), export)
    numbers = "2 of 10+ files, 2.0 KiB fetched, 1.0 KiB/s, so far about 15 s left, ± 5 s, 1 at once"
    assert line_of(state) == f"fetching: {numbers}"
    assert state.average == 1024.0
    state.take(TransferBegun("upload", "spring", ()))
    assert (state.progress, state.export, state.rate, state.average, state.forecast) == (None, None, 0.0, 0.0, None)


def test_an_audit_is_shown() -> None:
    assert line_of(after(AuditProgress(1.0, 10, 9, 8, 0, 0))) == (
        "comparing: 10 listed, 9 sent, 8 in the source, 0 differences"
    )


@pytest.mark.parametrize("term", ["dumb", "unknown"])
def test_a_terminal_that_cannot_redraw_gets_plain_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr("sys.stderr", Terminal())
    with _view(Globals()) as view:
        assert isinstance(view, PlainView)
    monkeypatch.setenv("TERM", "xterm")
    with _view(Globals()) as view:
        assert not isinstance(view, PlainView)


class Terminal(io.StringIO):
    """A terminal, as far as anybody can tell."""

    def isatty(self) -> bool:
        return True


def test_only_events_that_change_the_view_draw_it() -> None:
    """Shards change dozens of times a second; the next progress tells what they came to."""
    shown = {type(event).__name__ for event in EXAMPLES if type(event) in VISIBLE}
    assert "ShardChanged" not in shown
    assert {"UploadProgress", "ExportProgress", "PhaseChanged", "JobProgress"} <= shown
