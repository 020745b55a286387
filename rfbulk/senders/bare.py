"""A single file's bytes, handed out as they are: a twin of the packer of tars, for what travels alone.

Only whole truths leave: the last bytes are handed out after the file's attributes, asked for behind the last read, are
still those that the scan saw.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Self

from rfbulk.core.checksums import crc32c
from rfbulk.core.model import Entry, RefusalReason, ShardJob
from rfbulk.errors import SourceError
from rfbulk.senders.packing import (
    OPEN_FILE,
    OPEN_FOLDER,
    REASONS,
    EntryChanged,
    OutOfDescriptors,
    is_as_planned,
    read_into,
    what_changed,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from rfbulk.core.imagecheck import ImageCheck
    from rfbulk.edge.lines import Call


def pack_bare(job: ShardJob, buffer: bytearray, _call: Call) -> BarePacker:
    """Send the one file of a shard as it is."""
    (entry,) = job.entries
    return BarePacker(job.roots[entry.root], entry, buffer=buffer)


class BarePacker:
    """Hands out a file chunk by chunk, each in the same `buffer`, of any length.

    Every call may come from another thread, but one at a time. A chunk holds until the next one is asked for; asking
    behind the last one changes nothing. `crc32c` covers what was handed out.
    """

    def __init__(
        self,
        root: bytes,
        entry: Entry,
        *,
        buffer: bytearray,
        check: Callable[[int], ImageCheck] | None = None,
    ) -> None:
        self.crc32c = 0
        self._check = check(entry.size) if check is not None else None
        self._root = root
        self._entry = entry
        self._view = memoryview(buffer)
        self._left = entry.size
        self._file = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back the descriptor; nothing more can be handed out."""
        self._left = 0
        file, self._file = self._file, -1  # a thread that is left behind must not close it a second time
        if file >= 0:
            os.close(file)

    def next_chunk(self) -> memoryview:
        """Return the next bytes of the file, or none after its end. Blocking.

        Raises:
            EntryChanged: the file is not, or no longer, what was planned. The packer is closed.
            OutOfDescriptors: nothing more can be opened just now. The packer is closed.
            SourceError: the root's folder cannot be opened. The packer is closed.
        """
        if not self._left:
            return self._view[:0]
        try:
            chunk = self._read()
        except BaseException:
            self.close()
            raise
        self.crc32c = crc32c(chunk, self.crc32c)
        return chunk

    def _read(self) -> memoryview:
        try:
            if self._file < 0:
                self._file = self._opened()
            chunk = self._view[: min(self._left, len(self._view))]
            count = read_into(self._file, chunk)
        except OSError as error:
            raise self._translated(error) from error
        self._left -= count
        if self._check is not None:
            self._check.take(chunk[:count])
        if not self._left or count < len(chunk):
            status = os.fstat(self._file)
            if self._left or not is_as_planned(status, self._entry):
                raise EntryChanged(0, RefusalReason.CHANGED, what_changed(status, self._entry))
            if self._check is not None and (fault := self._check.fault()):
                raise EntryChanged(0, RefusalReason.DAMAGED, fault)
            self.close()
        return chunk

    def _opened(self) -> int:
        try:
            folder = os.open(self._root, OPEN_FOLDER)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            cause, root = error.strerror or str(error), repr(os.fsdecode(self._root))
            raise SourceError("read source", root, cause=cause, advice="check that its disk is there") from error
        try:
            return os.open(self._entry.path, OPEN_FILE, dir_fd=folder)
        finally:
            os.close(folder)

    def _translated(self, error: OSError) -> Exception:
        text = error.strerror or str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return OutOfDescriptors(error.errno, text)
        return EntryChanged(0, REASONS.get(error.errno or 0, RefusalReason.UNREADABLE), text)
