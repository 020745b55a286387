"""A checkpoint that is not as it was left is told, never guessed around: every kind, every page, any bit.

What is opened all the same must hold exactly what had been committed. Where a process died, its log ends with a commit
that a power cut may have torn: damage there cannot be told from that, and takes back that one commit, no more.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from rfbulk.core.exporting import Listed, Part
from rfbulk.core.fetching import FetchKind
from rfbulk.core.ingesting import Accepted
from rfbulk.core.model import Entry, Grant
from rfbulk.core.notices import parse_notice
from rfbulk.core.references import Reference
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.transfer import ShardState
from rfbulk.edge import checkpoint_schema, export_schema, ingest_checkpoint, notices_store
from rfbulk.edge.checkpoint import Identity, open_checkpoint
from rfbulk.edge.checkpoint_file import Shape, connect_to_read, held
from rfbulk.edge.export_checkpoint import ExportIdentity, open_export_checkpoint
from rfbulk.edge.ingest_checkpoint import IngestIdentity, open_ingest_checkpoint
from rfbulk.edge.notices_store import open_inbox
from rfbulk.edge.seal import seal_of
from rfbulk.errors import CheckpointDamaged
from tests.fuzz.budget import EXAMPLES, profile
from tests.support.planned import plan_now
from tests.support.world import MEMORY

PAGE = 4096
Look = Callable[[], None]
UPLOAD = Identity("https://api.test", "w", "spring", ("/photos",))
EXPORT = ExportIdentity("https://api.test", "w", "spring", "/target")
INGEST = IngestIdentity("https://api.test", "w", "spring", "images", "/list.jsonl")


def use_upload(folder: Path, look: Look) -> None:
    with open_checkpoint(folder, UPLOAD) as checkpoint:
        for number in range(12):
            entries = [
                Entry(0, b"%d-%d.jpg" % (number, each), f"{number}-{each}.jpg", 10, 1, each) for each in range(40)
            ]
            plan_now(checkpoint, [(tuple(entries), 1024)])
            look()
        url = SignedUrl("https://store.example/o?X-Goog-Signature=x")
        for shard in asyncio.run(checkpoint.pending_after(0, 4)):
            granted = replace(
                shard, state=ShardState.GRANTED, grants=1, attempts=1, grant=Grant(url, {}, None, 1.0, True)
            )
            asyncio.run(checkpoint.update(granted))
            look()
            asyncio.run(checkpoint.update(replace(granted, state=ShardState.SENT, grant=None, crc32c=7)))
            look()


def use_export(folder: Path, look: Look) -> None:
    with open_export_checkpoint(folder, EXPORT) as checkpoint:
        asyncio.run(checkpoint.begin_run())
        look()
        for page in range(12):
            listed = [Listed("s", f"{page}/{number}.jpg", FetchKind.PLAIN) for number in range(40)]
            asyncio.run(checkpoint.take_page(Part(0, "", ""), listed))
            look()
        asyncio.run(checkpoint.record_fact("listing_finished", "yes"))
        look()


def use_ingest(folder: Path, look: Look) -> None:
    with open_ingest_checkpoint(folder, INGEST) as checkpoint:
        for number in range(12):
            references = [Reference(f"{number}-{each}.jpg", f"mark-{each}") for each in range(60)]
            planned = asyncio.run(checkpoint.plan(f"i-{number}", references))
            look()
            asyncio.run(checkpoint.accept(planned, Accepted(shards=1)))
            look()


def use_inbox(folder: Path, look: Look) -> None:
    with open_inbox(folder, follows=True) as inbox:
        for number in range(24):
            body = b'{"type": "x", "event_id": "e-%d", "more": "%b"}' % (number, b"y" * 900)
            asyncio.run(inbox.store(body, parse_notice(body)))
            look()


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of checkpoint: how it is used, and what it is called."""

    use: Callable[[Path, Look], None]
    name: str
    shape: Shape
    facts: Mapping[str, str]


KINDS = {
    "upload": Kind(use_upload, UPLOAD.id, checkpoint_schema.SHAPE, UPLOAD.facts),
    "export": Kind(use_export, EXPORT.id, export_schema.SHAPE, EXPORT.facts),
    "ingest": Kind(use_ingest, INGEST.id, ingest_checkpoint.SHAPE, INGEST.facts),
    "inbox": Kind(use_inbox, notices_store.NAME, notices_store.SHAPE, {}),
}


@dataclass
class Left:
    """What a process left: its checkpoint closed, or as it was when it died; and what was committed, step by step."""

    kind: Kind
    closed: Path
    dead: Path
    states: list[str] = field(default_factory=list)

    def copy(self, source: Path, into: Path) -> Path:
        """Lay it out for another process, and return the file."""
        shutil.copytree(source, into)
        (into / f"{self.kind.name}.lock").unlink()
        return into / f"{self.kind.name}.sqlite"

    def opened(self, folder: Path) -> str | None:
        """What another process finds in it. None if it is told as damaged."""
        try:
            with held(folder, self.kind.name, self.kind.shape, self.kind.facts, restart=False) as (_, writer):
                return writer.run_blocking(dump)
        except CheckpointDamaged as damaged:
            if "damaged" not in str(damaged) or not damaged.advice:
                raise
            return None


def dump(db: sqlite3.Connection) -> str:
    return "\n".join(db.iterdump())


@pytest.fixture(scope="module")
def _space() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=MEMORY) as text:
        yield Path(text)


@pytest.fixture(scope="module", params=KINDS)
def left(_space: Path, request: pytest.FixtureRequest) -> Left:
    kind = KINDS[request.param]
    folder = _space / request.param
    found = Left(kind, folder / "closed", folder / "dead")

    def look() -> None:
        with closing(connect_to_read(found.closed / f"{kind.name}.sqlite")) as db:
            found.states.append(dump(db))
        shutil.rmtree(found.dead, ignore_errors=True)
        shutil.copytree(found.closed, found.dead)

    kind.use(found.closed, look)
    new = found.copy(found.dead, folder / "new")
    Path(f"{new}-wal").unlink()
    found.states.insert(0, found.opened(new.parent) or "")
    return found


@pytest.fixture
def folder(_space: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=_space) as text:
        yield Path(text) / "state"


def flip(file: Path, at: int, bit: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        (byte,) = opened.read(1)
        opened.seek(at)
        opened.write(bytes([byte ^ 1 << bit]))


def test_what_was_left_is_found_whole(left: Left, folder: Path) -> None:
    assert len(left.states) > 10
    left.copy(left.closed, folder / "closed")
    assert left.opened(folder / "closed") == left.states[-1]
    file = left.copy(left.dead, folder / "dead")
    assert Path(f"{file}-wal").stat().st_size > 0
    assert left.opened(folder / "dead") == left.states[-1]
    assert left.opened(folder / "dead") == left.states[-1]


def test_a_file_without_its_seal_is_looked_at_and_taken(left: Left, folder: Path) -> None:
    """It died while the log was folded: the file is sound, and nobody has said so yet."""
    for source in (left.closed, left.dead):
        file = left.copy(source, folder / source.name)
        seal_of(file).unlink()
        assert left.opened(file.parent) == left.states[-1]
        assert seal_of(file).exists()


def test_a_bit_anywhere_in_the_file_is_told(left: Left, folder: Path) -> None:
    """SQLite itself would take most of them for what was written: a state, a name, an end."""
    number = 0

    @profile()
    @given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans())
    def try_one(place: float, bit: int, is_dead: bool) -> None:
        nonlocal number
        number += 1
        file = left.copy(left.dead if is_dead else left.closed, folder / str(number))
        flip(file, int(place * file.stat().st_size), bit)
        assert left.opened(file.parent) is None
        assert left.opened(file.parent) is None

    try_one()
    assert number >= min(EXAMPLES, 20)


def test_a_bit_anywhere_in_the_log_is_told_or_takes_back_no_more_than_its_last_commit(left: Left, folder: Path) -> None:
    number = told = 0

    @profile(2 * EXAMPLES)
    @given(st.floats(0, 1, exclude_max=True), st.integers(0, 7))
    def try_one(place: float, bit: int) -> None:
        nonlocal number, told
        number += 1
        file = left.copy(left.dead, folder / str(number))
        log = Path(f"{file}-wal")
        flip(log, int(place * log.stat().st_size), bit)
        found = left.opened(file.parent)
        told += found is None
        assert found is None or found in left.states[-2:]
        if found is None:
            assert left.opened(file.parent) is None, "what was told once is not forgotten"

    try_one()
    assert told > number // 2


@pytest.mark.parametrize("page", [0, 1, 2, 3, 5, 8, -1])
def test_a_file_cut_short_at_any_page_is_told(left: Left, folder: Path, page: int) -> None:
    for is_dead in (True, False):
        file = left.copy(left.dead if is_dead else left.closed, folder / str(is_dead))
        size = file.stat().st_size
        os.truncate(file, page * PAGE % size)
        assert left.opened(file.parent) is None
        assert left.opened(file.parent) is None


def test_a_log_cut_short_goes_back_to_a_commit_and_to_nothing_else(left: Left, folder: Path) -> None:
    """As a power cut does on a disk that lies. What had been sent meanwhile is counted twice, and told, in the end."""
    size = Path(f"{left.dead / left.kind.name}.sqlite-wal").stat().st_size
    for number, kept in enumerate(range(0, size, max(1, size // 25))):
        file = left.copy(left.dead, folder / str(number))
        os.truncate(f"{file}-wal", kept)
        found = left.opened(file.parent)
        assert found in left.states


def test_a_log_of_another_checkpoint_is_told_or_left_alone(left: Left, folder: Path) -> None:
    other = next(kind for kind in KINDS.values() if kind is not left.kind)
    other.use(folder / "other", lambda: None)
    with held(folder / "other", other.name, other.shape, other.facts, restart=False) as (path, writer):
        writer.run_blocking(lambda db: db.execute("INSERT INTO facts VALUES ('a', 'b')"))
        file = left.copy(left.closed, folder / "mine")
        shutil.copy(f"{path}-wal", f"{file}-wal")
    found = left.opened(file.parent)
    assert found is None or found == left.states[-1]


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * PAGE, b"SQLite format 3\0", b"SQLite format 3\0" + b"\0" * PAGE, b"x" * PAGE, b"{}"],
    ids=["empty", "zeros", "a head alone", "a head and zeros", "noise", "JSON"],
)
@pytest.mark.parametrize("has_seal", [True, False])
def test_what_is_no_checkpoint_is_told(left: Left, folder: Path, content: bytes, *, has_seal: bool) -> None:
    file = left.copy(left.closed, folder / "x")
    file.write_bytes(content)
    if not has_seal:
        seal_of(file).unlink()
    assert left.opened(file.parent) is None
    assert file.read_bytes() == content


@pytest.mark.parametrize("version", [0, 2, 99, -1])
def test_a_database_of_others_is_told_and_left_alone(left: Left, folder: Path, version: int) -> None:
    folder.mkdir()
    file = folder / f"{left.kind.name}.sqlite"
    with closing(sqlite3.connect(file)) as db:
        db.execute("CREATE TABLE theirs (a)")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    before = file.read_bytes()
    with pytest.raises(CheckpointDamaged), held(folder, left.kind.name, left.kind.shape, {}, restart=False):
        pass  # pragma: no cover
    assert file.read_bytes() == before
