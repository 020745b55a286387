"""When an operator is advised: once, as soon as it can be known, and once more if the batch will not live so long."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from rfbulk.core.advice import Measured
from rfbulk.core.forms import SHARDS
from rfbulk.events import Advised, BatchExpires, Event, PhaseChanged, Warned
from rfbulk.pipeline.advising import FIRST_SECONDS, OWN_RATE, PATIENCE_SECONDS, Adviser
from tests.pipeline.conftest import MakeWorld
from tests.support.events import UPLOAD

MIB = 1 << 20
HOUR = 3600.0
EARLIER = Measured(100.0, 100 * MIB, 1000)


class Operator:
    """Who is told. `send` lets an upload go on at so many bytes a second."""

    def __init__(self, earlier: Measured | None = None, hours: float = 2.0, *, is_scanned: bool = True) -> None:
        self.told: list[Event] = []
        self.adviser = Adviser(self.told.append, SHARDS, earlier, "the rate of another")
        planned = int(hours * HOUR * MIB)
        self.now = replace(
            UPLOAD, seconds=0.0, scan_finished=is_scanned, bytes_planned=planned, bytes_sent=0, bytes_before=0,
            bytes_in_flight=0, bytes_on_the_wire=0, images_planned=planned // MIB * 10, images_sent=0, images_before=0,
            retries={}, waits={}, slowest=(), rest_seconds=0.0,
        )  # fmt: skip

    def send(self, seconds: float, rate: float = MIB) -> None:
        for _ in range(int(seconds * 2)):
            sent = self.now.bytes_sent + int(rate / 2)
            self.now = replace(
                self.now, seconds=self.now.seconds + 0.5, bytes_sent=sent, bytes_on_the_wire=sent,
                images_sent=sent // MIB * 10,
            )  # fmt: skip
            self.adviser.take(self.now)

    @property
    def advice(self) -> list[str]:
        return [each.text for each in self.told if isinstance(each, Advised)]

    @property
    def warnings(self) -> list[str]:
        return [each.text for each in self.told if isinstance(each, Warned)]


def test_a_large_upload_is_advised_of_once_from_its_own_first_minute() -> None:
    operator = Operator()
    operator.send(FIRST_SECONDS - 5)
    assert operator.advice == []
    operator.send(10)
    assert len(operator.advice) == 1
    assert f"At 1.0 MiB/s, {OWN_RATE}, that takes about 2 h, ± 5 min." in operator.advice[0]
    operator.send(2 * HOUR)
    assert len(operator.advice) == 1
    assert operator.warnings == []
    assert all(event in operator.told for event in [operator.now]), "every event is handed on"


def test_an_earlier_run_lets_it_be_known_at_once() -> None:
    operator = Operator(EARLIER)
    operator.send(5.5)
    assert len(operator.advice) == 1
    assert "At 1.0 MiB/s, the rate of another, that takes" in operator.advice[0]


def test_a_small_upload_is_left_in_peace() -> None:
    operator = Operator(EARLIER, hours=0.1)
    operator.send(0.1 * HOUR)
    assert (operator.advice, operator.warnings) == ([], [])


def test_a_scan_is_waited_for_but_not_for_ever() -> None:
    operator = Operator(EARLIER, is_scanned=False)
    operator.send(PATIENCE_SECONDS - 10)
    assert operator.advice == []
    operator.send(15)
    assert "are to be sent so far, and more is found." in operator.advice[0]


def test_a_batch_that_expires_too_soon_is_warned_of_once() -> None:
    operator = Operator(hours=3.0)
    operator.adviser.take(BatchExpires("spring", 4 * HOUR))
    operator.send(FIRST_SECONDS + 5)
    assert "The batch then has 1 h left until it expires." in operator.advice[0]
    operator.send(HOUR, rate=0.2 * MIB)
    assert len(operator.warnings) == 1
    assert operator.warnings[0].startswith("what is left takes about ")
    assert "but the batch expires in " in operator.warnings[0]
    operator.send(HOUR, rate=0.1 * MIB)
    assert (len(operator.advice), len(operator.warnings)) == (1, 1)


def test_what_the_advice_has_said_is_not_warned_of_again() -> None:
    operator = Operator(hours=3.0)
    operator.adviser.take(BatchExpires("spring", 1 * HOUR))
    operator.send(HOUR)
    assert len(operator.advice) == 1
    assert "before it is whole" in operator.advice[0]
    assert operator.warnings == []


def test_what_was_measured_is_of_this_run_and_of_its_sending_alone() -> None:
    operator = Operator()
    operator.now = replace(operator.now, bytes_before=500, images_before=5, bytes_sent=500, images_sent=5)
    operator.adviser.take(replace(operator.now, seconds=30.0))  # it only scanned
    operator.now = replace(operator.now, seconds=30.0)
    operator.send(20)
    measured = operator.adviser.measured
    assert (measured.seconds, measured.bytes) == (19.5, 20 * MIB)
    operator.adviser.take(PhaseChanged("confirming"))
    operator.adviser.take(replace(operator.now, seconds=900.0, bytes_sent=operator.now.bytes_sent + MIB))
    assert operator.adviser.measured == Measured(19.5, 21 * MIB, measured.files), "its last shard ended it"


def test_a_run_that_sent_nothing_has_measured_nothing() -> None:
    operator = Operator()
    assert not operator.adviser.measured.tells
    operator.adviser.take(operator.now)
    assert not operator.adviser.measured.tells


@pytest.mark.anyio
async def test_an_upload_tells_when_its_batch_expires(make_world: MakeWorld) -> None:
    world = make_world({"a.png": 100})
    world.service.exists = True
    world.service.expiry_date = datetime.fromtimestamp(world.service.server_now() + 500, UTC).isoformat()
    await world.upload()
    told = [each for each in world.events if isinstance(each, BatchExpires)]
    assert [each.batch_id for each in told] == ["batch"]
    assert pytest.approx([500.0]) == [each.seconds for each in told]
