from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from rfbulk.cli.live import LiveView, drawing
from rfbulk.cli.progress import State
from rfbulk.events import ConfirmProgress, Event, JobProgress, PhaseChanged, UploadProgress

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


def drawn(*events: Event, width: int = 80) -> list[str]:
    """What stands on a terminal without colours, line by line."""
    console = Console(
        record=True, file=io.StringIO(), width=width, color_system=None, force_terminal=False, legacy_windows=False
    )
    state = State()
    for event in events:
        state.take(event)
    console.print(drawing(state, width))
    return [line.rstrip() for line in console.export_text().splitlines()]


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_drawing_fits_its_terminal_and_says_the_same_at_every_width(width: int) -> None:
    lines = drawn(PhaseChanged("sending"), SENDING, width=width)
    assert max(map(len, lines)) <= width
    assert lines[0] == "sending  25 %  6 min 15 s left"
    assert len(lines) == 9, lines
    text = [" ".join(line.split()) for line in lines]
    assert "images 250,000 of 1,000,000" in text
    assert "shards 500 of 2,000, 8 at once" in text
    assert "failures 1,234" in text
    assert [line.split()[0] for line in text[2:]] == [
        "images",
        "bytes",
        "shards",
        "rate",
        "earlier",
        "retries",
        "failures",
    ]


def test_what_does_not_fit_is_cut_with_a_sign() -> None:
    lines = drawn(PhaseChanged("sending"), SENDING, width=40)
    assert "…" in next(line for line in lines if line.startswith("retries"))
    assert "connection ×3, hash differs ×1, store 503 ×12" in "".join(drawn(SENDING, width=120))


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([], ["scanning"]),
        ([PhaseChanged("deciding-unsure")], ["looking up what may have arrived"]),
        (
            [PhaseChanged("confirming"), SENDING, ConfirmProgress(0, 0, None)],
            ["waiting for the service to index", "0 of 0 images counted"],
        ),
        (
            [PhaseChanged("confirming"), SENDING, ConfirmProgress(1500, 2000, 3)],
            ["waiting for the service to index", "1,500 of 2,000 images counted"],
        ),
        ([SCANNING], ["scanning", "images", "0 of 0+", "0 B of 0 B+", "0 of 0+, 0 at once", "0 B/s, on average 0 B/s"]),
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
    assert drawn(PhaseChanged("sending"), tiny)[0] == "sending  100 %  0.0 s left"


def test_the_view_draws_says_lines_and_leaves_nothing_behind() -> None:
    file = io.StringIO()
    console = Console(file=file, width=80, force_terminal=True, color_system=None, legacy_windows=False)
    state = State()
    state.take(PhaseChanged("sending"))
    state.take(SENDING)
    with LiveView(console) as view:
        view.show(state)
        assert "250,000 of 1,000,000" in file.getvalue()
        view.say("warning: [bold]as it is[/bold]")
        view.show(state)
    text = file.getvalue()
    assert "warning: [bold]as it is[/bold]" in text
    assert "\x1b[2K" in text.rpartition("failures")[2], "the last drawing is wiped away"
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
    assert drawn(PhaseChanged("confirming"), ConfirmProgress(3, 10, 1))[-1] == "3 of 10 images counted"
