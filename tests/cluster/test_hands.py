"""What a worker remembers, so that a scheduler which repeats itself repeats nothing; and what it shows of secrets."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable
from typing import Any

import pytest

from rfbulk.cluster.parcels import Ended, Manner, Parcel, SendLot, decode_lot, decode_news, encode
from rfbulk.core.model import Grant, Outcome, ShardJob, ShardResult
from rfbulk.core.secrets import SignedUrl
from rfbulk.edge.lines import Call

pytest.importorskip("distributed", reason="CLUSTERS ARE NOT TESTED: Dask is not installed; pip install 'rfbulk[dask]'")
from rfbulk.cluster.crafts import Craft
from rfbulk.cluster.hands import Hands
from rfbulk.cluster.judging import why_silent, why_unfit
from rfbulk.cluster.probing import Seen, versions
from rfbulk.core.cluster_report import ClusterReport, WorkerReport

SECRET = "X-Goog-Signature=canary"
GRANT = Grant(SignedUrl(f"https://store.test/x?{SECRET}"), {}, None, None, once_only=True)
JOB = ShardJob(7, (b"/photos",), (), b"", 1024, GRANT)


class FakeWorker:
    def __init__(self) -> None:
        self.told: list[Any] = []

    def log_event(self, topic: str, msg: Any) -> None:
        assert topic == "rfbulk-run"
        self.told.append(decode_news(msg))

    @property
    def answers(self) -> list[Ended]:
        return [news for news in self.told if isinstance(news, Ended)]


class Counting:
    def __init__(self, work: Callable[[Call], ShardResult] | None = None) -> None:
        self.made = 0
        self._work = work or (lambda _call: ShardResult(Outcome.STORED))

    def craft_of(self, _manner: Manner) -> Craft:
        return Craft(self._send, lambda _jobs, _call: [], lambda: None, lambda: 1.5)

    def _send(self, _job: ShardJob, call: Call) -> ShardResult:
        self.made += 1
        return self._work(call)


def lot_of(hands: Hands, *keys: int) -> SendLot:
    return SendLot(hands.id, Manner("run"), keys, tuple(JOB for _ in keys))


def test_each_attempt_is_told_as_soon_as_it_has_ended() -> None:
    worker, counting = FakeWorker(), Counting()
    hands = Hands(worker, counting.craft_of)
    hands.carry(lot_of(hands, 1, 2), "")
    assert [(answer.key, answer.sent.outcome) for answer in worker.answers if answer.sent] == [
        (1, Outcome.STORED),
        (2, Outcome.STORED),
    ]


def test_a_task_that_is_repeated_gets_the_same_answer_and_sends_nothing() -> None:
    worker, counting = FakeWorker(), Counting()
    hands = Hands(worker, counting.craft_of)
    first = hands.carry(lot_of(hands, 1), "")
    assert first == hands.carry(lot_of(hands, 1), "")
    assert counting.made == 1


def test_what_was_meant_for_another_process_is_not_done_and_may_have_arrived() -> None:
    """A worker that was restarted under its old address: what its predecessor did nobody knows."""
    worker, counting = FakeWorker(), Counting()
    hands, before = Hands(worker, counting.craft_of), Hands(worker, counting.craft_of)
    (answer,) = hands.carry(lot_of(before, 1), "")
    assert answer.sent is not None
    assert (answer.sent.outcome, answer.sent.may_have_arrived, counting.made) == (Outcome.BROKEN, True, 0)


def test_what_is_called_off_before_it_begins_never_does() -> None:
    worker, counting = FakeWorker(), Counting()
    hands = Hands(worker, counting.craft_of)
    assert hands.call_off("run", [1, 2]) == [1, 2]
    (answer,) = hands.carry(lot_of(hands, 1), "")
    assert (answer.sent, answer.fault, counting.made) == (None, None, 0)


def test_what_is_under_way_is_cut_and_tells_so() -> None:
    begun = threading.Event()

    def work(call: Call) -> ShardResult:
        begun.set()
        call.wait(30)
        raise AssertionError("it was called off")

    worker, counting = FakeWorker(), Counting(work)
    hands = Hands(worker, counting.craft_of)
    thread = threading.Thread(target=hands.carry, args=(lot_of(hands, 1), ""))
    thread.start()
    assert begun.wait(10)
    assert hands.call_off("run", [1]) == []
    thread.join(10)
    assert [answer.sent for answer in worker.answers] == [None]


def test_an_error_is_told_and_never_raised() -> None:
    def work(_call: Call) -> ShardResult:
        raise ValueError("oh")

    worker = FakeWorker()
    hands = Hands(worker, Counting(work).craft_of)
    (answer,) = hands.carry(lot_of(hands, 1), "")
    assert answer.fault is not None
    assert (answer.fault.kind, answer.fault.fields[0]) == ("", "ValueError")


def test_a_parcel_shows_nothing_of_what_it_holds_and_arrives_whole() -> None:
    lot = SendLot("hands", Manner("run"), (1,), (JOB,))
    parcel = Parcel(encode(lot), "shard-7-1")
    for text in (repr(parcel), str(parcel), f"{parcel!r}", repr({"args": (parcel,)})):
        assert SECRET not in text
        assert "shard-7-1" in text
    arrived = pickle.loads(pickle.dumps(parcel))  # noqa: S301 - our own
    assert lot == decode_lot(arrived.open())
    assert SECRET not in repr(decode_lot(arrived.open()))


def seen(version: str, *faults: str) -> Seen:
    return Seen("hands", "host", 1, {"rfbulk": version}, faults)


def test_a_worker_of_another_version_gets_no_work_and_one_without_rfbulk_neither() -> None:
    here = versions()["rfbulk"]
    assert why_unfit(seen(here)) == ""
    assert f"it has rfbulk 9.9, here is {here}" == why_unfit(seen("9.9"))
    assert why_unfit(seen(here, "/photos is not there")) == "/photos is not there"
    assert "install rfbulk[dask] there" in why_silent(ModuleNotFoundError("rfbulk"))
    assert "TimeoutError" in why_silent(TimeoutError())


def test_what_is_odd_of_a_cluster_is_told_and_hinders_nothing() -> None:
    workers = [
        WorkerReport("tcp://a:1", 2, host="a", versions={"python": "3.12.1", "rfbulk": "1"}, clock_seconds=-90.0),
        WorkerReport("tcp://b:1", 2, host="b", versions={"python": "3.11.7"}, bytes_per_second=1e8, other_inodes=True),
        WorkerReport("tcp://c:1", 2, host="c", bytes_per_second=1e8, faults=["its mount hangs"]),
    ]
    report = ClusterReport("tcp://s:1", {"python": "3.11.7", "rfbulk": "1"}, workers, 0.9e8)
    told = report.find_oddities()
    assert (report.fit, report.threads, len(told)) == (2, 4, 4)
    assert told[0] == "a has python 3.12.1, here is 3.11.7"
    assert "90 s behind" in told[1]
    assert "inodes" in told[2]
    assert "one line" in told[3]
