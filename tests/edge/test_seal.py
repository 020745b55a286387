"""A seal says of a file that it is as it was left: it follows every fold of the log, and breaks with any byte."""

from __future__ import annotations

import os
from pathlib import Path

import anyio
import pytest

from rfbulk.edge import checkpoint_file
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.seal import SealBroken, is_sealed, lift, put_on, seal_of, spoil
from rfbulk.errors import CheckpointDamaged

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
