"""A file that appears whole or not at all: written under another name in the same folder, synced, renamed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from rfbulk.errors import NoRoom, RfbulkError, UsageError


@contextmanager
def whole_file(path: Path, option: str) -> Iterator[IO[bytes]]:
    """Yield a file to write; it takes the place of `path` once the block has ended well. Blocks on the disk.

    `option` is what names another place on the command line.

    Raises:
        UsageError, NoRoom: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            raise _translated(error, path, option) from None
        raise


def check_writable(path: Path, option: str) -> None:
    """Find out at once that a file could not be written in the end.

    Raises:
        UsageError: it cannot.
    """
    folder = path.parent
    cause = "its folder is not there" if not folder.is_dir() else "its folder cannot be written to"
    if not os.access(folder, os.W_OK):
        raise UsageError("write", str(path), cause=cause, advice=f"name another {option}")
    if path.is_dir():
        raise UsageError("write", str(path), cause="it is a folder", advice=f"name another {option}")


def _translated(error: OSError, path: Path, option: str) -> RfbulkError:
    if error.errno == errno.ENOSPC:
        return NoRoom("write", str(path), cause="the disk is full", advice="make room, then run the same again")
    return UsageError("write", str(path), cause=str(error.strerror), advice=f"name another {option}")
