"""A shard's tar, made on the way from files that may change under us.

Only whole truths leave: a file's last bytes are handed out after its attributes, asked for behind the last read, are
still those that the scan saw. So a tar that ends is a tar of what was planned, and a change stops it before its end.

How it reads is what was measured: many small files to a call, each with one open relative to the root's folder, one
read of exactly its size, one fstat and one close; a chunk is joined from them once. `readv` into a bytearray saves
no time, because the checksum takes only bytes.
"""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING, Final, Self

import google_crc32c

from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.tarlayout import END, TRAILER_NAME, member_head, padding
from rfbulk.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_CHUNK_BYTES: Final = 512 << 10
"""Chunks of 1 MiB take twice the time a byte for files of some megabytes: their memory is mapped anew each time.
Below 256 KiB nothing is gained, and each chunk costs its reader a hand-over."""

_OPEN: Final = (
    os.O_RDONLY
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)  # a terminal in the place of a file must not become ours
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in the place of a file must not hang us
)
_OPEN_FOLDER: Final = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_DIRECTORY", 0)
_KIND: Final = 0o170000
_NANOSECONDS: Final = 1_000_000_000
_REASONS: Final = {
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
    """Hands out a shard's tar chunk by chunk.

    Every call may come from another thread, but one at a time. A chunk has about `chunk_bytes`: at most half as much
    again, heads aside. While one is made, twice its length is held. `crc32c` and `bytes_out` cover what was handed
    out. Chunks are immutable and never used again, so a transport may keep them as long as it likes.
    """

    def __init__(
        self,
        roots: Sequence[bytes],
        entries: Sequence[Entry],
        trailer: bytes = b"",
        *,
        chunk_bytes: int = DEFAULT_CHUNK_BYTES,
    ) -> None:
        self.crc32c = 0
        self.bytes_out = 0
        self._roots = roots
        self._entries = entries
        self._trailer = trailer
        self._chunk_bytes = chunk_bytes
        self._whole_bytes = chunk_bytes // 2  # files up to this are read in one piece
        self._position = 0
        self._root = -1  # whose folder is open
        self._folder = -1
        self._file = -1  # a large file that is read in pieces,
        self._left = 0  # and what is left of it
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

    def next_chunk(self) -> bytes:
        """Return the next bytes of the tar, or none after its end. Blocking.

        Raises:
            EntryChanged: a file is not, or no longer, what was planned. The packer is closed.
            OutOfDescriptors: nothing more can be opened just now. The packer is closed.
            SourceError: a root's folder cannot be opened. The packer is closed.
        """
        if self._is_over:
            return b""
        parts: list[bytes] = []
        try:
            self._fill(parts)
        except OSError as error:
            translated = self._translated(error)
            self.close()
            raise translated from error
        except BaseException:
            self.close()
            raise
        chunk = b"".join(parts)
        self.crc32c = google_crc32c.extend(self.crc32c, chunk)
        self.bytes_out += len(chunk)
        return chunk

    def _fill(self, parts: list[bytes]) -> None:
        room = self._chunk_bytes
        while room > 0 and self._position < len(self._entries):
            entry = self._entries[self._position]
            if self._file >= 0:
                room -= self._read_piece(parts, room)
            elif entry.root != self._root:
                self._open_root(entry.root)
            elif entry.size <= self._whole_bytes:
                room = self._read_whole_files(parts, room)
            else:
                self._file = os.open(entry.path, _OPEN, dir_fd=self._folder)
                self._left = entry.size
                parts.append(member_head(entry.name, entry.size, entry.mtime_ns // _NANOSECONDS))
        if self._position == len(self._entries):
            parts.extend(_ending(self._trailer))
            self.close()

    def _read_whole_files(self, parts: list[bytes], room: int) -> int:
        """Pack small files of the open root until the chunk is full. Return the room that is left."""
        root, folder, whole_bytes, add = self._root, self._folder, self._whole_bytes, parts.append
        entries = self._entries
        for position in range(self._position, len(entries)):
            self._position = position
            entry = entries[position]
            size, mtime_ns = entry.size, entry.mtime_ns
            if room <= 0 or size > whole_bytes or entry.root != root:
                return room
            file = os.open(entry.path, _OPEN, dir_fd=folder)
            try:
                data = os.read(file, size)
                if len(data) != size:
                    data += _read_on(file, size - len(data))
                status = os.fstat(file)
            finally:
                os.close(file)
            if (  # `_is_as_planned`, without its call and its tuples
                status.st_size != size
                or status.st_mtime_ns != mtime_ns
                or status.st_ino != entry.inode
                or len(data) != size
                or status.st_mode & _KIND != stat.S_IFREG
            ):
                raise self._changed(status)
            head = member_head(entry.name, size, mtime_ns // _NANOSECONDS)
            add(head)
            add(data)
            add(padding(size))
            room -= len(head) + size
        self._position = len(entries)
        return room

    def _read_piece(self, parts: list[bytes], room: int) -> int:
        """Pack the next piece of a large file. Return its length."""
        data = os.read(self._file, min(self._left, room))
        self._left -= len(data)
        if self._left == 0 or not data:
            status = os.fstat(self._file)
            self._close_file()
            entry = self._entries[self._position]
            if self._left or not _is_as_planned(status, entry):
                raise self._changed(status)
            data += padding(entry.size)
            self._position += 1
        parts.append(data)
        return len(data)

    def _open_root(self, root: int) -> None:
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1
        self._folder = os.open(self._roots[root], _OPEN_FOLDER)
        self._root = root

    def _close_file(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _changed(self, status: os.stat_result) -> EntryChanged:
        entry = self._entries[self._position]
        if not stat.S_ISREG(status.st_mode):
            detail = "it is no regular file any more"
        elif status.st_ino != entry.inode:
            detail = "another file took its place"
        elif status.st_size != entry.size:
            detail = f"it had {entry.size} bytes and has {status.st_size}"
        else:
            detail = "it was written to"
        return EntryChanged(self._position, RefusalReason.CHANGED, detail)

    def _translated(self, error: OSError) -> Exception:
        text = error.strerror or str(error)
        if error.errno in (errno.EMFILE, errno.ENFILE):
            return OutOfDescriptors(error.errno, text)
        if self._folder < 0:
            root = repr(os.fsdecode(self._roots[self._entries[self._position].root]))
            return SourceError("read source", root, cause=text, advice="check that its disk is there")
        return EntryChanged(self._position, _REASONS.get(error.errno or 0, RefusalReason.UNREADABLE), text)


def _is_as_planned(status: os.stat_result, entry: Entry) -> bool:
    found = status.st_size, status.st_mtime_ns, status.st_ino
    return found == (entry.size, entry.mtime_ns, entry.inode) and stat.S_ISREG(status.st_mode)


def _read_on(file: int, size: int) -> bytes:
    """Read up to `size` bytes more: some file systems give less than was asked for."""
    parts = []
    while size and (data := os.read(file, size)):
        parts.append(data)
        size -= len(data)
    return b"".join(parts)


def _ending(trailer: bytes) -> list[bytes]:
    if not trailer:
        return [END]
    return [member_head(TRAILER_NAME, len(trailer), 0), trailer, padding(len(trailer)), END]
