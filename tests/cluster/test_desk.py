"""Which worker gets what next, decided without a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from rfbulk.cluster.attempts import Attempt
from rfbulk.cluster.desk import AHEAD, LOT_BYTES, MOST_IN_LOT, Desk, Lot, Mate
from rfbulk.core.model import Grant, ShardJob
from rfbulk.core.secrets import SignedUrl

pytestmark = pytest.mark.anyio
GRANT = Grant(SignedUrl("https://store.test/x"), {}, None, None, once_only=True)


def attempt(size: int = 1000) -> Attempt:
    return Attempt(ShardJob(1, (bytes(Path("/")),), (), b"", size, GRANT), lambda _count: None)


def desk_of(*threads: int) -> Desk:
    desk = Desk()
    for number, count in enumerate(threads):
        desk.mates[str(number)] = Mate(str(number), count, unfit="")
    return desk


def give(desk: Desk) -> tuple[str, int] | None:
    """Take what is next, and have the worker do it."""
    found = desk.next()
    if found is None:
        return None
    mate, attempts = found
    mate.lots.add(Lot(mate, dict(enumerate(attempts))))
    return mate.address, len(attempts)


async def test_whoever_has_the_least_to_do_for_its_threads_is_next() -> None:
    desk = desk_of(1, 3)
    desk.waiting.extend(attempt() for _ in range(4))
    given = [give(desk) for _ in range(4)]
    assert {one: given.count(one) for one in set(given)} == {("0", 1): 1, ("1", 1): 3}


async def test_no_worker_gets_more_than_its_window() -> None:
    desk = desk_of(2)
    desk.waiting.extend(attempt(LOT_BYTES) for _ in range(50))
    window = 2 * (1 + AHEAD)
    assert [("0", 1)] * window + [None] == [give(desk) for _ in range(window + 1)]
    assert 50 - window == len(desk.waiting)


async def test_a_worker_that_does_not_fit_gets_nothing() -> None:
    desk = desk_of(2)
    desk.mates["0"].unfit = "its mount is another"
    desk.waiting.append(attempt())
    assert give(desk) is None
    assert desk.fit == []


async def test_small_shards_share_a_task_only_while_all_have_enough_to_do() -> None:
    desk = desk_of(1)
    desk.waiting.extend(attempt() for _ in range(1 + AHEAD))
    assert [give(desk) for _ in range(1 + AHEAD)] == [("0", 1)] * (1 + AHEAD)
    desk.mates["0"].lots.clear()
    desk.waiting.extend(attempt() for _ in range(100))
    assert give(desk) == ("0", MOST_IN_LOT)


async def test_large_shards_never_share_a_task() -> None:
    desk = desk_of(1)
    desk.waiting.extend(attempt(LOT_BYTES // 2 + 1) for _ in range(100))
    assert give(desk) == ("0", 1)


async def test_an_attempt_that_nobody_has_ordered_leaves_no_doubt() -> None:
    for may_have_arrived, moved in [(False, 0), (True, 1000)]:
        counts: list[int] = []
        lost = Attempt(ShardJob(1, (b"/",), (), b"", 1000, GRANT), counts.append)
        lost.lose("nobody is there", may_have_arrived=may_have_arrived)
        result = await lost.ended
        assert may_have_arrived == result.may_have_arrived  # type: ignore[attr-defined]  # it is of a shard
        assert moved == sum(counts)
