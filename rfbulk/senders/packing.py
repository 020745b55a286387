"""A shard's tar, made on the way from files that may change under us.

Only whole truths leave: a file's last bytes are handed out after its attributes, asked for behind the last read, are
still those that the scan saw. So a tar that ends is a tar of what was planned, and a change stops it before its end.

How it reads is what was measured: many small files to a call, each with one open relative to the root's folder, one
read of exactly its size into its place in the buffer, one fstat and one close. One buffer serves the whole shard:
memory that is asked for anew with each chunk costs a third of the time, in page faults and in waits for the
interpreter's lock.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Self

from rfbulk.core.checksums import crc32c
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.tarlayout import BLOCK, END, TRAILER_NAME, member_head, padding
from rfbulk.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rfbulk.core.imagecheck import ImageCheck

OPEN_FILE: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)  # a terminal in the place of a file must not become ours
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in the place of a file must not hang us
)
OPEN_FOLDER: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
_KIND: Final = 0o170000
_NANOSECONDS: Final = 1_000_000_000
REASONS: Final = {
    errno.ENOENT: RefusalReason.VANISHED,
    errno.ENOTDIR: RefusalReason.VANISHED,
    errno.EISDIR: RefusalReason.CHANGED,  # a folder, a socket or a FIFO stands where the file was
    errno.ENXIO: RefusalReason.CHANGED,
    errno.EAGAIN: RefusalReason.CHANGED,
}


class EntryChanged(Exception):
    """The entry at `position` cannot be packed as it was planned; the tar has not been handed out to its end."""

    def __init__(self, position: int, reason: RefusalReason, detail: str = "") -> None:
        self.position = position
        self.reason = reason
        self.detail = detail
        super().__init__(position, reason, detail)


class OutOfDescriptors(OSError):
    """The process or the system can open no more files: no fault of the entry that was to be opened."""


class ShardPacker:
    """Hands out a shard's tar chunk by chunk, each in the same `buffer`, of any length.

    Every call may come from another thread, but one at a time. A chunk holds until the next one is asked for; asking
    behind the last one changes nothing. It fills at least half of the buffer, but for the last. `crc32c` and
    `bytes_out` cover what was handed out. `check` makes what looks at each file's content before its end is handed out.
    """

    def __init__(
        self,
        roots: Sequence[bytes],
        entries: Sequence[Entry],
        trailer: bytes = b"",
        *,
        buffer: bytearray,
        check: Callable[[int], ImageCheck] | None = None,
    ) -> None:
        self.crc32c = 0
        self.bytes_out = 0
        self._roots = roots
        self._entries = entries
        self._view = memoryview(buffer)
        self._ending = ending_of(trailer)
        self._position = 0
        self._root = -1  # whose folder is open
        self._folder = -1
        self._file = -1  # a file that is read in pieces,
        self._left = 0  # and what is left of it
        self._pending = b""  # what comes before anything else
        self._new_check = check
        self._check: ImageCheck | None = None  # of the file that is read in pieces
        self._is_over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give back all descriptors; nothing more can be handed out."""
        self._is_over = True
        self._close_file()
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1

    def next_chunk(self) -> memoryview:
        """Return the next bytes of the tar, or none after its end. Blocking.

        Raises:
            EntryChanged: a file is not, or no longer, what was planned. The packer is closed.
            OutOfDescriptors: nothing more can be opened just now. The packer is closed.
            SourceError: a root's folder cannot be opened. The packer is closed.
        """
        if self._is_over:
            return self._view[:0]
        try:
            chunk = self._view[: self._fill()]
        except OSError as error:
            translated = self._translated(error)
            self.close()
            raise translated from error
        except BaseException:
            self.close()
            raise
        self.crc32c = crc32c(chunk, self.crc32c)
        self.bytes_out += len(chunk)
        return chunk

    def _fill(self) -> int:
        """Fill the buffer and return how much of it is used."""
        used, capacity = 0, len(self._view)
        while used < capacity:
            if self._pending:
                used += self._put_pending(used)
            elif self._file >= 0:
                used += self._read_piece(used)
            elif self._position < len(self._entries):
                first = self._position
                packed = self._read_whole_files(used)
                if self._new_check is not None:
                    self._check_whole_files(first, used, packed)
                if packed == used and used > capacity // 2:
                    return used  # the next file is for the next chunk
                if packed == used:
                    self._begin_file()
                used = packed
            elif self._ending:
                self._pending, self._ending = self._ending, b""
            else:
                self.close()
                return used
        return used

    def _read_whole_files(self, used: int) -> int:
        """Pack the files of one root that fit, and return how much of the buffer is used then."""
        if self._entries[self._position].root != self._root:
            self._open_root(self._entries[self._position].root)
        root, folder, view, capacity = self._root, self._folder, self._view, len(self._view)
        entries = self._entries
        for position in range(self._position, len(entries)):
            self._position = position
            entry = entries[position]
            size, mtime_ns = entry.size, entry.mtime_ns
            head = member_head(entry.name, size, mtime_ns // _NANOSECONDS)
            start = used + len(head)
            end = start + size
            filled = end + (-size) % BLOCK
            if filled > capacity or entry.root != root:
                return used
            file = os.open(entry.path, OPEN_FILE, dir_fd=folder)
            try:
                is_whole = read_into(file, view[start:end]) == size
                status = os.fstat(file)
            finally:
                os.close(file)
            if (  # `is_as_planned`, without its call and its tuples
                status.st_size != size
                or status.st_mtime_ns != mtime_ns
                or status.st_ino != entry.inode
                or not is_whole
                or status.st_mode & _KIND != stat.S_IFREG
            ):
                raise self._changed(status)
            view[used:start] = head
            view[end:filled] = padding(size)
            used = filled
        self._position = len(entries)
        return used

    def _check_whole_files(self, first: int, start: int, end: int) -> None:
        """Look at the files that were packed from `start` to `end`, the first of them at position `first`."""
        for position, entry in enumerate(self._entries[first:], first):
            if start >= end:
                return
            start += len(member_head(entry.name, entry.size, entry.mtime_ns // _NANOSECONDS))
            self._position_checked(position, self._view[start : start + entry.size])
            start += entry.size + (-entry.size) % BLOCK

    def _position_checked(self, position: int, content: memoryview) -> None:
        if self._new_check is not None:
            check = self._new_check(len(content))
            check.take(content)
            if fault := check.fault():
                raise EntryChanged(position, RefusalReason.DAMAGED, fault)

    def _begin_file(self) -> None:
        """Open a file that does not fit: it is read in pieces."""
        entry = self._entries[self._position]
        self._file = os.open(entry.path, OPEN_FILE, dir_fd=self._folder)
        self._left = entry.size
        self._check = self._new_check(entry.size) if self._new_check else None
        self._pending = member_head(entry.name, entry.size, entry.mtime_ns // _NANOSECONDS)

    def _put_pending(self, used: int) -> int:
        piece = self._pending[: len(self._view) - used]
        self._view[used : used + len(piece)] = piece
        self._pending = self._pending[len(piece) :]
        return len(piece)

    def _read_piece(self, used: int) -> int:
        """Pack the next piece of the open file. Return its length."""
        size = min(self._left, len(self._view) - used)
        count = read_into(self._file, self._view[used : used + size])
        self._left -= count
        if self._check is not None:
            self._check.take(self._view[used : used + count])
        if self._left == 0 or count < size:
            status = os.fstat(self._file)
            self._close_file()
            entry = self._entries[self._position]
            if self._left or not is_as_planned(status, entry):
                raise self._changed(status)
            if self._check is not None and (fault := self._check.fault()):
                raise EntryChanged(self._position, RefusalReason.DAMAGED, fault)
            self._pending = padding(entry.size)
            self._position += 1
        return count

    def _open_root(self, root: int) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self._folder = os.open(self._roots[root], OPEN_FOLDER)
        self._root = root

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _changed(self, status: os.stat_result) -> EntryChanged:
        return EntryChanged(self._position, RefusalReason.CHANGED, what_changed(status, self._entries[self._position]))

    def _translated(self, error: OSError) -> Exception:
        text = error.strerror or str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return OutOfDescriptors(error.errno, text)
        if self._folder < 0:
            root = repr(os.fsdecode(self._roots[self._entries[self._position].root]))
            return SourceError("read source", root, cause=text, advice="check that its disk is there")
        return EntryChanged(self._position, REASONS.get(error.errno or 0, RefusalReason.UNREADABLE), text)


def what_changed(status: os.stat_result, entry: Entry) -> str:
    """Tell in words what is other than it was planned."""
    if not stat.S_ISREG(status.st_mode):
        return "it is no regular file any more"
    if status.st_ino != entry.inode:
        return "another file took its place"
    if status.st_size != entry.size:
        return f"it had {entry.size} bytes and has {status.st_size}"
    return "it was written to"


def is_as_planned(status: os.stat_result, entry: Entry) -> bool:
    """Tell whether an open file still is what the scan saw."""
    found = status.st_size, status.st_mtime_ns, status.st_ino
    return found == (entry.size, entry.mtime_ns, entry.inode) and stat.S_ISREG(status.st_mode)


def ending_of(trailer: bytes) -> bytes:
    """Return all that follows a tar's last image: the trailer as a member, unless it is empty, and the end."""
    if not trailer:
        return END
    return b"".join((member_head(TRAILER_NAME, len(trailer), 0), trailer, padding(len(trailer)), END))


def read_into(file: int, view: memoryview) -> int:
    """Fill `view` from a file and return how much of it: some file systems give less than was asked for."""
    count = _read_some(file, view) if view else 0
    while 0 < count < len(view) and (more := _read_some(file, view[count:])):
        count += more
    return count


def _readv(file: int, view: memoryview) -> int:
    return os.readv(file, (view,))


def _read(file: int, view: memoryview) -> int:
    data = os.read(file, len(view))
    view[: len(data)] = data
    return len(data)


_read_some: Final = _readv if hasattr(os, "readv") else _read  # Windows has none
