"""The inbox of notifications, on a real disk."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfbulk.core.notices import parse_notice
from rfbulk.edge.notices_store import KEPT_SECONDS, MAX_CONFLICTS, Delivery, Inbox, latest_number, open_inbox
from rfbulk.errors import CheckpointBusy, NoRoom

pytestmark = pytest.mark.anyio


def job_event(event: str = "e-1", *, attempt: int = 1, job: str = "j-1", state: str = "success") -> bytes:
    return json.dumps(
        {
            "type": "roboflow-batch-job-notification-v1",
            "event_id": event,
            "job_id": job,
            "job_state": state,
            "delivery_attempt": attempt,
        }
    ).encode()


def ingest_event(event: str, batch: str = "spring") -> bytes:
    notification = {"type": "ingest-status-notification-v1", "success": True}
    kind = "roboflow-data-staging-notification-v1"
    return json.dumps({"type": kind, "event_id": event, "batch_id": batch, "notification": notification}).encode()


@asynccontextmanager
async def inbox_of(
    folder: Path, *, follows: bool = True, flows: bool = True, now: Callable[[], float] = lambda: 1000.0
) -> AsyncIterator[Inbox]:
    manager = open_inbox(folder, follows=follows, flows=flows, now=now)
    inbox = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        yield inbox
    finally:
        await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


async def store(inbox: Inbox, body: bytes) -> Delivery:
    return await inbox.store(body, parse_notice(body))


async def test_a_repeated_delivery_is_counted_and_kept_once(tmp_path: Path) -> None:
    async with inbox_of(tmp_path) as inbox:
        assert await store(inbox, job_event()) is Delivery.NEW
        assert await store(inbox, job_event(attempt=2)) is Delivery.REPEATED
        assert await inbox.counts() == (1, 2, 0)
        (kept,) = await inbox.to_follow(9)
    assert (kept.event_id, kept.body, kept.deliveries, kept.conflicts) == ("e-1", job_event(), 2, 0)


async def test_another_content_under_one_event_is_kept_beside_and_flagged(tmp_path: Path) -> None:
    async with inbox_of(tmp_path) as inbox:
        await store(inbox, job_event())
        assert await store(inbox, job_event(state="fail")) is Delivery.CONFLICTING
        assert await store(inbox, job_event(attempt=3)) is Delivery.REPEATED
        (kept,) = await inbox.to_follow(9)
        assert (kept.body, kept.deliveries, kept.conflicts) == (job_event(), 3, 1)
        path = inbox.path
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT event_id, body FROM conflicts").fetchall() == [("e-1", job_event(state="fail"))]
    db.close()


async def test_endless_conflicts_do_not_fill_the_disk(tmp_path: Path) -> None:
    async with inbox_of(tmp_path) as inbox:
        for number in range(3 * MAX_CONFLICTS):
            await store(inbox, job_event(job=f"j-{number}"))
        rows = await inbox._run(lambda db: db.execute("SELECT count(*) FROM conflicts").fetchone()[0])
    assert rows == MAX_CONFLICTS


async def test_what_is_kept_outlives_the_process(tmp_path: Path) -> None:
    async with inbox_of(tmp_path) as inbox:
        await store(inbox, job_event("a"))
        await store(inbox, job_event("b"))
        await inbox.record_followed(1, "done")
    async with inbox_of(tmp_path) as inbox:
        assert await store(inbox, job_event("a", attempt=2)) is Delivery.REPEATED
        assert [kept.event_id for kept in await inbox.to_follow(9)] == ["b"]


async def test_what_failed_is_due_again_later(tmp_path: Path) -> None:
    time = [1000.0]
    async with inbox_of(tmp_path, now=lambda: time[0]) as inbox:
        await store(inbox, job_event())
        await inbox.record_attempt(1, 30.0)
        assert (await inbox.to_follow(9), await inbox.next_due()) == ([], 30.0)
        time[0] = 1030.0
        assert [kept.attempts for kept in await inbox.to_follow(9)] == [1]
        assert await inbox.to_follow(9, without=(1,)) == []


async def test_what_came_while_nothing_was_to_follow_is_not_followed_later(tmp_path: Path) -> None:
    async with inbox_of(tmp_path, follows=False, flows=False) as inbox:
        await store(inbox, job_event("a"))
        await store(inbox, ingest_event("b"))
    async with inbox_of(tmp_path) as inbox:
        assert await inbox.to_follow(9) == []
        assert await inbox.subjects_to_flow() == []


async def test_a_flow_works_off_all_that_came_until_it_began(tmp_path: Path) -> None:
    async with inbox_of(tmp_path) as inbox:
        for event, batch in (("a", "spring"), ("b", "summer"), ("c", "spring")):
            await store(inbox, ingest_event(event, batch))
        await store(inbox, job_event("d"))
        assert await inbox.subjects_to_flow() == [("batch spring", 3), ("batch summer", 2)]
        await store(inbox, ingest_event("e", "spring"))
        await inbox.record_flowed("batch spring", 3, "done")
        assert await inbox.subjects_to_flow() == [("batch summer", 2), ("batch spring", 5)]


async def test_two_receivers_do_not_share_a_folder(tmp_path: Path) -> None:
    async with inbox_of(tmp_path):
        with pytest.raises(CheckpointBusy):
            async with inbox_of(tmp_path):
                pass


async def test_others_see_what_has_come(tmp_path: Path) -> None:
    def seen(subject: str) -> int:
        return latest_number(tmp_path, subject)

    assert await anyio.to_thread.run_sync(seen, "job j-1") == 0
    async with inbox_of(tmp_path) as inbox:
        await store(inbox, job_event("a"))
        await store(inbox, job_event("b"))
        assert await anyio.to_thread.run_sync(seen, "job j-1") == 2
        assert await anyio.to_thread.run_sync(seen, "job j-2") == 0


async def test_the_old_and_done_is_forgotten(tmp_path: Path) -> None:
    async with inbox_of(tmp_path, flows=False) as inbox:
        await store(inbox, job_event("done"))
        await store(inbox, job_event("waiting"))
        await inbox.record_followed(1, "done")
    async with inbox_of(tmp_path, now=lambda: 1001.0 + KEPT_SECONDS) as inbox:
        assert (await inbox.counts())[0] == 1


async def test_a_full_disk_is_outlived(tmp_path: Path) -> None:
    async with inbox_of(tmp_path) as inbox:
        await store(inbox, job_event("a"))
        pages = await inbox._run(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        await inbox._run(lambda db: db.execute(f"PRAGMA max_page_count = {pages}").fetchall())
        with pytest.raises(NoRoom):
            await store(inbox, job_event("b", state="x" * 20_000))
        assert await store(inbox, job_event("b")) is Delivery.NEW  # whoever sends it again finds room
        assert [kept.event_id for kept in await inbox.to_follow(9)] == ["a", "b"]


async def test_nobody_else_can_read_it(tmp_path: Path) -> None:
    async with inbox_of(tmp_path / "inbox") as inbox:
        assert inbox.path.stat().st_mode & 0o077 == 0
        assert inbox.path.parent.stat().st_mode & 0o077 == 0


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(deliveries=st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.integers(1, 3)), max_size=30))
def test_each_event_is_kept_once_whatever_comes_in_whatever_order(
    tmp_path_factory: pytest.TempPathFactory, deliveries: list[tuple[int, int, int]]
) -> None:
    bodies = [job_event(f"e-{event}", job=f"j-{job}", attempt=attempt) for event, job, attempt in deliveries]

    async def work() -> tuple[tuple[int, int, int], dict[str, bytes]]:
        async with inbox_of(tmp_path_factory.mktemp("inbox")) as inbox:
            for body in bodies:
                await store(inbox, body)
            return await inbox.counts(), {kept.event_id: kept.body for kept in await inbox.to_follow(99)}

    (events, delivered, conflicts), kept = anyio.run(work)
    first: dict[str, tuple[int, bytes]] = {}
    for (event, job, _), body in zip(deliveries, bodies, strict=True):
        first.setdefault(f"e-{event}", (job, body))
    assert (events, delivered) == (len(first), len(deliveries))
    assert conflicts == sum(job != first[f"e-{event}"][0] for event, job, _ in deliveries)
    assert kept == {event: body for event, (_, body) in first.items()}
