from __future__ import annotations

import io
import itertools
import re
import sys
from typing import IO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from rich.cells import cell_len
from rich.console import Console

from rfbulk.cli.live import DRAW_SECONDS, LiveView, drawing
from rfbulk.cli.state import State
from rfbulk.events import (
    AuditProgress,
    ConfirmProgress,
    Connection,
    Event,
    ExportProgress,
    IngestProgress,
    JobProgress,
    PhaseChanged,
    RunStepped,
    TransferBegun,
    UploadProgress,
)

MIB = 1 << 20
SENDING = UploadProgress(
    seconds=100.0,
    scan_finished=True,
    images_planned=1_000_000,
    images_sent=250_000,
    images_before=50_000,
    bytes_planned=4000 * MIB,
    bytes_sent=1000 * MIB,
    bytes_before=200 * MIB,
    bytes_in_flight=0,
    bytes_on_the_wire=900 * MIB,
    shards_planned=2000,
    shards_sent=500,
    shards_in_flight=8,
    concurrency=8,
    failures=1234,
    skipped=0,
    retries={"connection": 3, "store 503": 12, "hash differs": 1},
)
SCANNING = UploadProgress(0.0, False, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0)


def drawn(*events: Event, width: int = 80, height: int = 60) -> list[str]:
    """What stands on a terminal without colours, line by line."""
    console = Console(
        record=True, file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
    )
    state = State()
    for event in events:
        state.take(event)
    console.print(drawing(state, width, height))
    return [line.rstrip() for line in console.export_text().splitlines()]


BEGIN = TransferBegun("upload", "spring", ("/photos",))
SLOW = (
    Connection(17, "", 500, 2, 20 * MIB, 50 * MIB, 32.0, 0.625 * MIB),
    Connection(19, "非常に長い名前" * 9 + ".mp4", 1, 1, 9 * MIB, 50 * MIB, 9.0, MIB),
    Connection(3, "", 500, 1, 9 * MIB, 0, 3.0, 3 * MIB),
)
BUSY = replace(
    SENDING,
    pace="best",
    waits={"turn": 1480, "grant": 2, "retry": 1, "rest": 3},
    slowest=SLOW,
    reasons={"unreadable": 1200, "too-large": 34},
)


@pytest.mark.parametrize("width", [20, 40, 80, 140])
def test_the_drawing_fits_its_terminal_and_says_the_same_at_every_width(width: int) -> None:
    lines = drawn(BEGIN, PhaseChanged("sending"), BUSY, width=width)
    assert max(map(cell_len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    expected = ["sending", "25 %", "images", "bytes", "rate", "at once", "waiting", "retries", "failures", "slowest"]
    assert [text for text in expected if text not in words] == []


def test_the_drawing_of_a_usual_terminal_is_this() -> None:
    lines = drawn(BEGIN, PhaseChanged("sending"), BUSY)
    assert lines[:1] + lines[2:] == [
        "sending  25 %  about 6 min left, ± 30 s",
        "images    250,000 of 1,000,000",
        "bytes     1000.0 MiB of 3.9 GiB",
        "shards    500 of 2,000",
        "rate      0 B/s now, 9.0 MiB/s on average",
        "at once   8: more brought nothing",
        "waiting   3 rest, as asked, 1 to try again, 2 for a grant, 1,480 for a place",
        "retries   store 503 ×12, connection ×3, hash differs ×1",
        "failures  1,234, unreadable ×1,200, too-large ×34",
        "earlier   50,000 images by earlier runs",
        "slowest   640.0 KiB/s, 32 s, 40 % of 50.0 MiB, attempt 2, shard 17",
        "          1.0 MiB/s, 9 s, 18 % of 50.0 MiB,",
        f"          {'非常に長い名前' * 4}非常に長い名 …",
        "          3.0 MiB/s, 3 s, 9.0 MiB, shard 3",
        "batch     spring",
    ]


@pytest.mark.parametrize("height", range(1, 20))
def test_a_low_terminal_keeps_what_matters_most(height: int) -> None:
    lines = drawn(BEGIN, PhaseChanged("sending"), BUSY, height=height)
    assert len(lines) <= max(1, height - 1)
    assert lines[0].startswith("sending  25 %")
    if height == 8:
        assert [line.split()[0] for line in lines[2:]] == ["images", "bytes", "shards", "rate", "failures"]


def test_what_does_not_fit_goes_on_below_and_only_single_words_are_cut() -> None:
    lines = drawn(SENDING, width=40)
    place = next(number for number, line in enumerate(lines) if line.startswith("retries"))
    assert [" ".join(line.split()) for line in lines[place : place + 2]] == [
        "retries store 503 ×12, connection ×3,",
        "hash differs ×1",
    ]
    assert "retries   store 503 ×12, connection ×3, hash differs ×1" in drawn(SENDING, width=120)
    named = replace(SENDING, slowest=(Connection(1, "x" * 300, 1, 1, 0, 9, 2.0, 0.0),))
    assert drawn(named, width=40)[-1].endswith("…")


def test_foreign_names_command_no_terminal() -> None:
    named = replace(SENDING, slowest=(Connection(1, "a\x1b[2J\u202e\n.mp4", 1, 1, 0, 9, 2.0, 0.0),))
    text = "\n".join(drawn(TransferBegun("upload", "b\x1b[31m", ()), named, width=120))
    assert "a\\x1b[2J\\u202e\\n.mp4" in text
    assert "\x1b" not in text


def test_what_is_found_is_no_share_while_more_is_found() -> None:
    lines = drawn(PhaseChanged("sending"), replace(SENDING, scan_finished=False), width=120)
    assert lines[0] == "sending, while more is found  so far about 6 min left, ± 30 s"
    assert "images    250,000 of 1,000,000+" in lines


def test_the_steps_of_a_run_stand_above() -> None:
    lines = drawn(RunStepped("upload"), BEGIN, PhaseChanged("sending"), SENDING)
    assert lines[0] == "step 1 of 4: upload"
    job = JobProgress("j-1", "running", "processing", 1, 2, 40, 9, 0, 4, 0.25, None)
    assert drawn(RunStepped("wait"), job)[0] == "step 3 of 4: wait"
    waiting = drawn(BEGIN, PhaseChanged("done"), SENDING, RunStepped("wait"))
    assert waiting == ["step 3 of 4: wait", "waiting for the job"], "the last step's numbers are gone"


def test_a_transfer_that_begins_wipes_the_last_one_away() -> None:
    export = ExportProgress(1.0, False, 10, 0, 0, 0, 0, 1, 8, 0)
    lines = drawn(BEGIN, SENDING, TransferBegun("export", "results", ("/r",)), PhaseChanged("fetching"), export)
    assert "files" in "\n".join(lines)
    again = drawn(TransferBegun("export", "r", ()), export, BEGIN, PhaseChanged("scanning"))
    assert again == ["scanning"]


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ["scanning"]),
        ([PhaseChanged("deciding-unsure")], ["looking up what may have arrived"]),
        (
            [PhaseChanged("confirming"), SENDING, ConfirmProgress(0, 0, None)],
            ["waiting for the service to index", "0 of 0 counted"],
        ),
        (
            [PhaseChanged("confirming"), SENDING, ConfirmProgress(1500, 2000, 3)],
            ["waiting for the service to index", "1,500 of 2,000 counted, 3 shards pending"],
        ),
        (
            [SCANNING],
            [
                "scanning",
                "images",
                "0 of 0+",
                "0 B of 0 B+",
                "0 of 1: no more is ready",
                "0 B/s now",
                "0 B/s on average",
            ],
        ),
    ],
)
def test_each_phase_has_its_drawing(events: list[Event], expected: list[str], width: int) -> None:
    lines = drawn(*events, width=width)
    assert max(map(len, lines)) <= width
    assert [text for text in expected if text not in "\n".join(lines)] == []


@given(
    st.integers(1, 200),
    st.floats(0, 1e9),
    st.tuples(*[st.integers(0, 2**62)] * 5),
    st.booleans(),
    st.sampled_from(["scanning", "sending", "confirming"]),
)
def test_no_numbers_and_no_width_break_the_drawing(
    width: int, seconds: float, numbers: tuple[int, int, int, int, int], scan_finished: bool, phase: str
) -> None:
    planned, sent, before, in_flight, counted = numbers
    event = UploadProgress(seconds, scan_finished, 1, 1, 1, planned, sent, before, in_flight, sent, 1, 1, 1, 1, 0, 0)
    changed = PhaseChanged(phase)  # type: ignore[arg-type]  # one of the phases
    assert drawn(changed, event, ConfirmProgress(-counted, counted, 0), width=width)


def test_the_share_never_exceeds_all() -> None:
    """Tars in flight are larger than the images in them."""
    tiny = UploadProgress(1.0, True, 9, 0, 0, 900, 0, 0, 9000, 9000, 1, 0, 1, 1, 0, 0)
    assert drawn(PhaseChanged("sending"), tiny)[0] == "sending  100 %"


def test_the_view_draws_says_lines_and_leaves_nothing_behind() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    state = State()
    state.take(PhaseChanged("sending"))
    state.take(SENDING)
    moments = itertools.count()
    with LiveView(console, lambda: next(moments)) as view:
        view.show(state)
        assert "250,000 of 1,000,000" in file.getvalue()
        view.say("warning: [bold]as it is[/bold]")
        view.show(state)
    text = file.getvalue()
    assert "warning: [bold]as it is[/bold]" in text
    assert "\x1b[2K" in text.rpartition("earlier")[2], "the last drawing is wiped away"
    assert "\x1b[3" not in text, "no colour was asked for"


def test_the_cursor_comes_back_also_after_an_error() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None, legacy_windows=False)

    def fail() -> None:
        with LiveView(console):
            raise ValueError("in between")

    with pytest.raises(ValueError, match="in between"):
        fail()
    assert file.getvalue().rpartition("\x1b[?25l")[2].count("\x1b[?25h") == 1


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_job_is_drawn_with_its_stage_and_a_bar(width: int) -> None:
    job = JobProgress("j-1", "running", "processing", 1, 2, 40, 9, 0, 4, 0.25, None)
    lines = drawn(PhaseChanged("done"), SENDING, job, width=width)
    assert max(map(len, lines)) <= width
    assert " ".join(lines[:-1]).startswith("job j-1: running, processing")
    assert lines[-1]


def test_the_counting_of_a_batch_that_somebody_else_fills_is_drawn() -> None:
    assert drawn(PhaseChanged("confirming"), ConfirmProgress(3, 10, 1))[-1] == "3 of 10 counted, 1 shard pending"


def test_an_ingest_and_an_audit_are_drawn_too() -> None:
    assert drawn(PhaseChanged("sending"), IngestProgress(1.0, 10, 4, 0, 2, 0, 0, {"api 503": 2})) == [
        "sending",
        "4 of 10 references accepted, 2 requests, 2 retries (api 503 ×2)",
    ]
    assert drawn(AuditProgress(1.0, 10, 9, 8, 7, 1)) == [
        "comparing",
        "10 listed, 9 sent, 8 in the source, 7 compared, 1 difference",
    ]


class Screen:
    """A terminal that wraps what it shows again when its width changes, as most do: text lines, and a cursor."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self.rows = [""]
        self.starts = [True]
        self.place = 0

    def write(self, text: str) -> None:
        for code, char in re.findall(r"\x1b\[([0-9;?]*[A-Za-z])|([^\x1b])", text, re.DOTALL):
            self._obey(code) if code else self._put(char)

    def _obey(self, code: str) -> None:
        if code.endswith("A"):
            self.place = max(0, self.place - int(code[:-1]))
        elif code == "2K":
            self.rows[self.place] = ""

    def _put(self, char: str) -> None:
        if char == "\r":
            return
        if char == "\n":
            self._down(starts=True)
        else:
            if cell_len(self.rows[self.place] + char) > self.width:
                self._down(starts=False)
            self.rows[self.place] += char

    def _down(self, *, starts: bool) -> None:
        self.place += 1
        if self.place == len(self.rows):
            self.rows.append("")
            self.starts.append(starts)
        self.starts[self.place] = starts

    def resize(self, width: int) -> None:
        texts: list[str] = []
        for row, starts in zip(self.rows[: self.place + 1], self.starts, strict=False):
            if starts:
                texts.append(row)
            else:
                texts[-1] += row
        self.width, self.rows, self.starts, self.place = width, [""], [True], 0
        self.write("\n".join(texts))

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True

    @property
    def shown(self) -> list[str]:
        return [row.rstrip() for row in self.rows if row.strip()]


@pytest.mark.parametrize("widths", [(100, 40), (100, 30, 90, 25), (60, 61, 59), (40, 140, 20)])
def test_a_terminal_that_is_resized_shows_one_drawing(widths: tuple[int, ...]) -> None:
    screen = Screen(widths[0], 60)
    console = Console(
        file=cast("IO[str]", screen), width=widths[0], height=60, force_terminal=True, color_system=None,
        legacy_windows=False,
    )  # fmt: skip
    state, moments = State(), itertools.count()
    for event in (BEGIN, PhaseChanged("sending"), BUSY):
        state.take(event)
    screen.write("what was there before\n")
    with LiveView(console, lambda: next(moments)) as view:
        for width in widths:
            screen.resize(width)
            console.width = width
            view.show(state)
            words = " ".join(screen.shown)
            assert words.count("sending  25 %") == 1, screen.shown
            assert words.count("retries") == 1, screen.shown
            assert screen.shown[0] == "what was there before"[:width].rstrip()
    assert "".join(screen.shown).replace(" ", "") == "whatwastherebefore", "nothing is left behind"


def test_drawings_come_no_faster_than_a_terminal_needs_but_phases_at_once() -> None:
    file, now = io.StringIO(), 0.0
    console = Console(file=file, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    state = State()
    state.take(SENDING)
    with LiveView(console, lambda: now) as view:
        view.show(state)
        length = len(file.getvalue())
        view.show(state)
        assert len(file.getvalue()) == length
        state.take(PhaseChanged("confirming"))
        view.show(state)
        assert len(file.getvalue()) > length
        length, now = len(file.getvalue()), DRAW_SECONDS
        view.show(state)
        assert len(file.getvalue()) > length


def test_results_for_a_pipe_are_not_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    """A command may print results while its view is drawn; only on a terminal they belong above it."""
    console = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None, legacy_windows=False)
    with LiveView(console):
        sys.stdout.write("a result\n")
    assert capsys.readouterr().out == "a result\n"


def test_an_ingest_tells_how_long_it_takes_yet() -> None:
    lines = drawn(PhaseChanged("sending"), IngestProgress(10.0, 100, 60, 20, 4, 0, 0))
    assert lines[1] == "60 of 100 references accepted, 4 requests, so far about 10 s left, ± 5 s"
