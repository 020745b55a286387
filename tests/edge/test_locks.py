from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk.edge.locks import FileLock
from rfbulk.errors import CheckpointBusy, NoRoom, UsageError

HOLD = """
import sys
from pathlib import Path
from rfbulk.edge.locks import FileLock
FileLock(Path(sys.argv[1])).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds the lock until it is killed."""
    with subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_lock_that_another_process_holds_is_refused_by_its_name(path: Path, holder: subprocess.Popen[bytes]) -> None:
    with pytest.raises(CheckpointBusy, match=rf"process {holder.pid} on \S+ works on the same transfer"):
        FileLock(path).acquire()


def test_the_death_of_its_holder_frees_a_lock(path: Path, holder: subprocess.Popen[bytes]) -> None:
    holder.kill()
    holder.wait()
    lock = FileLock(path)
    lock.acquire()
    assert f"process {os.getpid()} on" in path.read_text()
    lock.release()


def test_two_locks_in_one_process_exclude_each_other_too(path: Path) -> None:
    first, second = FileLock(path), FileLock(path)
    first.acquire()
    with pytest.raises(CheckpointBusy, match=f"process {os.getpid()}"):
        second.acquire()
    first.release()
    second.acquire()
    second.release()


def test_giving_back_twice_does_nothing(path: Path) -> None:
    lock, other = FileLock(path), FileLock(path)
    lock.acquire()
    lock.release()
    other.acquire()
    lock.release()
    with pytest.raises(CheckpointBusy):
        lock.acquire()
    other.release()


def test_the_name_of_an_earlier_holder_is_overwritten_whole(path: Path) -> None:
    path.write_text("process 99999999999999999999 on a-host-with-a-very-long-name-that-is-gone.example.com\n")
    lock = FileLock(path)
    lock.acquire()
    assert path.read_text().count("\n") == 1
    assert "99999999999999999999" not in path.read_text()
    lock.release()


def test_a_lock_names_someone_even_before_its_holder_has_written(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    path.write_bytes(b"")
    with pytest.raises(CheckpointBusy, match="another process works on"):
        FileLock(path).acquire()
    lock.release()


def test_only_the_user_can_read_it(path: Path) -> None:
    lock = FileLock(path)
    lock.acquire()
    lock.release()
    assert path.stat().st_mode & 0o777 == 0o600


class _Vanishing(FileLock):
    """A lock whose file its last holder deletes between our opening and our locking it."""

    times = 1

    def _hold(self, descriptor: int) -> bool:
        if self.times:
            self.times -= 1
            self._path.unlink()
        return super()._hold(descriptor)


def test_a_file_that_was_deleted_meanwhile_is_no_lock(path: Path) -> None:
    """Who locks a deleted file would share the transfer with whoever makes the file anew."""
    lock = _Vanishing(path)
    lock.acquire()
    with pytest.raises(CheckpointBusy):
        FileLock(path).acquire()
    lock.release()


def test_a_place_where_no_file_can_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="set RFBULK_STATE_DIR"):
        FileLock(tmp_path).acquire()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_told() -> None:
    with pytest.raises((NoRoom, UsageError)):  # the device may not be cut to length first
        FileLock(Path("/dev/full")).acquire()
