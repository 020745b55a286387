"""Where a transfer's images come from: a folder or a single file, looked at once before anything starts."""

from __future__ import annotations

import errno
import os
import stat

import msgspec

from rfbulk.errors import SourceError, UsageError


class Root(msgspec.Struct, frozen=True):
    """A folder to be sent, or a single file, whose folder its entry's path starts from.

    `path` is absolute; `number` is what entries call it.
    """

    path: bytes
    number: int
    is_file: bool


def open_root(path: str | os.PathLike[str] | bytes, number: int) -> Root:
    """Look at what is to be sent, and return it as root number `number`.

    Raises:
        UsageError: `path` can be no path.
        SourceError: it is missing, cannot be read, or is neither a file nor a folder.
    """
    raw = os.fsencode(path)
    shown = repr(os.fsdecode(raw))
    if not raw or b"\0" in raw:
        raise UsageError("read source", shown, cause="this is no path", advice="name a folder or an image")
    try:
        status = os.stat(raw)
        whole = os.path.abspath(raw)
        if stat.S_ISDIR(status.st_mode):
            os.scandir(whole).close()
            return Root(whole, number, is_file=False)
        if stat.S_ISREG(status.st_mode):
            os.close(os.open(whole, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)))
            return Root(whole, number, is_file=True)
    except OSError as error:
        raise root_error(raw, error) from error
    raise SourceError("read source", shown, cause="neither a file nor a folder", advice="name a folder or an image")


def root_error(path: bytes, error: OSError) -> SourceError:
    """Say that the root at `path` cannot be read, and what can be done."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        advice = "raise the limit of open files, as with ulimit -n"
    elif error.errno in (errno.ENOENT, errno.ENOTDIR):
        advice = "check its spelling, and that its disk is there"
    else:
        advice = "see that you may read it"
    return SourceError("read source", repr(os.fsdecode(path)), cause=error.strerror or str(error), advice=advice)
