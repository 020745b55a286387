from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest
from crc32c import crc32c
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rfbulk.core.fetching import Check, FetchKind, FetchOutcome, FetchResult, Unpacked, UnpackLimits
from rfbulk.core.tarstream import ArchiveFault, ArchiveUnsafe
from rfbulk.edge.landing import Site
from rfbulk.edge.lines import Call
from rfbulk.receivers.archive import Unpacking
from rfbulk.receivers.landing import land_all
from rfbulk.receivers.room import Room
from tests.receivers.conftest import LIMITS
from tests.support.archives import DAMAGED, END, HOSTILE, UNSAFE, header, long_name, member, packed, pax, tar_of
from tests.support.stores import SIGNATURE, Asked, Handler, Talk, google, head_of, open_store

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.receivers.conftest import Open, Target

pytestmark = pytest.mark.anyio

MIB = 1 << 20


def ignore(_count: int) -> None:
    pass


def giving(data: bytes, *headers: str) -> Handler:
    return lambda _asked, talk: talk.answer(data, *(headers or google(data)))


async def unpack(
    open_receiver: Open, target: Target, handler: Handler, *, limits: UnpackLimits = LIMITS
) -> FetchResult:
    """Fetch one archive."""
    with open_store(handler) as store:
        async with open_receiver(limits=limits) as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
    assert SIGNATURE not in repr(result)
    return result


def staged(target: Target, result: FetchResult) -> dict[str, bytes]:
    """The members by their names, read from where they lie."""
    return {found.name: (target.staging / found.staged).read_bytes() for found in result.members}


FILES = {"a.jpg": b"a" * 700, "sub/é.png": os.urandom(300_000), "deep/" * 20 + "x": b"", "sub/b": b"\x00" * 512}


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("pack", [packed, bytes], ids=["packed", "bare"])
async def test_members_are_unpacked_as_they_arrive_and_lie_in_staging(
    open_receiver: Open, target: Target, form: int, pack: Callable[[bytes], bytes]
) -> None:
    data = pack(tar_of(FILES, form))
    result = await unpack(open_receiver, target, giving(data))
    assert (result.outcome, result.check, result.refused) == (FetchOutcome.FETCHED, Check.CRC32C, ())
    assert (result.size, result.crc32c) == (len(data), crc32c(data))
    assert staged(target, result) == FILES
    assert [(found.size, found.crc32c) for found in result.members] == [(len(b), crc32c(b)) for b in FILES.values()]
    assert target.landed() == {}


@pytest.mark.parametrize(
    ("kind", "data", "headers", "check"),
    [
        (FetchKind.TAR_GZ, packed(tar_of(FILES)), ("x: y",), Check.ARCHIVE),
        (FetchKind.TAR_GZ, tar_of(FILES), ("x: y",), Check.LENGTH),
        (FetchKind.TAR, packed(tar_of(FILES)), ("x: y",), Check.ARCHIVE),
        (FetchKind.TAR_GZ, packed(tar_of(FILES)), ("Content-Encoding: gzip",), Check.ARCHIVE),
    ],
    ids=["packed", "unpacked on the way", "packed after all", "called packed"],
)
async def test_whether_it_is_packed_says_its_beginning(
    open_receiver: Open, target: Target, kind: FetchKind, data: bytes, headers: tuple[str, ...], check: Check
) -> None:
    """Stores unpack what was stored with an encoding, or say an encoding that was the file's own."""
    with open_store(giving(data, *headers)) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.job(store.url(), kind=kind)], ignore)
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, check)
    assert staged(target, result) == FILES


@pytest.mark.parametrize(("pack", "check"), [(packed, Check.ARCHIVE), (bytes, Check.NONE)], ids=["packed", "bare"])
async def test_an_answer_without_a_length_is_proved_by_a_gzip_alone(
    open_receiver: Open, target: Target, pack: Callable[[bytes], bytes], check: Check
) -> None:
    data = pack(tar_of(FILES))

    def handle(_asked: Asked, talk: Talk) -> None:
        talk.say(head_of("200 OK"), data)
        talk.hang_up()

    result = await unpack(open_receiver, target, handle)
    assert (result.outcome, result.check) == (FetchOutcome.FETCHED, check)


async def test_an_empty_archive_is_one(open_receiver: Open, target: Target) -> None:
    result = await unpack(open_receiver, target, giving(packed(END)))
    assert (result.outcome, result.members) == (FetchOutcome.FETCHED, ())


async def test_members_of_one_name_are_both_kept(open_receiver: Open, target: Target) -> None:
    """The last would win by a plain extraction, and the first be lost without a word."""
    data = member("a", b"first") + member("./a", b"second") + END
    result = await unpack(open_receiver, target, giving(data))
    assert [found.name for found in result.members] == ["a", "a"]
    assert [(target.staging / found.staged).read_bytes() for found in result.members] == [b"first", b"second"]


@pytest.mark.parametrize("data", HOSTILE.values(), ids=HOSTILE)
async def test_a_hostile_member_is_left_out_and_named(open_receiver: Open, target: Target, data: bytes) -> None:
    archive = member("before", b"1") + data + member("after", b"2") + END
    result = await unpack(open_receiver, target, giving(packed(archive)))
    if "global" in next(name for name, known in HOSTILE.items() if known is data):
        assert result.members == (Unpacked("before", "1/0", 1, crc32c(b"1")),)  # it stands for what follows too
    else:
        assert staged(target, result) == {"before": b"1", "after": b"2"}
    assert result.outcome is FetchOutcome.FETCHED
    assert all(name.isprintable() and reason for name, reason in result.refused)
    assert len(result.refused) >= 1
    assert set(target.staged()) == {found.staged for found in result.members}


async def test_a_file_behind_a_link_of_its_folders_name_stays_inside(open_receiver: Open, target: Target) -> None:
    """The oldest trick: a link that leads out, then a file through it."""
    data = member("x", kind=b"2", link=b"../../outside") + member("x/precious", b"evil") + END
    result = await unpack(open_receiver, target, giving(data))
    assert result.refused == (("x", "it is a link"),)
    with open_store(giving(data)) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
            (landed,) = await receiver.land([target.move(found) for found in result.members])
    assert landed.outcome is FetchOutcome.FETCHED
    assert target.landed() == {"x/precious": b"evil"}


@pytest.mark.parametrize("pack", [packed, bytes], ids=["packed", "bare"])
@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
async def test_of_a_damaged_archive_nothing_is_kept(
    open_receiver: Open, target: Target, data: bytes, pack: Callable[[bytes], bytes]
) -> None:
    result = await unpack(open_receiver, target, giving(pack(data)))
    assert (result.outcome, result.members) == (FetchOutcome.CORRUPT, ())
    assert result.detail
    assert target.staged() == {}


@pytest.mark.parametrize(
    ("handler", "outcome"),
    [
        (lambda talk, data: talk.answer(data, *google(b"x")), FetchOutcome.CORRUPT),
        (lambda talk, data: talk.answer(data[:-1]), FetchOutcome.CORRUPT),
        (lambda talk, data: talk.answer(data + b"x"), FetchOutcome.CORRUPT),
        (lambda talk, data: talk.answer(data[:-1], length=len(data)), FetchOutcome.BROKEN),
        (lambda talk, data: talk.say(head_of("200 OK") + data[:-1]), FetchOutcome.CORRUPT),
        (lambda talk, _data: talk.answer(b"", status="503 Busy"), FetchOutcome.BUSY),
        (lambda talk, _data: talk.answer(b"", status="404 Gone"), FetchOutcome.GONE),
    ],
    ids=["hash", "a byte less", "a byte more", "cut short", "cut without a length", "busy", "gone"],
)
async def test_of_an_archive_that_is_not_whole_nothing_is_kept(
    open_receiver: Open, target: Target, handler: Callable[[Talk, bytes], None], outcome: FetchOutcome
) -> None:
    data = packed(tar_of(FILES))

    def handle(_asked: Asked, talk: Talk) -> None:
        handler(talk, data)
        talk.hang_up()

    result = await unpack(open_receiver, target, handle)
    assert (result.outcome, result.members) == (outcome, ())
    assert target.staged() == {}


@pytest.mark.parametrize(
    ("data", "limits", "detail"),
    [
        (b"".join(member(str(n)) for n in range(1001)) + END, UnpackLimits(most_members=1000), "1,000 members"),
        (b"".join(pax(path="a") for _ in range(1001)) + member("a") + END, UnpackLimits(most_members=1000), "members"),
        (member("a", b"x" * 2000) + member("b", b"x" * 2000) + END, UnpackLimits(most_bytes=3000), "3,000 bytes"),
        (long_name("n" * 300) + member("a") + END, UnpackLimits(most_name_bytes=299), "299 characters"),
        (member("a", bytes(MIB)) + END, UnpackLimits(ratio_from_bytes=MIB // 2), "200 times"),
    ],
    ids=["members", "headers", "bytes", "names", "ratio"],
)
async def test_an_archive_beyond_a_limit_is_unsafe_and_nothing_of_it_is_kept(
    open_receiver: Open, target: Target, data: bytes, limits: UnpackLimits, detail: str
) -> None:
    result = await unpack(open_receiver, target, giving(packed(data)), limits=limits)
    assert (result.outcome, result.members) == (FetchOutcome.UNSAFE, ())
    assert detail in result.detail
    assert target.staged() == {}


async def test_a_size_that_lies_is_not_taken_for_a_full_disk(open_receiver: Open, target: Target) -> None:
    """A full disk stops the whole export."""
    data = pax(size=str(1 << 39)) + member("a", b"x")
    result = await unpack(open_receiver, target, giving(data))
    assert (result.outcome, target.staged()) == (FetchOutcome.CORRUPT, {})


@pytest.mark.parametrize("data", UNSAFE.values(), ids=UNSAFE)
async def test_what_announces_more_than_any_limit_is_unsafe(open_receiver: Open, target: Target, data: bytes) -> None:
    result = await unpack(open_receiver, target, giving(data))
    assert (result.outcome, target.staged()) == (FetchOutcome.UNSAFE, {})


async def test_a_size_beyond_all_limits_is_refused_before_anything_is_written(
    open_receiver: Open, target: Target
) -> None:
    data = pax(size=str(1 << 50)) + member("a", b"x")
    result = await unpack(open_receiver, target, giving(data))
    assert (result.outcome, target.staged()) == (FetchOutcome.UNSAFE, {})


async def test_what_an_earlier_attempt_has_left_is_gone(open_receiver: Open, target: Target) -> None:
    (target.staging / "1/sub").mkdir(parents=True)
    (target.staging / "1/0").write_bytes(b"old")
    result = await unpack(open_receiver, target, giving(tar_of({"a": b"new"})))
    assert staged(target, result) == {"a": b"new"}
    assert set(target.staged()) == {"1/0"}


CORPUS = [
    tar_of({"a": b"x" * 700, "b/" * 60 + "c": b"y"}),
    b"".join([*HOSTILE.values()]) + END,
    tar_of({"é" * 90: b"1", "b": b"2" * 600}, tarfile.GNU_FORMAT),
    member("x", kind=b"2", link=b"../../outside") + member("x/precious", b"evil") + END,
]
MUTATION = st.tuples(st.floats(0, 0.999), st.sampled_from(["set", "cut", "insert", "repeat"]), st.binary(max_size=20))


def mutated(data: bytes, changes: list[tuple[float, str, bytes]]) -> bytes:
    for place, kind, value in changes:
        at = int(place * len(data))
        match kind:
            case "set":
                data = data[:at] + value + data[at + len(value) :]
            case "cut":
                data = data[:at]
            case "insert":
                data = data[:at] + value + data[at:]
            case _:
                data = data[: at - at % 512 + 512] + data[at - at % 512 :]
    return data


@pytest.mark.slow
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    base=st.integers(0, len(CORPUS) - 1),
    changes=st.lists(MUTATION, max_size=5),
    behind=st.none() | st.lists(MUTATION, max_size=2),
    size=st.integers(1, 3000),
)
def test_whatever_an_archive_holds_nothing_but_its_target_changes(
    target: Target,
    base: int,
    changes: list[tuple[float, str, bytes]],
    behind: list[tuple[float, str, bytes]] | None,
    size: int,
) -> None:
    """The fixture looks at what is outside. `behind` are changes of what is packed already."""
    data = mutated(CORPUS[base], changes)
    data = data if behind is None else mutated(packed(data), behind)
    pieces = (memoryview(data)[start : start + size] for start in range(0, len(data), size))
    with Site(target.folders.target, target.folders.staging) as site:
        folder = site.create_folder("1")
        unpacking = Unpacking(1, folder, Room(site, 0), LIMITS)
        with contextlib.suppress(ArchiveFault, ArchiveUnsafe):
            unpacking.unpack(pieces)
        os.close(folder)
        moves = [target.move(found, f"{n}/{found.name}") for n, found in enumerate(unpacking.members)]
        landed = land_all(moves, site, Call(ignore), target.reached.append)
        assert {FetchOutcome.FETCHED} >= {move.outcome for move in landed}
        site.remove("1")
    assert not any(path.is_symlink() for path in target.path.rglob("*"))
    shutil.rmtree(target.path)
    target.path.mkdir()


async def test_nothing_of_a_members_mode_or_time_is_taken_over(open_receiver: Open, target: Target) -> None:
    """No set-uid, nothing that cannot be read or deleted."""
    data = header("set-uid") + END
    with open_store(giving(data)) as store:
        async with open_receiver() as receiver:
            (result,) = await receiver.fetch([target.tar(store.url())], ignore)
            await receiver.land([target.move(found) for found in result.members])
    usual = target.path / "usual"
    usual.write_bytes(b"")
    assert (target.path / "set-uid").stat().st_mode == usual.stat().st_mode
