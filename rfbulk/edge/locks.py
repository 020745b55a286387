"""One process a checkpoint: an advisory lock on a file beside it, which names its holder."""

from __future__ import annotations

import errno
import os
import socket
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from rfbulk.errors import CheckpointBusy, NoRoom, RfbulkError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

_LONGEST_NAME: Final = 200


class FileLock:
    """Hold an exclusive lock on `path` until `release()`; the system releases it if the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises:
            CheckpointBusy: another process holds it; the message names that process.
            UsageError, NoRoom: the file cannot be made or locked.
        """
        try:
            while self._descriptor is None:
                self._descriptor = self._try_to_acquire()
        except OSError as error:
            raise _translated(error, self._path) from error

    def _try_to_acquire(self) -> int | None:
        """Return the locked descriptor, None if the file was deleted by its last holder meanwhile."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)
        is_held = False
        try:
            is_held = self._hold(descriptor)
        finally:
            if not is_held:
                os.close(descriptor)
        return descriptor if is_held else None

    def _hold(self, descriptor: int) -> bool:
        if not _try_lock(descriptor):
            raise _busy(os.read(descriptor, _LONGEST_NAME))
        if not _is_at(self._path, descriptor):
            return False
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        return True

    def release(self) -> None:
        """Give the lock back. Calling it twice does nothing."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.ftruncate(descriptor, 0)  # nobody holds it: `holder_of` must not name us
            os.close(descriptor)


def holder_of(path: Path) -> str:
    """Name the process of this machine that holds the lock, "" if none does. It never takes the lock itself.

    A lock that was taken for a moment, to look, would turn away who wants it in that moment.
    """
    try:
        words = path.read_bytes()[:_LONGEST_NAME].decode(errors="replace").split()
    except OSError:
        return ""
    if len(words) != 4 or not words[1].isdigit() or words[3] != socket.gethostname():
        return ""
    return " ".join(words) if _is_alive(int(words[1])) else ""


def _is_alive(process: int) -> bool:
    """Whether there is such a process. Windows has no signal that asks only."""
    if os.name != "posix":
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True  # it is somebody else's
    return True


def _busy(text: bytes) -> CheckpointBusy:
    holder = text.decode(errors="replace").strip() or "another process"
    return CheckpointBusy(
        "lock", "the checkpoint", cause=f"{holder} works on the same transfer", advice="wait for it, or stop it"
    )


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _translated(error: OSError, path: Path) -> RfbulkError:
    if error.errno == errno.ENOSPC:
        return NoRoom("lock", str(path), cause="the disk is full", advice="make room, then run the same again")
    return UsageError("lock", str(path), cause=str(error.strerror), advice="set RFBULK_STATE_DIR to a folder of yours")


if sys.platform == "win32":
    import msvcrt

    def _try_lock(descriptor: int) -> bool:
        os.lseek(descriptor, 1 << 30, os.SEEK_SET)  # beyond the text, which stays readable
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        finally:
            os.lseek(descriptor, 0, os.SEEK_SET)
        return True

else:
    import fcntl

    def _try_lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True
