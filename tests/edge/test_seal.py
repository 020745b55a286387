"""A seal says of a file that it is as it was left: it follows every fold of the log, and breaks with any byte."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from rfbulk.edge import checkpoint_file
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.checkpoint_file import reseal
from rfbulk.edge.seal import SealBroken, is_sealed, lift, put_on, seal_of, spoil
from rfbulk.errors import CheckpointBusy, CheckpointDamaged

IDENTITY = Identity("https://api.test", "work", "spring", ("/photos",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "x.sqlite"
    path.write_bytes(os.urandom(5000))
    return path


def test_a_file_is_sealed_until_it_changes(file: Path) -> None:
    assert not is_sealed(file)
    put_on(file)
    assert is_sealed(file)
    content = bytearray(file.read_bytes())
    for changed in (content[:-1], content + b"\0", content[:777] + b"?" + content[778:]):
        file.write_bytes(changed)
        with pytest.raises(SealBroken):
            is_sealed(file)


def test_a_seal_that_is_lifted_says_nothing(file: Path) -> None:
    put_on(file)
    lift(file)
    lift(file)
    assert not is_sealed(file)


@pytest.mark.parametrize("content", [b"", b"rfbulk seal: 5000 bytes", b"x" * 100])
def test_a_seal_that_is_damaged_itself_is_told(file: Path, content: bytes) -> None:
    seal_of(file).write_bytes(content)
    with pytest.raises(SealBroken):
        is_sealed(file)


def test_what_was_spoiled_stays_so(file: Path) -> None:
    spoil(file)
    with pytest.raises(SealBroken):
        is_sealed(file)


def record(checkpoint: Checkpoint, number: int) -> None:
    """Its caller goes on before the log is folded; who comes next waits for that."""
    anyio.run(checkpoint.record_fact, f"fact-{number}", "x" * 3000)
    anyio.run(checkpoint.fact, "road")


def test_a_long_log_is_folded_under_the_seal_and_an_earlier_seal_does_not_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint_file, "FOLD_BYTES", 100_000)
    with open_checkpoint(tmp_path, IDENTITY) as checkpoint:
        seals, logs = set(), []
        for number in range(100):
            record(checkpoint, number)
            assert is_sealed(checkpoint.path)
            seals.add(seal_of(checkpoint.path).read_bytes())
            logs.append(Path(f"{checkpoint.path}-wal").stat().st_size)
    assert len(seals) > 3
    assert max(logs) < 150_000
    assert is_sealed(checkpoint.path)
    assert not Path(f"{checkpoint.path}-wal").exists()


def test_a_log_that_somebody_reads_is_folded_later_and_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader keeps the log from being begun anew, and must not make each commit fold."""
    monkeypatch.setattr(checkpoint_file, "FOLD_BYTES", 100_000)
    with open_checkpoint(tmp_path, IDENTITY) as checkpoint:
        reader = checkpoint.read()
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM facts").fetchone()[0] > 0
        seals = set()
        for number in range(100):
            record(checkpoint, number)
            seals.add(seal_of(checkpoint.path).read_bytes())
        assert Path(f"{checkpoint.path}-wal").stat().st_size > 300_000
        assert len(seals) < 12
        reader.close()
    with open_checkpoint(tmp_path, IDENTITY) as checkpoint:
        assert anyio.run(checkpoint.fact, "fact-99") == "x" * 3000


def test_a_checkpoint_put_in_anothers_place_is_told(tmp_path: Path) -> None:
    other = Identity("https://api.test", "work", "summer", ("/photos",))
    for identity in (IDENTITY, other):
        with open_checkpoint(tmp_path, identity):
            pass
    for suffix in (".sqlite", ".seal"):
        (tmp_path / f"{other.id}{suffix}").replace(tmp_path / f"{IDENTITY.id}{suffix}")
    with pytest.raises(CheckpointDamaged, match="of another transfer"), open_checkpoint(tmp_path, IDENTITY):
        pass  # pragma: no cover


def test_a_large_file_is_folded_seldom_since_each_fold_reads_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a fixed length of the log, a hundred million images would have terabytes read to seal it."""
    monkeypatch.setattr(checkpoint_file, "FOLD_BYTES", 20_000)
    monkeypatch.setattr(checkpoint_file, "FOLD_SHARE", 2)
    read = 0
    with open_checkpoint(tmp_path, IDENTITY) as checkpoint:
        seals: set[bytes] = set()
        for number in range(150):
            record(checkpoint, number)
            if (seal := seal_of(checkpoint.path).read_bytes()) not in seals:
                seals.add(seal)
                read += checkpoint.path.stat().st_size
    assert read < 8 * checkpoint.path.stat().st_size


def opened_by_another_program(path: Path) -> None:
    """As `sqlite3 FILE .tables` does with what a killed process has left: it folds the log."""
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO facts VALUES ('mine', 'x')")
        db.commit()


def test_what_another_program_has_opened_is_told_and_can_be_taken_as_it_is(tmp_path: Path) -> None:
    with open_checkpoint(tmp_path, IDENTITY) as checkpoint:
        record(checkpoint, 1)
        with pytest.raises(CheckpointBusy):
            reseal(checkpoint.path)
    opened_by_another_program(checkpoint.path)
    with pytest.raises(CheckpointDamaged, match="checkpoint reseal"), open_checkpoint(tmp_path, IDENTITY):
        pass  # pragma: no cover
    reseal(checkpoint.path)
    with open_checkpoint(tmp_path, IDENTITY) as again:
        assert anyio.run(again.fact, "fact-1") == "x" * 3000


def test_what_is_torn_is_not_sealed(tmp_path: Path) -> None:
    with open_checkpoint(tmp_path, IDENTITY) as checkpoint:
        for number in range(40):
            record(checkpoint, number)
    size = checkpoint.path.stat().st_size
    with checkpoint.path.open("r+b") as file:
        file.truncate(size // 2 // 4096 * 4096)
    with pytest.raises(CheckpointDamaged, match="damaged"):
        reseal(checkpoint.path)
    with pytest.raises(CheckpointDamaged), open_checkpoint(tmp_path, IDENTITY):
        pass  # pragma: no cover
