from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from rfbulk.core.model import Entry, Grant, Refusal, RefusalReason
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.transfer import PENDING, Shard, ShardState
from rfbulk.edge import checkpoint as module
from rfbulk.edge import checkpoint_schema as schema
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint, summaries
from rfbulk.edge.checkpoint_file import remove_files
from rfbulk.edge.seal import seal_of
from rfbulk.edge.writer import SqliteWriter
from rfbulk.errors import CheckpointBusy, CheckpointDamaged, RfbulkError, UsageError
from tests.support.planned import plan_now

pytestmark = pytest.mark.anyio

IDENTITY = Identity("https://api.example.com", "work", "spring", ("/photos",))
CANARY = "c4n4ry"
GRANT = Grant(
    SignedUrl(f"https://store.example.com/bucket/shard-1.tar?X-Goog-Signature={CANARY}"),
    {"x-goog-if-generation-match": "0"},
    1 << 26,
    1_700_000_000.5,
    once_only=True,
)
Planned = tuple[tuple[Entry, ...], int]
LOST = "the store answered 403"


def entry(number: int, size: int = 10) -> Entry:
    return Entry(0, b"%d.jpg" % number, f"{number}.jpg", size, 1_700_000_000_000_000_000 + number, number)


def planned(*sizes: int) -> list[Planned]:
    """Shards of so many entries each, numbered through."""
    numbers = iter(range(sum(sizes)))
    return [(tuple(entry(next(numbers)) for _ in range(size)), 1024 * size) for size in sizes]


@asynccontextmanager
async def opened(folder: Path, identity: Identity = IDENTITY, *, restart: bool = False) -> AsyncIterator[Checkpoint]:
    """Open a checkpoint as the client does: what blocks on the disk in a thread."""
    manager = open_checkpoint(folder, identity, restart=restart)
    checkpoint = await anyio.to_thread.run_sync(manager.__enter__)
    try:
        yield checkpoint
    finally:
        await anyio.to_thread.run_sync(manager.__exit__, None, None, None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def checkpoint(folder: Path) -> Iterator[Checkpoint]:
    with open_checkpoint(folder, IDENTITY) as found:
        yield found


def bytes_in(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def in_file(path: Path, sql: str, *values: object) -> list[Any]:
    """Another program's hand in a checkpoint; it breaks no seal, as one of another rfbulk would not."""
    seal_of(path).unlink(missing_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, values).fetchall()


def files_of(folder: Path) -> Path:
    return folder / f"{IDENTITY.id}.sqlite"


# identity


def test_equal_identities_share_a_checkpoint_and_all_others_do_not() -> None:
    others = [
        replace_identity(service="https://api.example.org"),
        replace_identity(workspace="play"),
        replace_identity(batch="summer"),
        replace_identity(sources=("/photos", "/more")),
        replace_identity(sources=()),
    ]
    assert IDENTITY.id == replace_identity().id
    assert len({IDENTITY.id, *(other.id for other in others)}) == 6


def replace_identity(**values: Any) -> Identity:
    fields: dict[str, Any] = {"service": IDENTITY.service, "workspace": "work", "batch": "spring"}
    return Identity(**(fields | {"sources": ("/photos",)} | values))


# facts and shards


async def test_a_fact_is_kept_and_replaced(checkpoint: Checkpoint) -> None:
    assert await checkpoint.fact("names") is None
    await checkpoint.record_fact("names", "path")
    await checkpoint.record_fact("names", "auto")
    assert await checkpoint.fact("names") == "auto"
    assert await checkpoint.fact("batch") == "spring"


async def test_planned_shards_come_back_in_order_page_by_page(checkpoint: Checkpoint) -> None:
    shards = planned(3, 1, 2, 5)
    await checkpoint.plan_shards(shards[:2])
    await checkpoint.plan_shards(shards[2:])
    found = await checkpoint.pending_after(0, 3) + await checkpoint.pending_after(3, 3)
    assert [(shard.entries, shard.tar_bytes) for shard in found] == shards
    assert [shard.sequence for shard in found] == [1, 2, 3, 4]
    assert {ShardState.PLANNED} == {shard.state for shard in found}


@pytest.mark.parametrize("state", ShardState)
async def test_only_planned_and_granted_shards_are_pending(checkpoint: Checkpoint, state: ShardState) -> None:
    await checkpoint.plan_shards(planned(1))
    [shard] = await checkpoint.pending_after(0, 9)
    await checkpoint.update(replace(shard, state=state, grant=GRANT))
    assert bool(await checkpoint.pending_after(0, 9)) is (state in PENDING)
    assert [shard.id] == [found.id for found in await checkpoint.in_state(state)]


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
COUNTS = st.integers(0, 2**31)
ENTRIES = st.builds(
    Entry,
    st.integers(0, 9),
    st.binary(min_size=1, max_size=20),
    TEXTS,
    st.integers(1, 20_971_520),
    st.integers(-(2**70), 2**70),
    st.integers(0, 2**128),
)
GRANTS = st.builds(
    Grant,
    TEXTS.map(SignedUrl),
    st.dictionaries(TEXTS, TEXTS, max_size=3),
    st.none() | COUNTS,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
SHARDS = st.builds(
    Shard,
    id=st.just(1),
    sequence=st.just(1),
    state=st.sampled_from(ShardState),
    entries=st.lists(ENTRIES, max_size=4).map(tuple),
    tar_bytes=COUNTS,
    grant=GRANTS,
    grants=COUNTS,
    attempts=COUNTS,
    in_doubt=st.booleans(),
    hash_failures=COUNTS,
    forbidden=COUNTS,
    object_path=TEXTS,
    etag=TEXTS,
    crc32c=st.none() | st.integers(0, 2**32 - 1),
    is_verified=st.booleans(),
    detail=TEXTS,
)


@pytest.fixture(scope="module")
def memory() -> Iterator[sqlite3.Connection]:
    with closing(in_memory()) as connection:
        yield connection


def in_memory() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    connection.executescript(schema.TABLES)
    return connection


@settings(max_examples=50)
@given(shard=SHARDS)
def test_any_state_comes_back_as_it_was_recorded(memory: sqlite3.Connection, shard: Shard) -> None:
    """All but the grant of a shard that is granted no more: its URL must not outlive its use."""
    memory.execute("DELETE FROM shards")
    module._insert_planned(memory, [(shard.entries, shard.tar_bytes)])
    memory.execute(schema.UPDATE, schema.shard_values(shard))
    row = memory.execute(f"SELECT {schema.COLUMNS} FROM whole_shards").fetchone()  # noqa: S608 - constants
    expected = shard if shard.state is ShardState.GRANTED else replace(shard, grant=None)
    assert expected == schema.shard_from(row)


@settings(max_examples=50)
@given(st.lists(ENTRIES, max_size=4).map(tuple), st.data())
@example((entry(1),), None)
def test_a_flipped_bit_in_members_is_always_found(entries: tuple[Entry, ...], data: st.DataObject | None) -> None:
    blob, crc32c = schema.pack_members(entries)
    place = data.draw(st.integers(0, 8 * len(blob) - 1)) if data else 9
    damaged = bytearray(blob)
    damaged[place // 8] ^= 1 << place % 8
    assert schema.unpack_members(blob, crc32c) == entries
    with pytest.raises(CheckpointDamaged):
        schema.unpack_members(bytes(damaged), crc32c)


# what survives


async def test_what_was_recorded_survives_the_death_of_the_process(folder: Path, tmp_path: Path) -> None:
    """The files as they lie on the disk in the middle of the work are what a killed process leaves behind."""
    copy = tmp_path / "copy"
    async with opened(folder) as checkpoint:
        await checkpoint.plan_shards(planned(2, 3))
        [first, second] = await checkpoint.pending_after(0, 9)
        granted = replace(first, state=ShardState.GRANTED, grant=GRANT, attempts=1, object_path="/bucket/shard-1.tar")
        await checkpoint.update(granted)
        await checkpoint.record_fact("names", "auto")
        await anyio.to_thread.run_sync(shutil.copytree, folder, copy)
        await checkpoint.record_fact("names", "later")
    async with opened(copy) as checkpoint:
        assert await checkpoint.pending_after(0, 9) == [granted, second]
        assert await checkpoint.fact("names") == "auto"


async def test_restart_forgets_all(folder: Path) -> None:
    async with opened(folder) as checkpoint:
        await checkpoint.plan_shards(planned(2))
    async with opened(folder, restart=True) as checkpoint:
        assert await checkpoint.pending_after(0, 9) == []


async def test_another_upload_has_another_checkpoint(folder: Path) -> None:
    async with opened(folder) as first, opened(folder, replace_identity(batch="summer")) as second:
        await first.plan_shards(planned(2))
        assert await second.pending_after(0, 9) == []


@pytest.mark.parametrize(
    "state", [ShardState.PLANNED, ShardState.UNSURE, ShardState.SENT, ShardState.FAILED, ShardState.SPLIT]
)
async def test_no_byte_of_a_signed_url_outlives_its_grant(folder: Path, state: ShardState) -> None:
    async with opened(folder) as checkpoint:
        await checkpoint.plan_shards(planned(*[20] * 20))
        for shard in await checkpoint.pending_after(0, 99):
            granted = replace(shard, state=ShardState.GRANTED, grant=GRANT)
            await checkpoint.update(granted)
            await checkpoint.update(replace(granted, attempts=1))
            await checkpoint.update(replace(granted, state=state))
        assert CANARY.encode() in await anyio.to_thread.run_sync(bytes_in, folder)
    assert CANARY.encode() not in bytes_in(folder)


async def test_signed_urls_of_a_killed_run_are_gone_once_the_next_one_has_ended(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    async with opened(folder) as checkpoint:
        await checkpoint.plan_shards(planned(2))
        [shard] = await checkpoint.pending_after(0, 9)
        await checkpoint.update(replace(shard, state=ShardState.GRANTED, grant=GRANT))
        await checkpoint.update(replace(shard, state=ShardState.SENT))
        await anyio.to_thread.run_sync(shutil.copytree, folder, copy)
    assert CANARY.encode() in bytes_in(copy)
    async with opened(copy):
        pass
    assert CANARY.encode() not in bytes_in(copy)


async def test_a_granted_url_lasts_so_that_the_same_one_is_used_again(folder: Path) -> None:
    async with opened(folder) as checkpoint:
        await checkpoint.plan_shards(planned(2))
        [shard] = await checkpoint.pending_after(0, 9)
        await checkpoint.update(replace(shard, state=ShardState.GRANTED, grant=GRANT))
    async with opened(folder) as checkpoint:
        [shard] = await checkpoint.pending_after(0, 9)
        assert shard.grant == GRANT


@pytest.mark.skipif(os.name != "posix", reason="modes are POSIX's")
def test_nobody_else_can_read_it(folder: Path) -> None:
    folder.mkdir(mode=0o755)
    with open_checkpoint(folder, IDENTITY) as checkpoint:
        plan_now(checkpoint, planned(2))
        modes = {path.suffix: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert modes == {".sqlite": 0o600, ".sqlite-wal": 0o600, ".sqlite-shm": 0o600, ".lock": 0o600, ".seal": 0o600}
    assert folder.stat().st_mode & 0o777 == 0o700


# what is refused

SECOND = """
import sys
from pathlib import Path
from rfbulk.edge.checkpoint import Identity, open_checkpoint
from rfbulk.errors import CheckpointBusy
try:
    with open_checkpoint(Path(sys.argv[1]), Identity("https://api.example.com", "work", "spring", ("/photos",))):
        print("opened")
except CheckpointBusy as error:
    print(error)
"""


def test_a_second_process_leaves_at_once_and_names_the_first(folder: Path, checkpoint: Checkpoint) -> None:
    told = subprocess.run([sys.executable, "-c", SECOND, folder], capture_output=True, check=True).stdout.decode()
    assert f"process {os.getpid()} on " in told
    assert "works on the same transfer" in told


def test_a_checkpoint_that_was_closed_can_be_opened_again_and_one_that_failed_too(folder: Path) -> None:
    with open_checkpoint(folder, IDENTITY):
        pass
    with pytest.raises(RuntimeError), open_checkpoint(folder, IDENTITY):
        raise RuntimeError
    with open_checkpoint(folder, IDENTITY), pytest.raises(CheckpointBusy), open_checkpoint(folder, IDENTITY):
        pass


def refuse_to_open(folder: Path, why: str) -> None:
    with pytest.raises(CheckpointDamaged, match=why), open_checkpoint(folder, IDENTITY):
        pass
    # and the lock is free again
    with pytest.raises(CheckpointDamaged), open_checkpoint(folder, IDENTITY):
        pass


@pytest.mark.parametrize("version", [schema.VERSION + 1, 99])
def test_a_newer_version_is_refused_and_left_alone(folder: Path, version: int) -> None:
    with open_checkpoint(folder, IDENTITY):
        pass
    in_file(files_of(folder), f"PRAGMA user_version = {version}")
    before = files_of(folder).read_bytes()
    refuse_to_open(folder, f"it is of version {version}, this rfbulk writes {schema.VERSION}")
    assert files_of(folder).read_bytes() == before


def test_a_database_of_something_else_is_refused(folder: Path) -> None:
    folder.mkdir()
    in_file(files_of(folder), "CREATE TABLE bookmarks (url TEXT)")
    refuse_to_open(folder, "damaged or no checkpoint")


@pytest.mark.parametrize(
    "content",
    [b"", b"x", b"garbage" * 1000, b"SQLite format 3\x00" + b"\xff" * 5000, bytes(4096), b"SQLite format 3\x00"],
)
def test_what_is_no_checkpoint_is_refused(folder: Path, content: bytes) -> None:
    folder.mkdir()
    files_of(folder).write_bytes(content)
    refuse_to_open(folder, "damaged or no checkpoint")


def whole(folder: Path) -> list[Shard]:
    """A checkpoint of some pages, and its shards."""
    with open_checkpoint(folder, IDENTITY) as checkpoint:
        plan_now(checkpoint, planned(*[40] * 30))
        return read_all(checkpoint)


def read_all(checkpoint: Checkpoint) -> list[Shard]:
    return anyio.run(checkpoint.pending_after, 0, 999)


def read_or_refuse(folder: Path) -> list[Shard] | None:
    try:
        with open_checkpoint(folder, IDENTITY) as checkpoint:
            return read_all(checkpoint)
    except CheckpointDamaged:
        return None


@pytest.mark.parametrize("kept", [0, 1, 17, 100, 4095, 4096, 4097, 3 * 4096, 0.5, 0.9, -4096, -1])
def test_a_truncated_checkpoint_is_refused(folder: Path, kept: float) -> None:
    whole(folder)
    size = files_of(folder).stat().st_size
    os.truncate(files_of(folder), int(kept * size) if 0 < kept < 1 else int(kept) % size)
    assert read_or_refuse(folder) is None


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_makes_another_file_of_one(
    tmp_path_factory: pytest.TempPathFactory, place: float, bit: int
) -> None:
    folder = tmp_path_factory.mktemp("state")
    shards = whole(folder)
    content = bytearray(files_of(folder).read_bytes())
    content[int(place * len(content))] ^= 1 << bit
    files_of(folder).write_bytes(content)
    found = read_or_refuse(folder)
    assert {shard.entries for shard in found or []} <= {shard.entries for shard in shards}


def test_a_flipped_byte_in_members_is_refused(folder: Path) -> None:
    whole(folder)
    content = bytearray(files_of(folder).read_bytes())
    content[content.index(b"517.jpg")] ^= 1
    files_of(folder).write_bytes(content)
    assert read_or_refuse(folder) is None


def test_a_state_without_meaning_is_refused(folder: Path) -> None:
    whole(folder)
    in_file(files_of(folder), "UPDATE shards SET state = 9 WHERE id = 3")
    with open_checkpoint(folder, IDENTITY) as checkpoint, pytest.raises(CheckpointDamaged, match="9 is not a valid"):
        anyio.run(checkpoint.totals)


def test_a_state_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(UsageError, match="set RFBULK_STATE_DIR"),
        open_checkpoint(tmp_path / "file" / "state", IDENTITY),
    ):
        pass


def test_removing_leaves_nothing_of_it(folder: Path) -> None:
    with open_checkpoint(folder, IDENTITY) as checkpoint:
        plan_now(checkpoint, planned(1))
        remove_files(files_of(folder))
        assert {path.suffix for path in folder.iterdir()} == {".lock"}


def test_a_log_without_its_file_is_not_read_into_a_new_one(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with open_checkpoint(folder, IDENTITY) as checkpoint:
        plan_now(checkpoint, planned(3))
        shutil.copytree(folder, copy)
    files_of(copy).unlink()
    assert read_or_refuse(copy) == []


def test_a_file_that_was_being_made_when_its_process_died_is_made_anew(folder: Path) -> None:
    folder.mkdir()
    for suffix in ("", "-wal", "-shm"):
        (folder / f"{IDENTITY.id}.new{suffix}").write_bytes(b"half" * 999)
    assert read_or_refuse(folder) == []
    assert {path.suffix for path in folder.iterdir()} == {".sqlite", ".lock", ".seal"}


# another run


async def failed(checkpoint: Checkpoint, **values: Any) -> Shard:
    """A shard that was refused, with its entry named."""
    await checkpoint.plan_shards(planned(1))
    [shard] = await checkpoint.pending_after(0, 9)
    shard = replace(shard, state=ShardState.FAILED, attempts=2, forbidden=1, detail=LOST, **values)
    await checkpoint.fail_entries(shard, [(shard.entries[0], RefusalReason.REFUSED_BY_SERVICE, LOST)])
    return shard


async def test_what_failed_without_a_trace_at_the_store_is_tried_again(checkpoint: Checkpoint) -> None:
    shard = await failed(checkpoint, grants=3)
    await checkpoint.begin_run()
    again = replace(shard, state=ShardState.PLANNED, attempts=0, forbidden=0, detail="")
    assert await checkpoint.pending_after(0, 9) == [again]
    assert await checkpoint.failures() == []


@pytest.mark.parametrize("values", [{"in_doubt": True}, {"hash_failures": 3}])
async def test_what_failed_and_may_lie_at_the_store_is_left_alone(
    checkpoint: Checkpoint, values: dict[str, Any]
) -> None:
    """Sending it again would put its images into the batch twice."""
    shard = await failed(checkpoint, **values)
    await checkpoint.begin_run()
    assert await checkpoint.in_state(ShardState.FAILED) == [shard]
    assert await checkpoint.failure_counts() == (0, 1)


@pytest.mark.parametrize(("attempts", "in_doubt"), [(0, False), (1, True)])
async def test_an_attempt_that_was_begun_and_not_concluded_may_have_arrived(
    checkpoint: Checkpoint, attempts: int, *, in_doubt: bool
) -> None:
    await checkpoint.plan_shards(planned(1))
    [shard] = await checkpoint.pending_after(0, 9)
    granted = replace(shard, state=ShardState.GRANTED, grant=GRANT, attempts=attempts)
    await checkpoint.update(granted)
    await checkpoint.begin_run()
    assert await checkpoint.pending_after(0, 9) == [replace(granted, in_doubt=in_doubt)]


async def test_quarantined_images_are_looked_at_again_and_images_not_taken_in_are_not(checkpoint: Checkpoint) -> None:
    await checkpoint.plan_shards(planned(3))
    [shard] = await checkpoint.pending_after(0, 9)
    first, second, third = shard.entries
    kept = replace(shard, entries=(second, third))
    await checkpoint.repack(kept, [(first, RefusalReason.VANISHED, "gone")], [])
    await checkpoint.fail_entries(replace(kept, state=ShardState.SENT), [(second, RefusalReason.NOT_LISTED, "absent")])
    assert await checkpoint.failure_counts() == (1, 1)
    await checkpoint.begin_run()
    refusal = Refusal(0, second.path, RefusalReason.NOT_LISTED, "absent")
    assert await checkpoint.failures() == [(refusal, second.name, True)]


async def test_a_file_that_was_sent_under_two_names_can_fail_under_both(checkpoint: Checkpoint) -> None:
    """Sent, changed, and sent again under a new name: two images, of which each needs its line in the books."""
    old = entry(1)
    new = replace(old, name="1%~0badcafe.jpg", mtime_ns=5)
    await checkpoint.plan_shards([((old,), 2048), ((new, entry(2)), 4096)])
    [first, second] = await checkpoint.pending_after(0, 9)
    await checkpoint.fail_entries(replace(first, state=ShardState.SENT), [(old, RefusalReason.NOT_LISTED, "")])
    await checkpoint.repack(replace(second, entries=(entry(2),)), [(new, RefusalReason.KEEPS_CHANGING, "")], [])
    assert await checkpoint.failure_counts() == (1, 1)


async def test_indexed_is_recorded_for_sent_shards_alone(checkpoint: Checkpoint) -> None:
    await checkpoint.plan_shards(planned(1, 1, 1))
    for shard in (await checkpoint.pending_after(0, 9))[:2]:
        await checkpoint.update(replace(shard, state=ShardState.SENT))
    await checkpoint.mark_indexed([2, 3])
    states = [shard.state for shard in [await checkpoint.shard(number) for number in (1, 2, 3)]]
    assert states == [ShardState.SENT, ShardState.INDEXED, ShardState.PLANNED]
    await checkpoint.mark_indexed(None)
    assert len(await checkpoint.in_state(ShardState.INDEXED)) == 2


# the books

LIVE = frozenset(ShardState) - {ShardState.SPLIT}
Steps = list[tuple[str, int, int]]


def carry_out(checkpoint: Checkpoint, step: tuple[str, int, int]) -> Callable[[], Any] | None:
    """One change as sending makes it, of a shard and at a place that the numbers choose."""
    kind, which, place = step
    shards = [shard for state in LIVE for shard in anyio.run(checkpoint.in_state, state)]
    shard = shards[which % len(shards)] if shards else None
    if shard is None or not shard.entries:
        return None
    cut = place % len(shard.entries)
    first, one, rest = shard.entries[:cut], shard.entries[cut], shard.entries[cut + 1 :]
    match kind:
        case "split" if len(shard.entries) > 1 and cut:
            parts = [(first, 10), ((one, *rest), 10)]
            return lambda: checkpoint.split(replace(shard, state=ShardState.SPLIT), parts)
        case "quarantine":
            state = shard.state if first + rest else ShardState.SPLIT
            return lambda: checkpoint.repack(
                replace(shard, entries=first + rest, state=state), [(one, RefusalReason.VANISHED, "")], []
            )
        case "part":
            return lambda: checkpoint.repack(replace(shard, entries=(one, *rest)), [], [(first, 10)] if first else [])
        case "fail":
            lost = [(entry, RefusalReason.NOT_LISTED, "") for entry in shard.entries]
            return lambda: checkpoint.fail_entries(replace(shard, state=ShardState.FAILED), lost)
        case "send":
            return lambda: checkpoint.update(replace(shard, state=ShardState.SENT))
    return None


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4),
    st.lists(
        st.tuples(
            st.sampled_from(["split", "quarantine", "part", "fail", "send"]), st.integers(0, 99), st.integers(0, 99)
        ),
        max_size=12,
    ),
)
def test_the_books_close_after_any_sequence_of_changes(sizes: list[int], steps: Steps) -> None:
    writer = SqliteWriter(in_memory)
    writer.start()
    checkpoint = Checkpoint(Path("unused"), writer)
    try:
        plan_now(checkpoint, planned(*sizes))
        for step in steps:
            if change := carry_out(checkpoint, step):
                anyio.run(change)
            totals = anyio.run(checkpoint.totals)
            quarantined, _ = anyio.run(checkpoint.failure_counts)
            assert sum(sizes) == totals.count(LIVE) + quarantined
            assert 10 * sum(sizes) == totals.bytes(LIVE) + 10 * quarantined
    finally:
        writer.stop()


async def test_a_shard_and_its_parts_keep_the_order_of_the_scan(checkpoint: Checkpoint) -> None:
    await checkpoint.plan_shards(planned(4, 1))
    [shard, other] = await checkpoint.pending_after(0, 9)
    await checkpoint.split(replace(shard, state=ShardState.SPLIT), [(shard.entries[:2], 10), (shard.entries[2:], 10)])
    found = sorted(await checkpoint.pending_after(0, 9), key=lambda shard: (shard.sequence, shard.id))
    assert [shard.entries[:2], shard.entries[2:], other.entries] == [shard.entries for shard in found]


async def test_totals_tell_what_was_verified_and_what_was_granted(checkpoint: Checkpoint) -> None:
    await checkpoint.plan_shards(planned(1, 2, 3))
    [one, two, three] = await checkpoint.pending_after(0, 9)
    await checkpoint.update(replace(one, state=ShardState.SENT, grants=2, object_path="/a", is_verified=True))
    await checkpoint.update(replace(two, state=ShardState.SENT, grants=1, object_path="/b"))
    await checkpoint.update(replace(three, grants=1))
    totals = await checkpoint.totals()
    assert (totals.unverified_shards, totals.grants, totals.granted_shards) == (1, 4, 2)
    assert totals.images == {ShardState.SENT: 3, ShardState.PLANNED: 3}


async def test_the_books_of_nothing_are_empty(checkpoint: Checkpoint) -> None:
    totals = await checkpoint.totals()
    assert (totals.count(LIVE), totals.grants, totals.granted_shards) == (0, 0, 0)
    assert await checkpoint.failure_counts() == (0, 0)


# what can be listed of them


def test_a_summary_tells_what_was_sent_and_what_is_left(folder: Path) -> None:
    with open_checkpoint(folder, IDENTITY) as checkpoint:
        plan_now(checkpoint, planned(2, 3))
        shard = read_all(checkpoint)[0]
        anyio.run(checkpoint.update, replace(shard, state=ShardState.SENT))
        [summary] = summaries(folder)
    expected = {
        "id": IDENTITY.id, "service": "https://api.example.com", "workspace": "work", "batch": "spring",
        "sources": ["/photos"], "images_sent": 2, "bytes_sent": 20, "images_left": 3, "shards_left": 1, "failures": 0,
        "scan_finished": False, "confirmed": False,
    }  # fmt: skip
    assert expected == {name: summary[name] for name in expected}


def test_damaged_checkpoints_do_not_hide_the_others(folder: Path) -> None:
    with open_checkpoint(folder, IDENTITY):
        pass
    (folder / "garbage.sqlite").write_bytes(b"garbage" * 1000)
    (folder / "empty.sqlite").write_bytes(b"")
    for name, sql in {
        "state": "UPDATE shards SET state = 9",
        "sources": "UPDATE facts SET value = '[' WHERE name = 'sources'",
    }.items():
        identity = replace_identity(batch=name)
        with open_checkpoint(folder, identity) as checkpoint:
            plan_now(checkpoint, planned(1))
        in_file(folder / f"{identity.id}.sqlite", sql)
    found = summaries(folder)
    assert len(found) == 5
    assert [summary["batch"] for summary in found if "error" not in summary] == ["spring"]


def test_a_reader_cannot_write(folder: Path, checkpoint: Checkpoint) -> None:
    with closing(checkpoint.read()) as reader, pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.execute("DELETE FROM shards")


def test_a_folder_with_any_name_can_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "50%25 #1?mode=rw"
    with open_checkpoint(folder, IDENTITY) as checkpoint, closing(checkpoint.read()) as reader:
        assert reader.execute("SELECT count(*) FROM shards").fetchone() == (0,)
        assert [summary["batch"] for summary in summaries(folder)] == ["spring"]


def test_no_error_tells_a_signed_url(folder: Path) -> None:
    """Not even where the row that holds it is damaged."""
    with open_checkpoint(folder, IDENTITY) as checkpoint:
        plan_now(checkpoint, planned(1))
        [shard] = read_all(checkpoint)
        anyio.run(checkpoint.update, replace(shard, state=ShardState.GRANTED, grant=GRANT))
    in_file(files_of(folder), "UPDATE shards SET headers = url")
    with open_checkpoint(folder, IDENTITY) as checkpoint, pytest.raises(RfbulkError) as raised:
        read_all(checkpoint)
    assert CANARY not in f"{raised.value} {raised.value!r}"
    assert msgspec.DecodeError.__name__ in str(raised.value)
