"""Calls said again: the server's word is a floor, the budget a ceiling, and what is final is final at once."""

from __future__ import annotations

from collections import deque

import pytest

from rfbulk.core.retry import RetryPolicy
from rfbulk.errors import NotAuthorised, ProtocolError, RfbulkError, ServiceRefused, TroublePassing, UsageError
from rfbulk.events import Event, RequestRetried
from rfbulk.pipeline.retrying import persist
from tests.support.fakes import FakeClock

pytestmark = pytest.mark.anyio
POLICY = RetryPolicy(first_seconds=1.0, cap_seconds=8.0, budget_seconds=60.0)


class Call:
    """A call that meets scripted errors, then answers."""

    def __init__(self, *errors: Exception, seconds: float = 0.0, clock: FakeClock | None = None) -> None:
        self.clock = clock or FakeClock()
        self.errors = deque(errors)
        self.events: list[Event] = []
        self.troubles: list[TroublePassing] = []
        self.times: list[float] = []
        self._seconds = seconds

    async def __call__(self) -> str:
        self.times.append(self.clock.now - 1000.0)
        if self._seconds:
            await self.clock.sleep(self._seconds)
        if self.errors:
            raise self.errors.popleft()
        return "answer"

    async def persist(self) -> str:
        return await self.clock.run(
            lambda: persist(
                self, policy=POLICY, clock=self.clock, tell=self.events.append, on_trouble=self.troubles.append
            )
        )


def busy(retry_after: float | None = None) -> TroublePassing:
    return TroublePassing("count", cause="busy", status=503, retry_after=retry_after)


async def test_an_answer_is_returned_at_once() -> None:
    call = Call()
    assert await call.persist() == "answer"
    assert (call.times, call.events, call.troubles) == ([0.0], [], [])


async def test_waits_double_up_to_the_cap() -> None:
    call = Call(*[busy() for _ in range(5)])
    assert await call.persist() == "answer"
    assert call.times == [0.0, 1.0, 3.0, 7.0, 15.0, 23.0]


async def test_jitter_shortens_waits() -> None:
    call = Call(busy(), busy(), clock=FakeClock(jitter=0.5))
    await call.persist()
    assert call.times == [0.0, 0.5, 1.5]


async def test_what_the_server_asks_for_is_a_floor() -> None:
    call = Call(busy(20.0), busy(0.1))
    await call.persist()
    assert call.times == [0.0, 20.0, 22.0]


async def test_more_than_is_left_of_the_budget_is_not_waited_for() -> None:
    error = busy(61.0)
    call = Call(error)
    with pytest.raises(TroublePassing) as caught:
        await call.persist()
    assert caught.value is error
    assert call.times == [0.0]
    assert call.troubles == [error]


async def test_the_budget_is_wall_time_and_ends_with_the_last_trouble() -> None:
    errors = [busy() for _ in range(100)]
    call = Call(*errors, seconds=10.0)
    with pytest.raises(TroublePassing) as caught:
        await call.persist()
    assert caught.value is errors[len(call.times) - 1]
    assert call.times[-1] <= 60.0 <= call.clock.now - 1000.0
    assert len(call.events) == len(call.times) - 1


@pytest.mark.parametrize("kind", [NotAuthorised, ServiceRefused, ProtocolError, UsageError])
async def test_what_is_final_is_raised_at_once(kind: type[RfbulkError]) -> None:
    call = Call(kind("count"))
    with pytest.raises(kind):
        await call.persist()
    assert (call.times, call.events, call.troubles) == ([0.0], [], [])


async def test_each_retry_is_told() -> None:
    call = Call(busy())
    await call.persist()
    assert call.events == [RequestRetried("count", "busy", 1.0)]
    assert len(call.troubles) == 1
