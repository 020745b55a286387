"""The folders and files that an upload reads: named, walked, and looked at again."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rfbulk.core.limits import MAX_IMAGE_BYTES
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.naming import basename_name, member_name, prefixed_name
from rfbulk.core.objects import is_bucket
from rfbulk.edge.files import Root, ScanGroup, open_root, scan
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.core.selection import Selection
    from rfbulk.edge.bucket_source import BucketSource
    from rfbulk.settings import Names

MAX_CLASHES_SHOWN = 3


@dataclass(frozen=True, slots=True)
class FileSource:
    """One or more folders or files. Made by `open_source`; every method blocks on the disk."""

    opened: tuple[Root, ...]
    selection: Selection
    name_of: tuple[Callable[[bytes], str], ...]

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The absolute folders in which the entries' paths begin, by `Entry.root`."""
        return tuple(base_of(root) for root in self.opened)

    def scan(self) -> Iterator[ScanGroup]:
        """Walk all roots, group by group, in the file system's order."""
        for root in self.opened:
            yield from scan(root, self.selection, self.name_of[root.number])

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
        if status.st_size > MAX_IMAGE_BYTES:
            return RefusalReason.TOO_LARGE, f"it has {status.st_size} bytes now, {MAX_IMAGE_BYTES} are allowed"
        return msgspec.structs.replace(entry, size=status.st_size, mtime_ns=status.st_mtime_ns, inode=status.st_ino)


def open_source(paths: Sequence[str | os.PathLike[str]], selection: Selection, names: Names) -> FileSource:
    """Return the source of an upload.

    Raises:
        SourceError, UsageError: a path is missing or unreadable, or two sources would give the same names.
    """
    if not paths:
        raise UsageError("upload", cause="no source was given", advice="name a folder of images")
    opened = tuple(open_root(path, number) for number, path in enumerate(paths))
    labels = [os.path.basename(root.path.rstrip(b"/")) or b"root" for root in opened]
    has_labels = names == "path" or (names == "auto" and len(opened) > 1)
    folders = [label for label, root in zip(labels, opened, strict=True) if not root.is_file]
    if has_labels and len(set(folders)) < len(folders):
        raise UsageError(
            "upload",
            ", ".join(os.fsdecode(root.path) for root in opened),
            cause="two of these folders have the same name, so their images' names could clash",
            advice="upload the folder above them",
        )
    namers = [_namer(names, has_labels and not root.is_file, label) for root, label in zip(opened, labels, strict=True)]
    return FileSource(opened, selection, tuple(namers))


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
    return names == "basename" or sum(root.is_file for root in source.opened) > 1


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


def resolved(paths: Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    """Return the sources as the checkpoint knows them: absolute, links resolved, however they were spelled."""
    return tuple(_resolved(os.fspath(path)) for path in paths)


def _resolved(path: str) -> str:
    if is_bucket(path):
        return path
    return os.fsencode(Path(path).resolve()).decode("utf-8", "backslashreplace")
