"""The folder that an export fills: made, looked at, and asked whether its files are still as they were left."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from rfbulk.core.exporting import Presence
from rfbulk.errors import NoRoom, RfbulkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.fetching import Fingerprint


class TargetFolder:
    """One folder, by its absolute path. Its methods block."""

    def __init__(self, path: bytes) -> None:
        self.path = path

    def look(self, files: Sequence[tuple[str, Fingerprint]]) -> list[Presence]:
        """Tell of each file, by its path beneath the folder, whether it is still as it was left."""
        return [self._look(path, mark) for path, mark in files]

    def _look(self, path: str, mark: Fingerprint) -> Presence:
        try:
            status = os.lstat(b"%b/%b" % (self.path, os.fsencode(path)))
        except OSError:  # not there, or nowhere that can be looked into: it will be fetched, and say so itself
            return Presence.DELETED
        found = status.st_size, status.st_mtime_ns, status.st_ino
        is_intact = found == (mark.size, mark.mtime_ns, mark.inode) and stat.S_ISREG(status.st_mode)
        return Presence.INTACT if is_intact else Presence.CHANGED


def open_target(path: str | os.PathLike[str]) -> TargetFolder:
    """Make the folder if it is not there, and return it by its real path.

    Raises:
        UsageError: it cannot be made, is no folder, or cannot be written to.
        NoRoom: the disk is full.
    """
    raw = os.fsencode(path)
    shown = repr(os.fsdecode(raw))
    if not raw or b"\0" in raw:
        raise UsageError("export to", shown, cause="this is no path", advice="name a folder")
    try:
        os.makedirs(raw, exist_ok=True)  # noqa: PTH103 - bytes
    except OSError as error:
        raise _translated(shown, error) from None
    whole = os.path.realpath(raw)
    if not os.access(whole, os.W_OK | os.X_OK):
        raise UsageError("export to", shown, cause="its folder cannot be written to", advice="name another folder")
    return TargetFolder(whole)


def _translated(shown: str, error: OSError) -> RfbulkError:
    if error.errno == errno.ENOSPC:
        return NoRoom("export to", shown, cause="the disk is full", advice="make room, then run the same again")
    return UsageError("export to", shown, cause=error.strerror or str(error), advice="name another folder")
