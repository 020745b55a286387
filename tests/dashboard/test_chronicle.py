from __future__ import annotations

import sys
from collections.abc import Sized

import pytest
from msgspec.structs import replace

from rfbulk.core.model import RefusalReason
from rfbulk.core.report import UploadReport
from rfbulk.dashboard.cells import Place
from rfbulk.dashboard.chronicle import MOST_FAILURES, MOST_PHASES, MOST_TROUBLES, Chronicle, Ending
from rfbulk.events import (
    ConfirmProgress,
    Event,
    FetchRetried,
    JobProgress,
    PhaseChanged,
    RequestRetried,
    RunStepped,
    ShardChanged,
    ShardSent,
    TransferBegun,
    TransferEnded,
    Warned,
)
from tests.dashboard.histories import FETCHING, MIB, SENDING, named, told, upload


def test_rates_speak_of_this_run_alone() -> None:
    chronicle = told(upload())
    assert (
        sum(bucket.bytes for bucket in chronicle.series.buckets),
        sum(bucket.items for bucket in chronicle.series.buckets),
    ) == (220 * MIB, 200)
    assert pytest.approx(chronicle.rate) == 220 * MIB / 9.5


def test_states_of_shards_lead_to_the_map() -> None:
    chronicle = told(upload())
    assert chronicle.map.totals() == [7, 1, 0, 0, 1, 0, 1]
    chronicle.take(ShardChanged(4, "split", 0, 0), 11.0)
    chronicle.take(ShardSent(5, 100, 100, 1, True), 11.0)
    assert chronicle.map.totals() == [6, 0, 0, 0, 2, 0, 1]
    chronicle.report(UploadReport(batch_id="spring", is_confirmed=True))
    assert chronicle.map.totals()[Place.INDEXED] == 2


def test_what_a_run_has_uploaded_and_the_service_has_counted_is_indexed_before_the_run_ends() -> None:
    chronicle = told([*upload(), (11.0, ConfirmProgress(900, 1000, 1))])
    chronicle.take(TransferEnded("upload", "spring", 12.0, 1000, 1000, 0), 12.0)
    assert chronicle.map.totals()[Place.INDEXED] == 0
    chronicle.take(ConfirmProgress(1000, 1000, 0), 13.0)
    chronicle.take(TransferEnded("upload", "spring", 12.0, 1000, 1000, 0), 13.0)
    assert chronicle.map.totals()[Place.INDEXED] == 1


def test_an_upload_that_the_service_has_not_confirmed_has_no_indexed_shards() -> None:
    chronicle = told(upload())
    chronicle.report(UploadReport(batch_id="spring"))
    assert chronicle.map.totals()[Place.INDEXED] == 0


def test_the_time_left_is_in_the_words_of_the_terminal_and_ends_with_the_command() -> None:
    chronicle = Chronicle()
    chronicle.take(TransferBegun("upload", "spring"), 0.0)
    for second in range(1, 41):
        sent = 100 * MIB + second * 10 * MIB
        progress = replace(SENDING, seconds=float(second), bytes_sent=sent, bytes_in_flight=0)
        chronicle.take(progress, float(second))
    assert chronicle.time_left == "about 50 s left, ± 5 s"
    chronicle.end(Ending(0, "done"), 41.0)
    assert chronicle.time_left == ""


def test_a_second_transfer_begins_with_nothing_but_the_retries_of_the_command() -> None:
    chronicle = told([*upload(), (20.0, TransferBegun("export", "results")), (21.0, FETCHING)])
    assert dict(chronicle.retries) == {"store 503": 4, "timeout": 1}
    assert sum(bucket.bytes for bucket in chronicle.series.buckets) == (220 + 42) * MIB
    assert [transfer.batch for transfer in chronicle.transfers] == ["spring", "results"]
    chronicle.take(TransferEnded("export", "results", 5.0, 50, 100, 2, "the line is down"), 25.0)
    assert (chronicle.transfers[0].ended, chronicle.transfers[1].error) == (None, "the line is down")


def test_phases_that_repeat_are_told_once() -> None:
    chronicle = told([(1.0, PhaseChanged("sending")), (2.0, PhaseChanged("sending")), (3.0, PhaseChanged("done"))])
    assert [(span.name, span.began) for span in chronicle.phases] == [("sending", 1.0), ("done", 3.0)]


def test_jobs_are_kept_stage_by_stage() -> None:
    first = JobProgress("job-1", "running", "processing", 1, 2, 10, 5, 1, 2, 0.5, None)
    chronicle = told([(1.0, first), (2.0, replace(first, progress=0.75)), (3.0, replace(first, stage_number=2))])
    assert {number: stage.progress for number, stage in chronicle.jobs["job-1"].items()} == {1: 0.75, 2: 0.5}


def flood(number: int) -> list[Event]:
    """Events of which a long command has many, all different."""
    return [
        named(number, list(RefusalReason)[number % len(RefusalReason)]),
        RequestRetried(f"call {number}", f"cause {number}", 1.0),
        FetchRetried(2, f"file {number}", "timeout", "", 1.0),
        Warned(f"warning {number}"),
        PhaseChanged("sending" if number % 2 else "scanning"),
        TransferBegun("upload", f"batch-{number}"),
        JobProgress(f"job-{number}", "running", "s", number, 2, 10, 5, 1, 2, 0.5, None),
        RunStepped("upload") if number < 5 else ShardChanged(number % 1000 + 1, "sent", 1, 1),
        replace(SENDING, seconds=number / 2),
    ]


def test_memory_does_not_grow_with_what_happens() -> None:
    chronicle = Chronicle()
    sizes = []
    for number in range(3000):
        for event in flood(number):
            chronicle.take(event, number * 10.0)
        if number in (1999, 2999):
            sizes.append(size_of(chronicle))
    assert sizes[1] <= 1.1 * sizes[0]
    assert (
        len(chronicle.named),
        len(chronicle.troubles),
        len(chronicle.phases),
    ) == (MOST_FAILURES, MOST_TROUBLES, MOST_PHASES)
    assert sum(chronicle.reasons.values()) == 3000


def size_of(chronicle: Chronicle) -> int:
    holders: list[Sized] = [
        chronicle.named,
        chronicle.troubles,
        chronicle.warnings,
        chronicle.phases,
        chronicle.transfers,
    ]
    counted = sum(len(holder) for holder in holders) + len(chronicle.jobs) + len(chronicle.series.buckets)
    return counted + len(chronicle.reasons) + sys.getsizeof(chronicle.map._states) + len(chronicle._window)


def test_events_that_it_does_not_know_change_nothing() -> None:
    class Stranger:
        pass

    chronicle = told(upload())
    before = chronicle.revision
    chronicle.take(Stranger(), 11.0)  # type: ignore[arg-type]  # what a later rfbulk may tell
    assert before == chronicle.revision
