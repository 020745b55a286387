"""The running numbers of an export, and what they say of the machine's load."""

from __future__ import annotations

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.exporting import FailReason
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.events import Event, RemoteFileNamed
from rfbulk.pipeline.export_tally import ExportLoad, ExportTally
from rfbulk.pipeline.gate import Gate
from tests.support.fakes import FakeClock


def test_a_failure_is_counted_and_told() -> None:
    told: list[Event] = []
    tally = ExportTally(told.append, 0.0)
    failure = ExportFailure("", "", "a.jpg", FailReason.GONE)
    tally.name(failure)
    assert (tally.failed, told) == (1, [RemoteFileNamed(failure)])
    gate = Gate(Pace(PaceLimits()), FakeClock())
    told_later = tally.progress(2.0, gate, queued=7)
    assert (told_later.failures, told_later.reasons) == (1, {"gone": 1})
    assert (told_later.waits, told_later.concurrency, told_later.pace) == ({"turn": 7}, 8, "starting")
    assert tally.progress(2.0, gate).waits == {"source": 8}, "nothing is listed yet"
    tally.is_listed = True
    assert tally.progress(2.0, gate).waits == {}


class Receiver:
    """What receives, by its load alone."""

    interpreters = 1

    def cpu_seconds(self) -> float:
        return 3.0


def test_small_files_are_the_work_of_the_interpreters_and_large_ones_of_every_core() -> None:
    tally, receiver = ExportTally(lambda _event: None, 0.0), Receiver()
    load = ExportLoad(tally, receiver, 8)
    assert load.interpreters == 1
    receiver.interpreters = 2
    tally.receive(100, is_large=False)
    tally.receive(100, is_large=True)
    assert load.interpreters == 2
    tally.receive(1, is_large=True)
    assert load.interpreters == 8
    receiver.interpreters = 9
    assert load.interpreters == 9
    assert (load.cpu_seconds(), tally.bytes_received) == (3.0, 201)
