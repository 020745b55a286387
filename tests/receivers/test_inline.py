from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import Check, FetchJob, FetchKind, FetchOutcome, UnpackLimits
from rfbulk.core.getting import MARK_BYTES
from rfbulk.core.secrets import SignedUrl
from rfbulk.edge import threads
from rfbulk.edge.transport import TransportOptions
from rfbulk.errors import NotAuthorised, ServiceRefused, UsageError
from rfbulk.receivers.inline import GROUP_BYTES, InlineReceiver
from tests.receivers.conftest import Unlimited
from tests.support.archives import packed, tar_of
from tests.support.stores import Asked, Talk, google, head_of, honest, open_store

if TYPE_CHECKING:
    from pathlib import Path

    from tests.edge.conftest import Authority
    from tests.receivers.conftest import Open, Target

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def ignore(_count: int) -> None:
    pass


def receiving_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rfbulk-")]


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    for thread in receiving_threads():
        thread.join(1)
    assert receiving_threads() == []


# many at once


async def test_no_more_groups_are_in_flight_than_there_is_room_for(open_receiver: Open, target: Target) -> None:
    lock = threading.Lock()
    now = most = 0

    def handle(_asked: Asked, talk: Talk) -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        talk.pause(0.005)
        with lock:
            now -= 1
        talk.answer(b"x")

    with open_store(handle) as store:
        async with open_receiver(most_at_once=2) as receiver, anyio.create_task_group() as group:
            for n in range(6):
                group.start_soon(receiver.fetch, [target.job(store.url(), n, str(n))], ignore)
        assert (most, store.connections) == (2, 2)


async def test_files_fetched_at_once_arrive_as_they_are(open_receiver: Open, target: Target) -> None:
    """Buffers go from group to group."""
    objects = {f"{n}.bin": os.urandom(size) for n, size in enumerate([10, 70_000, MIB + 3, 300_000] * 4)}
    with open_store(honest(objects)) as store:
        async with open_receiver(most_at_once=3) as receiver, anyio.create_task_group() as group:
            for n, name in enumerate(objects):
                group.start_soon(receiver.fetch, [target.job(store.url(name), n, name)], ignore)
    assert target.landed() == objects


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_files_come_over_tls_as_over_plain_lines(
    open_receiver: Open, target: Target, authority: Authority, scheme: str
) -> None:
    objects = {f"{n}.bin": os.urandom(size) for n, size in enumerate([0, 10, 70_000, MIB + 3])}
    context = authority.context("127.0.0.1") if scheme == "https" else None
    options = TransportOptions(connect_seconds=5.0, ca_file=authority.ca_file, environment={})
    with open_store(honest(objects), context) as store:
        async with open_receiver(options=options) as receiver:
            jobs = [target.job(store.url(name), n, name) for n, name in enumerate(objects)]
            results = await receiver.fetch(jobs, ignore)
    assert [result.check for result in results] == [Check.CRC32C] * 4
    assert target.landed() == objects
    assert store.connections == 1


async def test_no_job_is_no_work(open_receiver: Open, target: Target) -> None:
    async with open_receiver() as receiver:
        assert await receiver.fetch([], ignore) == []
        assert await receiver.land([]) == []
    assert target.staged() == {}


# what ends the export


async def test_a_store_that_cannot_prove_who_it_is_ends_the_export(
    open_receiver: Open, target: Target, authority: Authority
) -> None:
    with open_store(honest({"o": b"x"}), authority.context("127.0.0.1")) as store:
        async with open_receiver() as receiver:
            with pytest.raises(ServiceRefused, match="certificate"):
                await receiver.fetch([target.job(store.url())], ignore)


async def test_a_proxy_that_refuses_ends_the_export(open_receiver: Open, target: Target) -> None:
    with open_store(lambda _asked, talk: talk.answer(b"", status="403 No")) as gate:
        options = TransportOptions(environment={"https_proxy": f"http://127.0.0.1:{gate.port}"})
        async with open_receiver(options=options) as receiver:
            with pytest.raises(NotAuthorised, match="the proxy answered 403"):
                await receiver.fetch([target.job(SignedUrl("https://store.example/o?sig=x"))], ignore)


async def test_plain_http_goes_through_a_proxy_with_its_whole_url(open_receiver: Open, target: Target) -> None:
    url = "http://store.example/o%2F?sig=a%2Fb"
    with open_store(honest({url.partition("?")[0]: b"x"})) as gate:
        options = TransportOptions(environment={"http_proxy": f"http://u:p@127.0.0.1:{gate.port}"}, allow_http=True)
        async with open_receiver(options=options) as receiver:
            (result,) = await receiver.fetch([target.job(SignedUrl(url))], ignore)
    assert result.outcome is FetchOutcome.FETCHED
    assert gate.asked[0].head.startswith(f"GET {url} HTTP/1.1\r\nHost: store.example\r\n".encode())
    assert gate.asked[0].headers["proxy-authorization"] == "Basic dTpw"


@pytest.mark.parametrize(
    "url", ["http://store.example/o", "ftp://a/b", "https://u@a/b", "https:///b", "x", "http://127.0.0.1/a b"]
)
async def test_a_url_that_is_not_to_be_gone_to_is_refused(open_receiver: Open, target: Target, url: str) -> None:
    async with open_receiver() as receiver:
        (result,) = await receiver.fetch([target.job(SignedUrl(url))], ignore)
    assert result.outcome is FetchOutcome.REFUSED
    assert result.detail.startswith("the URL ")


async def test_a_store_that_is_not_there_is_told(open_receiver: Open, target: Target) -> None:
    with open_store(honest({})) as store:
        pass
    async with open_receiver() as receiver:
        (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert result.outcome is FetchOutcome.BROKEN
    assert result.detail == f"no connection to 127.0.0.1:{store.port}: Connection refused"


async def test_a_target_that_is_not_there_ends_the_export(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"o": b"x"})) as store:
        async with open_receiver() as receiver:
            folders = target.folders
            job = FetchJob(1, store.url(), folders.target + b"/no", folders.target + b"/no/.staging", "a")
            with pytest.raises(UsageError, match="No such file"):
                await receiver.fetch([job], ignore)


async def test_what_on_bytes_raises_comes_out(open_receiver: Open, target: Target) -> None:
    class KilledError(Exception):
        pass

    def kill(_count: int) -> None:
        raise KilledError

    with open_store(honest({"o": b"x"})) as store:
        async with open_receiver() as receiver:
            with pytest.raises(KilledError):
                await receiver.fetch([target.job(store.url())], kill)
    assert target.staged() == {}


# cancellation


async def until(is_so: Callable[[], object]) -> None:
    while not is_so():  # noqa: ASYNC110 - a thread gets there, which tells no event
        await asyncio.sleep(0.001)


async def cancelled(receiver: InlineReceiver, job: FetchJob, reached: Callable[[], object]) -> None:
    """Fetch, and cancel at a place: it must be over at once, with nothing left behind."""
    with anyio.fail_after(2):
        async with anyio.create_task_group() as group:
            group.start_soon(receiver.fetch, [job], ignore)
            await until(reached)
            group.cancel_scope.cancel()


class Slow(Unlimited):
    """A rate of next to nothing."""

    def due(self, count: int) -> float:
        return super().due(count) + 3600


@pytest.mark.parametrize("where", ["answer", "body", "rate", "archive"])
async def test_cancelled_at_any_wait_is_over_at_once_and_leaves_nothing(
    open_receiver: Open, target: Target, where: str
) -> None:
    reached = threading.Event()
    data = os.urandom(1000) if where != "archive" else packed(tar_of({"a": os.urandom(90_000), "b": b"x"}))[:80_000]

    def handle(_asked: Asked, talk: Talk) -> None:
        if where != "answer":
            talk.say(head_of("200 OK", "Content-Length: 100000"), data)
        reached.set()
        talk.wait()

    def is_there() -> bool:
        return reached.is_set() and (where != "archive" or (target.staging / "1/0").exists())

    rate = Slow() if where == "rate" else Unlimited()
    with open_store(handle) as store:
        async with open_receiver(rate=rate, stall_seconds=60) as receiver:
            kind = FetchKind.TAR_GZ if where == "archive" else FetchKind.PLAIN
            await cancelled(receiver, target.job(store.url(), kind=kind), is_there)
            for thread in receiving_threads():
                thread.join(1)
            assert target.staged() == {}
    assert target.landed() == {}


async def test_what_was_cancelled_is_continued(open_receiver: Open, target: Target) -> None:
    body = os.urandom(3 * MARK_BYTES)
    cut = 2 * MARK_BYTES

    def handle(asked: Asked, talk: Talk) -> None:
        if asked.range_from is None:
            talk.say(head_of("200 OK", f"Content-Length: {len(body)}", *google(body)), body[:cut])
            talk.wait()
        else:
            honest({"o": body})(asked, talk)

    with open_store(handle) as store:
        async with open_receiver(stall_seconds=60) as receiver:
            part = target.staging / "1.part"
            await cancelled(receiver, target.job(store.url()), lambda: part.exists() and part.stat().st_size == cut)
            for thread in receiving_threads():
                thread.join(1)
            (result,) = await receiver.fetch([target.job(store.url())], ignore)
    assert (result.outcome, result.resumed_from) == (FetchOutcome.FETCHED, cut)
    assert target.landed() == {"a.jpg": body}


async def test_a_thread_that_hangs_is_left_behind_and_lands_nothing_when_it_wakes(
    open_receiver: Open, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "END_SECONDS", 0.02)
    begun, ends = threading.Event(), threading.Event()

    def hang(failpoint: Failpoint) -> None:
        assert failpoint is Failpoint.FETCH_STAGED
        begun.set()
        ends.wait()

    with open_store(honest({"o": b"x"})) as store:
        async with open_receiver(reach=hang, most_at_once=1) as receiver:
            await cancelled(receiver, target.job(store.url()), begun.is_set)
            assert receiver._room.available_tokens == 1
            ends.set()
            await until(lambda: not receiving_threads())
    assert target.landed() == {}
    assert target.staged() == {}


# landing


async def test_members_land_where_they_are_told_to_and_once(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"o": packed(tar_of({"a": b"1", "d/b": b"2"}))})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
            moves = [target.move(found, f"x/y/{found.name}") for found in result.members]
            first = await receiver.land(moves)
            again = await receiver.land(moves)
    assert target.landed() == {"x/y/a": b"1", "x/y/d/b": b"2"}
    assert target.staged() == {}
    assert first == again  # a crash may have come behind the moves and before their record
    status = (target.path / "x/y/a").stat()
    assert first[0].fingerprint is not None
    assert first[0].fingerprint.inode == status.st_ino
    assert target.reached == [Failpoint.LAND_STARTED] * 2


async def test_a_member_that_finds_its_place_taken_stays_staged(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"o": tar_of({"a": b"1", "b": b"2", "c": b"3"})})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
            (target.path / "a").write_bytes(b"mine")
            (target.path / "b").write_bytes(b"2")
            landed = await receiver.land([target.move(found) for found in result.members])
            assert [move.outcome.value for move in landed] == ["taken", "fetched", "fetched"]
            assert target.staged() == {"1/0": b"1"}
            (moved,) = await receiver.land([target.move(result.members[0], "a~2")])
            assert moved.outcome is FetchOutcome.FETCHED
            (moved,) = await receiver.land([target.move(result.members[1], "a", overwrite=True)])
    assert moved.outcome is FetchOutcome.GONE  # it has landed already, elsewhere
    assert target.landed() == {"a": b"mine", "a~2": b"1", "b": b"2", "c": b"3"}


async def test_a_member_replaces_what_is_there_if_its_move_says_so(open_receiver: Open, target: Target) -> None:
    with open_store(honest({"o": tar_of({"a": b"1"})})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
            (target.path / "a").write_bytes(b"mine")
            (landed,) = await receiver.land([target.move(result.members[0], overwrite=True)])
    assert landed.outcome is FetchOutcome.FETCHED
    assert target.landed() == {"a": b"1"}


async def test_a_member_does_not_land_through_a_link(open_receiver: Open, target: Target, tmp_path: Path) -> None:
    (target.path / "d").symlink_to(tmp_path / "outside")
    with open_store(honest({"o": tar_of({"d/precious": b"evil"})})) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
            (landed,) = await receiver.land([target.move(result.members[0], overwrite=True)])
    assert landed.outcome is FetchOutcome.UNWRITABLE
    assert set(target.staged()) == {"1/0"}


# the disk


async def test_what_landed_can_be_made_durable(open_receiver: Open, target: Target) -> None:
    async with open_receiver() as receiver:
        await receiver.sync()


async def test_what_is_in_staging_can_be_thrown_away(open_receiver: Open, target: Target, tmp_path: Path) -> None:
    (target.staging / "1/deep").mkdir(parents=True)
    (target.staging / "1/deep/x").write_bytes(b"x")
    (target.staging / "2.part").write_bytes(b"x")
    (target.staging / "3").symlink_to(tmp_path / "outside")
    async with open_receiver() as receiver:
        await receiver.discard()
        await receiver.discard()
    assert not target.staging.exists()


async def test_a_reserve_of_the_disk_is_left_free(open_receiver: Open, target: Target) -> None:
    limits = UnpackLimits(reserve_bytes=1 << 60)
    with open_store(honest({"o": tar_of({"a": b"x"})})) as store:
        async with open_receiver(limits=limits) as receiver:
            results = [
                await receiver.fetch([job, target.job(store.url(), 2, "never")], ignore)
                for job in (target.job(store.url()), target.tar(store.url()))
            ]
    assert [[result.outcome for result in group] for group in results] == [[FetchOutcome.NO_ROOM]] * 2
    assert (target.landed(), target.staged()) == ({}, {})
    assert {asked.name for asked in store.asked} == {"o"}


@contextmanager
def a_small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode:
        folder.rmdir()
        pytest.skip("only root can mount a small disk")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@pytest.mark.parametrize("kind", list(FetchKind))
async def test_a_full_disk_is_told_and_left_with_nothing_half_done(
    open_receiver: Open, target: Target, kind: FetchKind
) -> None:
    body = os.urandom(MIB + MIB // 2)
    data = body if kind is FetchKind.PLAIN else tar_of({"a": b"x", "b": body})
    data = packed(data) if kind is FetchKind.TAR_GZ else data
    small = target.path / "small"
    with a_small_disk(small), open_store(honest({"o": data, "p": b"p"})) as store:
        where = os.fsencode(small), os.fsencode(small / ".staging")
        async with open_receiver() as receiver:
            big = FetchJob(1, store.url(), *where, "a.jpg", kind)
            results = await receiver.fetch([big, FetchJob(2, store.url("p"), *where, "p")], ignore)
            assert [result.outcome for result in results] == [FetchOutcome.NO_ROOM]
            assert "no room" in results[0].detail
            (result,) = await receiver.fetch([FetchJob(2, store.url("p"), *where, "p")], ignore)
        left = {str(path.relative_to(small)) for path in small.rglob("*") if path.is_file()}
    assert left in ({"p"}, {"p", ".staging/1.part", ".staging/1.mark"})
    assert result.outcome is FetchOutcome.FETCHED


async def test_a_disk_that_others_fill_meanwhile_is_told(open_receiver: Open, target: Target) -> None:
    small = target.path / "small"

    class Filling(Unlimited):
        """Takes what is left of the disk while something is on its way."""

        def due(self, count: int) -> float:
            with contextlib.suppress(OSError), (small / "others").open("ab", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
            return super().due(count)

    with a_small_disk(small), open_store(honest({"o": os.urandom(300_000)})) as store:
        where = os.fsencode(small), os.fsencode(small / ".staging")
        async with open_receiver(rate=Filling()) as receiver:
            (result,) = await receiver.fetch([FetchJob(1, store.url(), *where, "a.jpg")], ignore)
        left = {path.name for path in small.rglob("*") if path.is_file()}
    assert (result.outcome, left) == (FetchOutcome.NO_ROOM, {"others"})


# memory


@pytest.mark.slow
@pytest.mark.parametrize("kind", list(FetchKind))
async def test_a_group_in_flight_holds_no_more_than_its_buffers(
    open_receiver: Open, target: Target, kind: FetchKind
) -> None:
    block = os.urandom(MIB)
    data = block * 24
    if kind is not FetchKind.PLAIN:
        data = tar_of({"a": data, "b": bytes(1000)})
    if kind is FetchKind.TAR_GZ:
        data = packed(data)
    head = head_of("200 OK", f"Content-Length: {len(data)}", *google(data))
    with open_store(lambda _asked, talk: talk.say(head, data)) as store:
        async with open_receiver() as receiver:
            tracemalloc.start()
            try:
                before, _ = tracemalloc.get_traced_memory()
                tracemalloc.reset_peak()
                (result,) = await receiver.fetch([target.job(store.url(), kind=kind)], ignore)
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert result.outcome is FetchOutcome.FETCHED
    assert peak - before <= GROUP_BYTES + (256 << 10)
