"""How far an export is, in words: on one line, in the live view, and as remarks."""

from __future__ import annotations

from typing import Any

import pytest

from rfbulk.cli.lines import line_of
from rfbulk.cli.live import drawing
from rfbulk.cli.options import Globals
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.rows import rows_of_export
from rfbulk.cli.state import State
from rfbulk.core.export_report import ExportFailure
from rfbulk.core.exporting import FailReason
from rfbulk.events import (
    Event,
    ExportProgress,
    FetchRetried,
    PhaseChanged,
    RemoteFileNamed,
    TransferBegun,
)
from tests.support.events import CONNECTION

KIB = 1024


def progress(seconds: float = 10.0, **changes: object) -> ExportProgress:
    """An export half through: 50 of 100 files, none of them by earlier runs."""
    values = {
        "listing_finished": True,
        "files_listed": 100,
        "files_fetched": 50,
        "files_here": 0,
        "bytes_fetched": 50 * KIB,
        "bytes_received": 60 * KIB,
        "fetches_in_flight": 8,
        "concurrency": 8,
        "failures": 0,
    }
    return ExportProgress(seconds, **(values | changes))  # type: ignore[arg-type]  # each test's own


def after(*events: Event) -> State:
    state = State()
    for event in events:
        state.take(event)
    return state


def test_a_line_tells_files_bytes_rate_and_time_left() -> None:
    state = after(PhaseChanged("fetching"), progress(0.0, files_fetched=0, bytes_received=0), progress())
    numbers = "50 of 100 files, 50.0 KiB fetched, 6.0 KiB/s, about 10 s left, ± 5 s, 8 at once"
    assert line_of(state) == f"fetching: {numbers}"


def test_a_line_tells_what_is_unusual() -> None:
    line = line_of(after(PhaseChanged("fetching"), progress(files_here=20, retries={"store 503": 3}, failures=4)))
    assert line.endswith("20 by earlier runs, 3 retries (store 503 ×3), 4 failures")
    assert "70 of 100 files" in line


def test_a_total_that_still_grows_is_marked() -> None:
    line = line_of(after(PhaseChanged("fetching"), progress(listing_finished=False)))
    assert "50 of 100+ files" in line
    assert "so far about 10 s left" in line


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, 10.0),
        ({"files_fetched": 0}, None),
        ({"files_here": 50}, 0.0),
        ({"files_here": 40, "failures": 20}, 0.0),
        ({"rest_seconds": 5.0}, 15.0),
    ],
)
def test_the_time_left_comes_from_this_runs_files(changes: dict[str, Any], expected: float | None) -> None:
    forecast = after(progress(**changes)).forecast
    assert expected == (None if forecast is None else pytest.approx(forecast.seconds))


def test_the_live_view_has_a_row_for_all_that_is_known() -> None:
    known = progress(files_here=1, retries={"x": 1}, failures=1, waits={"answer": 2}, slowest=(CONNECTION,))
    state = after(TransferBegun("export", "results", ("/r",)), known)
    names = [row.name for row in rows_of_export(state, known)]
    assert names == [
        "files", "bytes", "rate", "at once", "waiting", "retries", "failures", "earlier", "slowest", "batch"
    ]  # fmt: skip
    assert drawing(after(PhaseChanged("fetching"), progress()), 80).renderables


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            FetchRetried(3, "a\x1b.jpg", "busy", "the store answered 503", 1.5),
            "a\\x1b.jpg and 2 more: busy, again in 1.5 s (the store answered 503)\n",
        ),
        (FetchRetried(1, "a.jpg", "broken", "reset", 0.5), "a.jpg: broken, again in 0.5 s (reset)\n"),
        (RemoteFileNamed(ExportFailure("", "", "a\n.jpg", FailReason.GONE)), "gone: a\\n.jpg\n"),
    ],
)
def test_remarks_are_said_if_asked_for_and_foreign_text_commands_no_terminal(
    capsys: pytest.CaptureFixture[str], event: Event, text: str
) -> None:
    for verbose, expected in ((0, ""), (1, text)):
        with progress_printer(Globals(verbose=verbose)) as on_event:
            on_event(event)
        assert capsys.readouterr().err == expected
