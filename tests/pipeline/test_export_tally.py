"""The running numbers of an export, and what they say of the machine's load."""

from __future__ import annotations

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.exporting import FailReason
from rfbulk.events import Event, RemoteFileNamed
from rfbulk.pipeline.export_tally import ExportLoad, ExportTally
from tests.support.fakes import FakeClock


def test_a_failure_is_counted_and_told() -> None:
    told: list[Event] = []
    tally = ExportTally(told.append, 0.0)
    failure = ExportFailure("", "", "a.jpg", FailReason.GONE)
    tally.name(failure)
    assert (tally.failed, told) == (1, [RemoteFileNamed(failure)])
    assert tally.progress(2.0, 4).failures == 1


def test_small_files_are_the_work_of_one_interpreter_and_large_ones_of_every_core() -> None:
    clock = FakeClock()
    tally = ExportTally(lambda _event: None, 0.0)
    load = ExportLoad(tally, clock, 8)
    assert load.interpreters == 1
    tally.receive(100, is_large=False)
    tally.receive(100, is_large=True)
    assert load.interpreters == 1
    tally.receive(1, is_large=True)
    assert load.interpreters == 8
    clock.cpu = 3.0
    assert (load.cpu_seconds(), tally.bytes_received) == (3.0, 201)
