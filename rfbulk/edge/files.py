"""The source's folders and files: what is there, what of it can be sent, and why the rest cannot.

Scanning reads names and attributes, never a file's content, and opens nothing but folders: no FIFO can hang it.
It goes down into each folder where it meets it and holds one open folder a level, so its memory grows with the
depth of the tree, not with the number of files. Who may not be read is found by packing: asking here would cost
as much as all the rest.

| what is met | what becomes of it |
| --- | --- |
| a regular file, or a symbolic link to one | an entry, or a refusal that says why; hard links are ordinary files |
| a link to a folder inside the source | seen elsewhere: its images go under their own path |
| a link to the source, or to a folder above the link | a loop |
| a link to a folder outside | followed, once; a second way to the same folder is seen elsewhere |
| a dangling link | named, unless its suffix says that it was no image |
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec

from rfbulk.core.limits import Format
from rfbulk.core.media import IMAGES, Media
from rfbulk.core.model import Entry, Refusal, RefusalReason
from rfbulk.core.selection import Chooser, Selection, chooser_of
from rfbulk.edge.roots import Root, open_root, root_error

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

__all__ = ["Root", "ScanGroup", "Selection", "Walk", "open_root", "scan"]

GROUP_SIZE: Final = 500
MAX_OPEN_FOLDERS: Final = 64
"""Folders deeper than this are listed whole, so that a deep tree does not use up the descriptors of the process."""

_KIND: Final = 0o170000
_REGULAR: Final = stat.S_IFREG
_GONE: Final = (errno.ENOENT, errno.ENOTDIR)


class ScanGroup(msgspec.Struct):
    """Some files of a source: those to send, and those that are named instead."""

    entries: list[Entry]
    refusals: list[Refusal]


def scan(
    root: Root,
    selection: Selection,
    name_of: Callable[[bytes], str],
    *,
    media: Media = IMAGES,
    group_size: int = GROUP_SIZE,
) -> Generator[ScanGroup, None, None]:
    """Yield what `root` holds, as soon as `group_size` files are known; the last group may be small, none is empty.

    `name_of` gives the member name for a relative path; a ValueError of it becomes a refusal. Blocking: meant to be
    driven in a thread, from any thread at a time. Closing the generator closes its folders.

    Raises:
        UsageError: a pattern of the selection has no meaning.
        SourceError: the root itself can no longer be read, or the process has no descriptors left.
    """
    walk = Walk(root, chooser_of(selection), name_of, media, group_size)
    try:
        walk.begin()
        while walk.go_on():
            if walk.is_full:
                yield walk.group()
        if walk.entries or walk.refusals:
            yield walk.group()
    finally:
        walk.close()


@dataclass(slots=True)
class _Folder:
    """A folder that is being read: its path with `/` behind, where it really is, what is left of it."""

    prefix: bytes
    real: bytes
    listing: Iterator[os.DirEntry[bytes]]

    def close(self) -> None:
        if hasattr(self.listing, "close"):
            self.listing.close()


class Walk:
    """A scan under way. `entries` and `refusals` are what has been found since the last group."""

    def __init__(
        self,
        root: Root,
        chooser: Chooser,
        name_of: Callable[[bytes], str],
        media: Media = IMAGES,
        group_size: int = GROUP_SIZE,
    ) -> None:
        self.entries: list[Entry] = []
        self.refusals: list[Refusal] = []
        self._root = root
        self._chooser = chooser
        self._name_of = name_of
        self._media = media
        self._group_size = group_size
        self._stack: list[_Folder] = []
        self._real_root = b""
        self._covered: set[bytes] = set()  # real paths of the root and of the outside folders that links led to
        self._followed: set[tuple[int, int]] = set()  # device and inode of the latter

    @property
    def is_full(self) -> bool:
        """Whether a group is complete."""
        return len(self.entries) >= self._group_size or len(self.refusals) >= self._group_size

    def group(self) -> ScanGroup:
        """Take what has been found since the last group."""
        group = ScanGroup(self.entries, self.refusals)
        self.entries, self.refusals = [], []
        return group

    def close(self) -> None:
        """Close all folders."""
        while self._stack:
            self._stack.pop().close()

    def begin(self) -> None:
        """Open the root."""
        path = self._root.path
        if self._root.is_file:
            self.judge(path[path.rfind(b"/") + 1 :], partial(os.stat, path))
            return
        self._real_root = os.path.realpath(path)
        self._covered.add(self._real_root)
        try:
            self._push(b"", path, self._real_root)
        except OSError as error:
            raise root_error(path, error) from error

    def go_on(self) -> bool:
        """Read until a group is full or another folder comes first. Return whether anything was left to read."""
        if not self._stack:
            return False
        folder = self._stack[-1]
        try:
            if self._read(folder):
                return True
        except OSError as error:  # the folder's own: those of its files are caught where they arise
            self._refuse_for(folder.prefix[:-1] or b".", error)
        self._stack.pop().close()
        return True

    def _read(self, folder: _Folder) -> bool:
        """Take the folder's files one by one. Return False at its end."""
        number, prefix, name_of, entries = self._root.number, folder.prefix, self._name_of, self.entries
        format_of, max_bytes = self._media.format_of, self._media.max_bytes
        accepted, takes_all, most = Format.ACCEPTED, self._chooser.takes_all, self._group_size
        for found in folder.listing:
            name = found.name
            # The way of nearly all files is written out: a call less is a tenth of what a file takes.
            if takes_all and format_of(name) is accepted and not found.is_symlink():
                try:
                    status = found.stat()
                    size = status.st_size
                    if status.st_mode & _KIND == _REGULAR and 0 < size <= max_bytes:
                        path = prefix + name
                        entries.append(Entry(number, path, name_of(path), size, status.st_mtime_ns, status.st_ino))
                        if len(entries) >= most:
                            return True
                        continue
                except (OSError, ValueError):
                    pass  # met again, and told, on the other way
            if self._look_at(folder, found) or self.is_full:
                return True
        return False

    def _look_at(self, folder: _Folder, found: os.DirEntry[bytes]) -> bool:
        """Take anything. Return whether it was a folder, which comes first."""
        path = folder.prefix + found.name
        try:
            if found.is_symlink():
                return self._follow(folder, path, found)
            if found.is_dir():
                return self._enter(path, found.path, os.path.join(folder.real, found.name))
        except OSError as error:
            self._refuse_for(path, error)
            return False
        self.judge(path, found.stat)
        return False

    def _enter(self, path: bytes, full: bytes, real: bytes) -> bool:
        if not self._chooser.enters(path):
            return False
        if self._followed:
            status = os.stat(full)
            if (status.st_dev, status.st_ino) in self._followed:
                self._refuse(path, RefusalReason.SEEN_ELSEWHERE)
                return False
        self._push(path + b"/", full, real)
        return True

    def _push(self, prefix: bytes, full: bytes, real: bytes) -> None:
        listing: Iterator[os.DirEntry[bytes]] = os.scandir(full)
        if len(self._stack) >= MAX_OPEN_FOLDERS:
            listing = iter(list(listing))
        self._stack.append(_Folder(prefix, real, listing))

    def _follow(self, folder: _Folder, path: bytes, link: os.DirEntry[bytes]) -> bool:
        try:
            status = link.stat()
        except OSError as error:
            if self._chooser.takes(path):
                self._refuse_link(path, error)
            return False
        if stat.S_ISDIR(status.st_mode):
            return self._chooser.enters(path) and self._follow_folder(folder, path, link)
        self.judge(path, link.stat)
        return False

    def _follow_folder(self, folder: _Folder, path: bytes, link: os.DirEntry[bytes]) -> bool:
        target = os.path.realpath(link.path)
        status = link.stat()
        identity = status.st_dev, status.st_ino
        if _is_within(folder.real, target) or _is_within(self._real_root, target):
            self._refuse(path, RefusalReason.LINK_LOOP, f"leads to {os.fsdecode(target)!r}, which holds it")
            return False
        if identity in self._followed or self._is_covered(target):
            self._refuse(path, RefusalReason.SEEN_ELSEWHERE, f"leads to {os.fsdecode(target)!r}")
            return False
        self._followed.add(identity)
        self._covered.add(target)
        self._push(path + b"/", link.path, target)
        return True

    def _is_covered(self, target: bytes) -> bool:
        while target not in self._covered:
            above = os.path.dirname(target)
            if above == target:
                return False
            target = above
        return True

    def judge(self, path: bytes, status_of: Callable[[], os.stat_result]) -> None:
        """Take a file as what it is, if it is meant."""
        if not self._chooser.takes(path):
            return
        try:
            self._judge(path, status_of)
        except OSError as error:
            self._refuse_for(path, error)
        except ValueError as error:
            self._refuse(path, RefusalReason.NAME, str(error))

    def _judge(self, path: bytes, status_of: Callable[[], os.stat_result]) -> None:
        if refused := self._media.refused.get(self._media.format_of(path[path.rfind(b"/") + 1 :])):
            self._refuse(path, refused)
            return
        status = status_of()
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self._refuse(path, RefusalReason.SPECIAL)
        elif size == 0:
            self._refuse(path, RefusalReason.EMPTY)
        elif size > self._media.max_bytes:
            self._refuse(path, RefusalReason.TOO_LARGE, f"{size} bytes, at most {self._media.max_bytes}")
        else:
            name = self._name_of(path)
            self.entries.append(Entry(self._root.number, path, name, size, status.st_mtime_ns, status.st_ino))

    def _refuse(self, path: bytes, reason: RefusalReason, detail: str = "") -> None:
        self.refusals.append(Refusal(self._root.number, path, reason, detail))

    def _refuse_for(self, path: bytes, error: OSError) -> None:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            raise root_error(self._root.path, error) from error
        reason = RefusalReason.VANISHED if error.errno in _GONE else RefusalReason.UNREADABLE
        self._refuse(path, reason, error.strerror or "")

    def _refuse_link(self, path: bytes, error: OSError) -> None:
        """Refuse a link that leads nowhere. Without a suffix it may have led to a whole folder."""
        name = path[path.rfind(b"/") + 1 :]
        refused = self._media.refused.get(self._media.format_of(name))
        if refused and b"." in name[1:]:
            self._refuse(path, refused)
        elif error.errno == errno.ELOOP:
            self._refuse(path, RefusalReason.LINK_LOOP)
        elif error.errno in _GONE:
            self._refuse(path, RefusalReason.DANGLING_LINK)
        else:
            self._refuse_for(path, error)


def _is_within(path: bytes, folder: bytes) -> bool:
    return path == folder or path.startswith(folder.rstrip(b"/") + b"/")
