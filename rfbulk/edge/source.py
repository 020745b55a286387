"""The folders and files that an upload reads: named, walked, and looked at again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rfbulk.core import containers
from rfbulk.core.imagecheck import ImageCheck
from rfbulk.core.media import IMAGES, Media
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.naming import basename_name, member_name, prefixed_name
from rfbulk.core.objects import is_bucket
from rfbulk.edge.files import Root, ScanGroup, open_root, scan
from rfbulk.edge.path_list import ListScan, PathList, check_list, held_back, nothing_seen
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.core.selection import Selection
    from rfbulk.edge.bucket_source import BucketSource
    from rfbulk.settings import Names

MAX_CLASHES_SHOWN = 3
LOOK_BYTES = 512 << 10
NO_VIDEO = "its first bytes are those of no video"


@dataclass(frozen=True, slots=True)
class FileSource:
    """Folders, files and lists of such. Made by `open_source`; every method blocks on the disk.

    Each list has two roots behind those of the folders: where its relative paths begin, and `/`.
    """

    opened: tuple[Root, ...]
    selection: Selection
    name_of: tuple[Callable[[bytes], str], ...]
    lists: tuple[PathList, ...] = ()
    media: Media = IMAGES
    has_bare_names: bool = False

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The absolute folders in which the entries' paths begin, by `Entry.root`."""
        listed = (root for each in self.lists for root in (each.base_path, b"/"))
        return (*(base_of(root) for root in self.opened), *listed)

    def scan(self) -> Iterator[ScanGroup]:
        """Walk all roots, group by group, in the file system's order, then the lists in theirs."""
        for root in self.opened:
            yield from scan(root, self.selection, self.name_of[root.number], media=self.media)
        if self.lists:
            with nothing_seen() as seen:
                for place, listed in enumerate(self.lists):
                    first = len(self.opened) + 2 * place
                    bare = self.has_bare_names
                    yield from ListScan(listed, first, self.selection, self.media, bare=bare).scan(seen)

    def refresh(self, entry: Entry) -> Entry | tuple[RefusalReason, str]:
        """Look at a file again: what it is now, or why it cannot be sent any more."""
        path = os.path.join(self.roots[entry.root], entry.path)
        try:
            status = os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return RefusalReason.VANISHED, "it vanished before it was sent"
        except OSError as error:
            return RefusalReason.UNREADABLE, str(error.strerror)
        if not stat.S_ISREG(status.st_mode):
            return RefusalReason.SPECIAL, "it is no regular file any more"
        if status.st_size == 0:
            return RefusalReason.EMPTY, "it is empty now"
        most = self.media.max_bytes
        if status.st_size > most:
            return RefusalReason.TOO_LARGE, f"it has {status.st_size} bytes now, {most} are allowed"
        return msgspec.structs.replace(entry, size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


def look_into_video(source: FileSource, entry: Entry) -> tuple[RefusalReason, str] | None:
    """Tell why a file is no video, None if it is one, or cannot be read: sending it will tell why."""
    try:
        with _opened(source, entry) as file:
            head = file.read(containers.HEAD_BYTES)
    except OSError:
        return None
    if containers.container_of(head) is not None:
        return None
    return RefusalReason.NO_VIDEO, NO_VIDEO


def look_into_image(source: FileSource, entry: Entry) -> tuple[RefusalReason, str] | None:
    """Tell why a file is no whole image, None if it is one, or cannot be read."""
    check = ImageCheck(entry.size)
    try:
        with _opened(source, entry) as file:
            while piece := file.read(LOOK_BYTES):
                check.take(memoryview(piece))
    except OSError:
        return None
    return (RefusalReason.DAMAGED, check.fault()) if check.fault() else None


def _opened(source: FileSource, entry: Entry) -> BufferedReader:
    path = os.path.join(source.roots[entry.root], entry.path)
    return os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb")


def open_source(
    sources: Sequence[str | os.PathLike[str] | PathList], selection: Selection, names: Names, media: Media = IMAGES
) -> FileSource:
    """Return the source of an upload.

    Raises:
        SourceError, UsageError: a path is missing or unreadable, or two sources would give the same names.
    """
    if not sources:
        raise UsageError("upload", cause="no source was given", advice=f"name a folder of {media.kind}")
    lists = [each for each in sources if isinstance(each, PathList)]
    paths = [each for each in sources if not isinstance(each, PathList)]
    for each in lists:
        check_list(each)
    opened = tuple(open_root(path, number) for number, path in enumerate(paths))
    namers = _namers(opened, names, is_alone=len(sources) == 1)
    is_bare = names == "basename"
    if is_bare or len(sources) > 1:
        lists = [held_back(each) for each in lists]  # names are compared first
    return FileSource(opened, selection, namers, tuple(lists), media, is_bare)


def _namers(opened: Sequence[Root], names: Names, *, is_alone: bool) -> tuple[Callable[[bytes], str], ...]:
    labels = [os.path.basename(root.path.rstrip(b"/")) or b"root" for root in opened]
    has_labels = names == "path" or (names == "auto" and not is_alone)
    folders = [label for label, root in zip(labels, opened, strict=True) if not root.is_file]
    if has_labels and len(set(folders)) < len(folders):
        raise UsageError(
            "upload",
            ", ".join(os.fsdecode(root.path) for root in opened),
            cause="two of these folders have the same name, so their images' names could clash",
            advice="upload the folder above them",
        )
    pairs = zip(opened, labels, strict=True)
    return tuple(_namer(names, has_labels and not root.is_file, label) for root, label in pairs)


def _namer(names: Names, has_label: bool, label: bytes) -> Callable[[bytes], str]:
    if names == "basename":
        return basename_name
    if not has_label:
        return member_name
    return lambda path: prefixed_name(label, path)


def base_of(root: Root) -> bytes:
    """Return the folder in which a root's paths begin: a file's is the folder that holds it."""
    return os.path.dirname(root.path) if root.is_file else root.path


def needs_clash_check(names: Names, source: FileSource | BucketSource) -> bool:
    """Tell whether equal member names are possible, which only a look at all names can exclude."""
    lists = source.lists if isinstance(source, FileSource) else ()
    has_list_beside = bool(lists) and len(source.opened) + len(lists) > 1
    return names == "basename" or has_list_beside or sum(root.is_file for root in source.opened) > 1


def refuse_clashes(source: FileSource | BucketSource) -> None:
    """Walk the whole source and refuse it if two images would bear the same name. Memory stays flat.

    Raises:
        UsageError: names clash; the first few pairs are named.
    """
    count, shown = 0, []
    names = sqlite3.connect("", isolation_level=None)
    try:
        names.execute("CREATE TABLE names (name TEXT PRIMARY KEY, path TEXT) WITHOUT ROWID")
        names.execute("BEGIN")
        for group in source.scan():
            for entry in group.entries:
                path = os.path.join(source.roots[entry.root], entry.path).decode("utf-8", "backslashreplace")
                if names.execute("INSERT OR IGNORE INTO names VALUES (?, ?)", (entry.name, path)).rowcount:
                    continue
                other = names.execute("SELECT path FROM names WHERE name = ?", (entry.name,)).fetchone()[0]
                count += 1
                if count <= MAX_CLASHES_SHOWN:
                    shown.append(f"{other} and {path}")
    finally:
        names.close()
    if count:
        more = f" and {count - MAX_CLASHES_SHOWN} more" if count > MAX_CLASHES_SHOWN else ""
        raise UsageError(
            "name",
            "the images",
            cause=f"{count} would bear a name that another has: {'; '.join(shown)}{more}",
            advice="leave --names out: names are then made from paths and cannot clash",
        )


def renamed(entry: Entry) -> Entry:
    """Return the entry under a name of its own: one that tells it from what was sent under its name before."""
    text = f"{entry.size}:{entry.mtime_ns}:{entry.inode}".encode()
    stem, dot, suffix = entry.name.rpartition(".")
    mark = hashlib.sha256(text).hexdigest()[:8]
    return msgspec.structs.replace(entry, name=f"{stem}%~{mark}{dot}{suffix}")


def resolved(sources: Sequence[str | os.PathLike[str] | PathList]) -> tuple[str, ...]:
    """Return the sources as the checkpoint knows them: absolute, links resolved, however they were spelled."""
    return tuple(each.identity if isinstance(each, PathList) else _resolved(os.fspath(each)) for each in sources)


def _resolved(path: str) -> str:
    if is_bucket(path):
        return path
    return os.fsencode(Path(path).resolve()).decode("utf-8", "backslashreplace")
