"""An image that is posted by itself is recorded before its first byte, and what is unsure is never posted blindly."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import cast

import pytest

from rfbulk.core.model import BatchId, Entry, Outcome, RefusalReason, ShardResult
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.transfer import Shard, ShardState
from rfbulk.errors import NotAuthorised, TroublePassing
from rfbulk.events import ignore
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.ports import Checkpoint, Ports, Service, ShardSender, Source
from rfbulk.pipeline.singles import SingleCarrier
from rfbulk.pipeline.tally import Tally
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio
ENTRY = Entry(0, b"a.jpg", "a.jpg", 10, 1, 1)
SHARD = Shard(id=1, sequence=1, state=ShardState.PLANNED, entries=(ENTRY,), tar_bytes=10)
POLICY = RetryPolicy(first_seconds=1.0, cap_seconds=2.0, budget_seconds=10.0)
STORED = ShardResult(Outcome.STORED)
BUSY = ShardResult(Outcome.BUSY, status=503)
LOST = ShardResult(Outcome.BROKEN, may_have_arrived=True, detail="cut")


@dataclass
class Books:
    """A checkpoint that keeps what it is told, in order."""

    states: list[ShardState] = field(default_factory=list)
    failures: list[RefusalReason] = field(default_factory=list)

    async def update(self, shard: Shard) -> None:
        self.states.append(shard.state)

    async def repack(self, shard: Shard, failures: list[tuple[Entry, RefusalReason, str]], _others: object) -> None:
        self.states.append(shard.state)
        self.failures += [reason for _, reason, _ in failures]

    async def fail_entries(self, shard: Shard, failures: list[tuple[Entry, RefusalReason, str]]) -> None:
        await self.repack(shard, failures, [])


@dataclass
class Sender:
    """Gives scripted results; `books` must know of each attempt before its first byte."""

    books: Books
    results: list[ShardResult | Exception]
    interpreters: int = 1

    def cpu_seconds(self) -> float:
        return 0.0

    async def post(
        self, _shard: Shard, _batch: BatchId, _display_name: str, on_bytes: Callable[[int], None]
    ) -> ShardResult:
        assert self.books.states[-1] is ShardState.UNSURE
        result = self.results.pop(0)
        on_bytes(4)
        if isinstance(result, Exception):
            raise result
        return result


class Looking:
    """A source whose one file is what `now` says."""

    roots = (b"/",)

    def __init__(self, now: Entry | tuple[RefusalReason, str]) -> None:
        self._now = now

    def refresh(self, _entry: Entry) -> Entry | tuple[RefusalReason, str]:
        return self._now


async def carried(
    *results: ShardResult | Exception,
    now: Entry | tuple[RefusalReason, str] = ENTRY,
    books: Books | None = None,
) -> Books:
    """Carry one image whose attempts come to these results, and return the books."""
    books, clock = books or Books(), FakeClock()
    sender = Sender(books, list(results))
    ports = Ports(
        service=cast("Service", None),
        sender=cast("ShardSender", None),
        source=cast("Source", Looking(now)),
        checkpoint=cast("Checkpoint", books),
        known=lambda: pytest.fail("nothing is scanned"),
        clock=clock,
        tell=ignore,
        reach=lambda _failpoint: None,
    )
    gate = Gate(Pace(PaceLimits(1, 1, 1)), clock)
    carrier = SingleCarrier(
        ports, sender, BatchId("b"), "B", POLICY, gate, Tally(ignore, clock.monotonic(), ports.source.roots)
    )
    await clock.run(lambda: carrier.carry(SHARD))
    assert sender.results == []
    return books


async def test_a_stored_image_is_sent() -> None:
    assert (await carried(STORED)).states == [ShardState.UNSURE, ShardState.SENT]


async def test_what_was_not_taken_in_is_posted_again() -> None:
    states = (await carried(BUSY, BUSY, STORED)).states
    assert states == [*[ShardState.UNSURE, ShardState.PLANNED] * 2, ShardState.UNSURE, ShardState.SENT]


async def test_a_lost_answer_leaves_it_unsure() -> None:
    assert (await carried(LOST)).states == [ShardState.UNSURE, ShardState.UNSURE]


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [(Outcome.REFUSED, RefusalReason.REFUSED_BY_SERVICE), (Outcome.TOO_LARGE, RefusalReason.TOO_LARGE)],
)
async def test_a_refusal_is_final(outcome: Outcome, reason: RefusalReason) -> None:
    books = await carried(ShardResult(outcome, status=400))
    assert (books.states[-1], books.failures) == (ShardState.FAILED, [reason])


async def test_a_file_that_changed_is_posted_as_it_is_now() -> None:
    changed = ShardResult(Outcome.CHANGED, changed={0: RefusalReason.CHANGED})
    assert (await carried(changed, STORED)).states == [
        ShardState.UNSURE,
        ShardState.PLANNED,
        ShardState.UNSURE,
        ShardState.SENT,
    ]


async def test_a_file_that_keeps_changing_is_named() -> None:
    changed = ShardResult(Outcome.CHANGED, changed={0: RefusalReason.CHANGED})
    assert (await carried(changed, changed, changed)).failures == [RefusalReason.KEEPS_CHANGING]


@pytest.mark.parametrize("reason", [RefusalReason.UNREADABLE, RefusalReason.DAMAGED])
async def test_what_cannot_be_sent_is_named_at_once(reason: RefusalReason) -> None:
    assert (await carried(ShardResult(Outcome.CHANGED, changed={0: reason}))).failures == [reason]


async def test_a_file_that_is_gone_is_named() -> None:
    changed = ShardResult(Outcome.CHANGED, changed={0: RefusalReason.VANISHED})
    assert (await carried(changed, now=(RefusalReason.VANISHED, "gone"))).failures == [RefusalReason.VANISHED]


async def test_an_attempt_that_ended_before_its_last_byte_leaves_no_doubt() -> None:
    books = Books()
    with pytest.raises(NotAuthorised):
        await carried(NotAuthorised("upload"), books=books)
    assert books.states == [ShardState.UNSURE, ShardState.PLANNED]


async def test_a_service_that_is_down_ends_the_upload() -> None:
    books = Books()
    with pytest.raises(TroublePassing):
        await carried(*[BUSY] * 30, books=books)
    assert books.states[-1] is ShardState.PLANNED
