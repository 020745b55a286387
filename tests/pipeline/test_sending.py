"""A shard's life: every row of what follows an attempt, what is durable before each effect, and every interruption."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter, deque

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from msgspec.structs import replace

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.model import RefusalReason
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.core.transfer import Shard, ShardState
from rfbulk.errors import ServiceRefused, TroublePassing
from rfbulk.events import ShardRetried
from tests.pipeline.conftest import MakeWorld
from tests.support.fakes import (
    BUSY,
    CUT,
    DAMAGED,
    EXPIRED,
    FORBIDDEN,
    GOOD,
    LOST,
    MAYBE,
    REFUSED,
    TOO_LARGE,
    Act,
)
from tests.support.world import Interruption, World

pytestmark = pytest.mark.anyio

BEGIN = ["planned 1", "POST", "granted 0", "granted 1", "PUT"]
"""The intent before the POST, the grant before the attempt, the attempt before its first byte."""

GRANT_AGAIN = ["planned 1", "planned 2", "POST", "granted 0", "granted 1", "PUT"]
SECOND = ["granted 2", "PUT"]
THIRD = ["granted 2 in doubt", "granted 3 in doubt", "PUT"]
DOUBTED = ["granted 2 in doubt", "PUT"]

# what_next's table: script of attempts, what is committed and done in order, how the shard ends
ROWS: dict[str, tuple[list[Act], list[str], ShardState]] = {
    "stored, hash equal": ([GOOD], [*BEGIN, "sent"], ShardState.SENT),
    "hash differs": ([DAMAGED], [*BEGIN, "granted 1 in doubt", *DOUBTED, "sent"], ShardState.SENT),
    "hash differs three times": (
        [DAMAGED] * 3,
        [*BEGIN, "granted 1 in doubt", *DOUBTED, *THIRD, "fail_entries failed"],
        ShardState.FAILED,
    ),
    "busy": ([BUSY], [*BEGIN, *SECOND, "sent"], ShardState.SENT),
    "broken before its end": ([CUT], [*BEGIN, *SECOND, "sent"], ShardState.SENT),
    "broken after its end": ([LOST], [*BEGIN, *DOUBTED, "sent"], ShardState.SENT),
    "expired": ([EXPIRED], [*BEGIN, *GRANT_AGAIN, "sent"], ShardState.SENT),
    "expired, in doubt": ([LOST, EXPIRED], [*BEGIN, *DOUBTED, "unsure"], ShardState.UNSURE),
    "forbidden once": ([FORBIDDEN], [*BEGIN, *GRANT_AGAIN, "sent"], ShardState.SENT),
    "forbidden twice": ([FORBIDDEN] * 2, [*BEGIN, *GRANT_AGAIN, "fail_entries failed"], ShardState.FAILED),
    "forbidden, in doubt": ([LOST, FORBIDDEN], [*BEGIN, *DOUBTED, "unsure"], ShardState.UNSURE),
    "too large": ([TOO_LARGE], [*BEGIN, "split split"], ShardState.SPLIT),
    "refused": ([REFUSED], [*BEGIN, "fail_entries failed"], ShardState.FAILED),
    "refused, in doubt": ([LOST, REFUSED], [*BEGIN, *DOUBTED, "unsure"], ShardState.UNSURE),
    "changed, in doubt": (
        [MAYBE, Act(changed={0: RefusalReason.CHANGED})],
        [*BEGIN, *DOUBTED, "unsure"],
        ShardState.UNSURE,
    ),
    "changed": (
        [Act(changed={0: RefusalReason.CHANGED})],
        [*BEGIN, "repack granted", "granted 1", "PUT", "sent"],
        ShardState.SENT,
    ),
    "expired after a damaged copy": (
        [DAMAGED, EXPIRED],
        [*BEGIN, "granted 1 in doubt", *DOUBTED, "fail_entries failed"],
        ShardState.FAILED,
    ),
}


@pytest.mark.parametrize(("script", "effects", "state"), ROWS.values(), ids=ROWS)
async def test_what_follows_is_durable_before_the_next_effect(
    world: World, script: list[Act], effects: list[str], state: ShardState
) -> None:
    world.sender.script.extend(script)
    shard = await world.carry(await world.planned("000.png", "001.png"))
    assert effects == world.effects()
    assert (state, None) == (shard.state, shard.grant)


async def test_a_412_after_a_lost_answer_is_the_answer(world: World) -> None:
    world.service.once_only = True
    world.sender.script.append(LOST)
    shard = await world.carry(await world.planned("000.png"))
    assert (shard.state, shard.is_verified) == (ShardState.SENT, False)
    assert Counter(["000.png"]) == world.service.ledger


async def test_a_412_after_a_damaged_copy_is_no_success(world: World) -> None:
    world.service.once_only = True
    world.sender.script.append(DAMAGED)
    shard = await world.carry(await world.planned("000.png"))
    assert (shard.state, shard.hash_failures) == (ShardState.FAILED, 1)
    assert "damaged" in shard.detail


async def test_a_new_object_is_not_blamed_for_the_damage_of_the_old_one(world: World) -> None:
    """A 412 speaks of the object of this grant, which holds what was sent."""
    world.service.once_only = True
    planned = await world.planned("000.png")
    await world.inner.update(replace(planned, hash_failures=1))
    world.sender.script.append(LOST)
    shard = await world.carry(await world.inner.shard(planned.id))
    assert ShardState.SENT is shard.state


async def test_a_sent_shard_is_recorded_with_its_hash_and_without_its_url(make_world: MakeWorld) -> None:
    world = make_world()
    shard = await world.carry(await world.planned("000.png"))
    stored = next(iter(world.service.objects.values()))
    assert (stored.crc32c, f'"{stored.crc32c:x}"', True) == (shard.crc32c, shard.etag, shard.is_verified)
    await anyio.to_thread.run_sync(world.close)
    left = b"".join(path.read_bytes() for path in world.folder.iterdir() if path.is_file())
    assert b"shard-1.tar" in left
    assert b"c4n4ry" not in left


async def test_failpoints_stand_in_the_order_of_a_life(world: World) -> None:
    await world.carry(await world.planned("000.png"))
    order = list(Failpoint)
    assert [point for point in order if point in world.reached] == world.reached
    assert {Failpoint.GRANT_INTENDED, Failpoint.GRANT_RECORDED, Failpoint.BODY_STARTED} <= set(world.reached)


# members: splitting, fitting, packing again


async def test_a_shard_that_is_too_large_is_replaced_by_halves(world: World) -> None:
    world.sender.script.append(TOO_LARGE)
    shard = await world.carry(await world.planned("000.png", "001.png", "002.png", "003.png"))
    halves = await world.inner.pending_after(0, 10)
    assert [len(half.entries) for half in halves] == [2, 2]
    assert [shard.sequence] * 2 == [half.sequence for half in halves]
    assert [tar_bytes(half.entries, b"") for half in halves] == [half.tar_bytes for half in halves]
    assert halves[0].tar_bytes == world.planner.max_bytes
    assert world.woken == 1


async def test_one_image_that_is_too_large_is_named(world: World) -> None:
    world.sender.script.append(TOO_LARGE)
    shard = await world.carry(await world.planned("000.png"))
    assert ShardState.FAILED is shard.state
    failures = await world.inner.failures()
    assert [(what.reason, name, sent) for what, name, sent in failures] == [(RefusalReason.TOO_LARGE, "000.png", True)]


async def test_what_does_not_fit_a_grant_is_planned_anew_before_a_byte_is_sent(make_world: MakeWorld) -> None:
    world = make_world({"a.png": 100, "b.png": 100, "c.png": 9000, "d.png": 100})
    world.service.max_bytes = 4096
    shard = await world.carry(await world.planned("a.png", "b.png", "c.png", "d.png"))
    assert world.effects() == ["planned 1", "POST", "granted 0", "repack granted", "granted 1", "PUT", "sent"]
    assert [entry.name for entry in shard.entries] == ["a.png", "b.png"]
    others = await world.inner.pending_after(0, 10)
    assert [[entry.name for entry in other.entries] for other in others] == [["d.png"]]
    failures = await world.inner.failures()
    assert [(name, what.reason, sent) for what, name, sent in failures] == [("c.png", RefusalReason.TOO_LARGE, False)]
    assert (world.woken, world.tally.failed) == (1, 1)


async def test_a_shard_of_which_nothing_fits_ends(make_world: MakeWorld) -> None:
    world = make_world({"a.png": 9000, "b.png": 9000})
    world.service.max_bytes = 4096
    shard = await world.carry(await world.planned("a.png", "b.png"))
    assert (shard.state, shard.entries) == (ShardState.SPLIT, ())
    assert await world.inner.failure_counts() == (2, 0)
    assert world.sender.jobs == []


async def test_the_grants_limit_is_learnt_for_further_shards(world: World) -> None:
    world.service.max_bytes = 4096
    await world.carry(await world.planned("000.png"))
    assert world.planner.max_bytes == 4096


async def test_a_changed_member_is_planned_as_it_is_now_under_the_same_grant(world: World) -> None:
    planned = await world.planned("000.png", "001.png")
    world.source.change("001.png", size=700)
    shard = await world.carry(planned)
    assert ShardState.SENT is shard.state
    assert tuple(world.source.entry(entry.path) for entry in planned.entries) == shard.entries
    assert tar_bytes(shard.entries, b"") == shard.tar_bytes == world.sender.jobs[1].tar_bytes
    assert len({job.grant.url.reveal() for job in world.sender.jobs}) == 1


async def test_a_member_that_grows_beyond_the_grant_goes_with_another(make_world: MakeWorld) -> None:
    world = make_world(2)
    world.service.max_bytes = 4096
    planned = await world.planned("000.png", "001.png")
    world.source.change("001.png", size=2000)
    shard = await world.carry(planned)
    others = await world.inner.pending_after(0, 10)
    assert [[entry.name for entry in each.entries] for each in (shard, *others)] == [["000.png"], ["001.png"]]


async def test_a_vanished_member_is_quarantined_and_the_rest_is_sent(world: World) -> None:
    planned = await world.planned("000.png", "001.png")
    del world.source.files[b"000.png"]
    await world.carry(planned)
    assert Counter(["001.png"]) == world.service.ledger
    failures = await world.inner.failures()
    assert [(name, what.reason, sent) for what, name, sent in failures] == [("000.png", RefusalReason.VANISHED, False)]


async def test_a_shard_whose_members_all_vanish_ends(world: World) -> None:
    planned = await world.planned("000.png", "001.png")
    world.source.files.clear()
    shard = await world.carry(planned)
    assert (shard.state, shard.entries, shard.grant) == (ShardState.SPLIT, (), None)
    assert await world.inner.failure_counts() == (2, 0)


async def test_a_member_that_cannot_be_read_is_quarantined_at_once(world: World) -> None:
    world.sender.script.append(Act(changed={1: RefusalReason.UNREADABLE}))
    await world.carry(await world.planned("000.png", "001.png"))
    assert Counter(["000.png"]) == world.service.ledger


async def test_a_member_is_quarantined_after_three_changes(world: World) -> None:
    world.sender.script.extend([Act(changed={0: RefusalReason.CHANGED})] * 3)
    await world.carry(await world.planned("000.png", "001.png"))
    assert (Counter(["001.png"]), 4) == (world.service.ledger, len(world.sender.jobs))
    failures = await world.inner.failures()
    assert [what.reason for what, _, _ in failures] == [RefusalReason.KEEPS_CHANGING]


async def test_a_refused_shard_names_every_member(world: World) -> None:
    world.sender.script.append(REFUSED)
    await world.carry(await world.planned("000.png", "001.png", "002.png"))
    assert sorted(name for _, name, _ in await world.inner.failures()) == ["000.png", "001.png", "002.png"]
    assert [failure.name for failure in world.tally.failures] == ["000.png", "001.png", "002.png"]
    assert world.tally.failed == 3


# grants that end


async def test_an_expired_grant_is_not_tried(world: World) -> None:
    world.service.lifetimes.append(10.0)
    planned = await world.planned("000.png")
    world.sender.script.append(dataclasses.replace(BUSY, retry_after=20.0))
    shard = await world.carry(planned)
    assert (shard.state, shard.grants, len(world.sender.jobs)) == (ShardState.SENT, 2, 2)


async def test_an_expired_grant_in_doubt_is_not_replaced(world: World) -> None:
    world.service.lifetimes.append(4.0)
    world.sender.script.append(dataclasses.replace(LOST, retry_after=5.0))
    shard = await world.carry(await world.planned("000.png"))
    assert (shard.state, shard.grants) == (ShardState.UNSURE, 1)


@pytest.mark.parametrize("lifetime", [-1.0, 3600.0], ids=["ended when given", "refused as expired"])
async def test_grants_that_keep_ending_use_up_the_budget(world: World, lifetime: float) -> None:
    """A clock that is wrong would otherwise ask for grants, and leave shards behind, without end and without rest."""
    world.service.lifetime = lifetime
    world.sender.script.extend([EXPIRED] * 1000)
    planned = await world.planned("000.png")
    with pytest.raises(TroublePassing):
        await world.carry(planned)
    assert len(world.service.granted) < 20
    assert world.clock.now >= 1060.0
    assert ShardState.PLANNED is (await world.inner.shard(planned.id)).state


# retries and their budget


async def test_waits_double_and_the_servers_word_is_a_floor(world: World) -> None:
    world.sender.script.extend([BUSY, BUSY, dataclasses.replace(BUSY, retry_after=30.0), BUSY])
    await world.carry(await world.planned("000.png"))
    retried = [event for event in world.events if isinstance(event, ShardRetried)]
    assert [event.delay for event in retried] == [1.0, 2.0, 30.0, 8.0]
    assert dict(world.tally.retries) == {"store 503": 4}
    assert len({(job.grant.url.reveal(), job.entries) for job in world.sender.jobs}) == 1


async def test_a_dead_line_ends_the_upload_once_the_budget_is_used_up(world: World) -> None:
    world.sender.script.extend([CUT] * 1000)
    planned = await world.planned("000.png")
    with pytest.raises(TroublePassing, match="run the same again"):
        await world.carry(planned)
    assert world.clock.now - 1000.0 == 60.0
    assert ShardState.GRANTED is (await world.inner.shard(planned.id)).state


async def test_a_shard_that_alone_does_not_get_through_is_left(world: World) -> None:
    world.sender.script.extend([CUT] * 1000)
    carrier, planned = world.carrier(), await world.planned("000.png")

    async def carry() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carrier.carry, planned)
            await world.clock.sleep(5.0)
            world.tally.last_success = world.clock.monotonic()

    await world.clock.run(carry)
    assert world.tally.given_up == 1
    assert ShardState.GRANTED is (await world.inner.shard(planned.id)).state


async def test_a_shard_that_is_left_keeps_its_doubt(world: World) -> None:
    """A later round would else take it for one of which nothing can have arrived, and double it."""
    world.sender.script.extend([BUSY, dataclasses.replace(LOST, retry_after=59.5)])
    carrier, planned = world.carrier(), await world.planned("000.png")
    world.tally.last_success = world.clock.monotonic() + 1.0
    await world.clock.run(lambda: carrier.carry(planned))
    shard = await world.inner.shard(planned.id)
    assert (world.tally.given_up, shard.state, shard.in_doubt) == (1, ShardState.GRANTED, True)


async def test_a_rest_longer_than_the_budget_ends_the_upload(world: World) -> None:
    """All rest together, so that going on with the others would wait for it."""
    world.sender.script.extend([BUSY, dataclasses.replace(BUSY, retry_after=3600.0)])
    carrier, planned = world.carrier(), await world.planned("000.png")
    world.tally.last_success = world.clock.monotonic() + 1.0
    with pytest.raises(TroublePassing):
        await world.clock.run(lambda: carrier.carry(planned))


async def test_a_grant_is_asked_for_until_it_is_given(world: World) -> None:
    world.service.troubles["grant"] = deque([TroublePassing("grant", status=503), TroublePassing("grant", status=429)])
    shard = await world.carry(await world.planned("000.png"))
    assert (shard.state, shard.grants) == (ShardState.SENT, 1)
    assert dict(world.tally.retries) == {"api 503": 1, "api 429": 1}


async def test_a_grant_whose_answer_was_lost_is_counted(world: World) -> None:
    """The service has registered a shard that nobody fills, and may list it for ever."""
    world.service.lost_answers["grant"] = deque([TroublePassing("grant")])
    shard = await world.carry(await world.planned("000.png"))
    assert (shard.state, shard.grants, len(world.service.granted)) == (ShardState.SENT, 2, 2)


async def test_a_final_refusal_of_a_grant_ends_the_upload_with_the_shard_planned(world: World) -> None:
    world.service.troubles["grant"] = deque([ServiceRefused("grant", status=402)])
    planned = await world.planned("000.png")
    with pytest.raises(ServiceRefused):
        await world.carry(planned)
    shard = await world.inner.shard(planned.id)
    assert (shard.state, shard.grants) == (ShardState.PLANNED, 1)


# interruptions

LIVES: dict[str, list[Act]] = {
    "plain": [],
    "answers": [LOST, GOOD, DAMAGED],
    "members": [Act(changed={0: RefusalReason.CHANGED}), TOO_LARGE, FORBIDDEN, CUT],
}


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("script", LIVES.values(), ids=LIVES)
async def test_cancelled_at_any_await_an_upload_resumes_to_every_image_once(
    make_world: MakeWorld, script: list[Act], after: bool
) -> None:
    number, was_cancelled = 0, True
    while was_cancelled:
        number += 1
        world = make_world(3)
        world.sender.script.extend(script)
        was_cancelled = await _cancelled_at(world, number, after=after)
        await world.restart()
        world.sender.script.clear()
        report = await world.upload()
        assert Counter(["000.png", "001.png", "002.png"]) == world.service.ledger, f"cancelled at call {number}"
        assert report.closes
        assert (report.planned, report.sent, report.is_confirmed) == (3, 3, True)
    assert number > 20


async def _cancelled_at(world: World, number: int, *, after: bool) -> bool:
    scope = anyio.CancelScope()

    def cancel() -> None:
        if threading.current_thread() is threading.main_thread():
            scope.cancel()
        else:
            anyio.from_thread.run_sync(scope.cancel)

    world.interruption = Interruption(number, after, strike=cancel)
    with scope:
        await world.upload()
    return world.interruption.count >= number


async def test_a_body_that_was_cut_short_leaves_no_doubt(world: World) -> None:
    shard = await _cancelled_while_sending(world, [CUT], share=0.5)
    assert (shard.state, shard.attempts, shard.in_doubt) == (ShardState.GRANTED, 0, False)


async def test_a_whole_body_leaves_doubt(world: World) -> None:
    shard = await _cancelled_while_sending(world, [GOOD], share=1.0)
    assert (shard.state, shard.attempts) == (ShardState.GRANTED, 1)


async def test_a_body_cut_short_keeps_the_doubt_of_earlier_attempts(world: World) -> None:
    shard = await _cancelled_while_sending(world, [LOST, CUT], share=0.5)
    assert (shard.state, shard.attempts, shard.in_doubt) == (ShardState.GRANTED, 1, True)


async def test_cancelled_while_all_rest_an_attempt_leaves_no_doubt(world: World) -> None:
    carrier, planned = world.carrier(), await world.planned("000.png")
    attempt = Interruption(3, of=frozenset({"update"}), strike=lambda: world.gate.slow_down(30.0))
    world.interruption = attempt

    async def carry() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(carrier.carry, planned)
            await world.clock.sleep(5.0)
            tasks.cancel_scope.cancel()

    await world.clock.run(carry)
    shard = await world.inner.shard(planned.id)
    assert (shard.state, shard.attempts) == (ShardState.GRANTED, 0)


async def _cancelled_while_sending(world: World, script: list[Act], *, share: float) -> Shard:
    carrier, planned = world.carrier(), await world.planned("000.png")
    with anyio.CancelScope() as scope:
        last = script[-1]
        world.sender.script.extend([*script[:-1], dataclasses.replace(last, sends=share, meanwhile=scope.cancel)])
        await world.clock.run(lambda: carrier.carry(planned))
    assert scope.cancelled_caught
    return await world.inner.shard(planned.id)
