"""Where files land: each path is taken once, by a table of the checkpoint, so that no two ever meet.

What would meet, also on a file system that does not tell upper case from lower, is kept apart: `name~2.jpg`.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Final

from rfbulk.core.landing import apart, clash_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_KNOWN_FOLDERS: Final = 10_000


class PathBook:
    """Takes paths in the table `taken`. Belongs to the checkpoint's thread, each call within its transaction."""

    def __init__(self) -> None:
        self._folders: dict[str, str] = {}

    def take_all(self, db: sqlite3.Connection, wanted: Sequence[str]) -> list[str]:
        """Take these paths in their order, or the nearest that are free, and return them."""
        if self._take_at_once(db, wanted):
            return list(wanted)
        return [self.take(db, path) for path in wanted]

    def _take_at_once(self, db: sqlite3.Connection, wanted: Sequence[str]) -> bool:
        """The usual case, in one call: nothing is taken yet. False, and nothing changed, if something is."""
        folders = dict(self._folders)
        db.execute("SAVEPOINT taking")
        try:
            is_free = all(self._folder(db, folder) == folder for folder in {path.rpartition("/")[0] for path in wanted})
            if is_free:
                db.executemany(_INSERT, [(clash_key(path), 0) for path in wanted])
        except sqlite3.IntegrityError:
            is_free = False
        if not is_free:
            db.execute("ROLLBACK TO taking")
            self._folders = folders
        db.execute("RELEASE taking")
        return is_free

    def take(self, db: sqlite3.Connection, wanted: str) -> str:
        """Take one path, or the nearest that is free, and return it."""
        folder, _, name = wanted.rpartition("/")
        path = _joined(self._folder(db, folder), name)
        return path if _insert(db, path, is_folder=False) else _take_apart(db, path, is_folder=False)

    def take_folder(self, db: sqlite3.Connection, name: str) -> str:
        """Take a folder for oneself, or the nearest that is free, and return it."""
        return name if _insert(db, name, is_folder=True) else _take_apart(db, name, is_folder=True)

    def reserve(self, db: sqlite3.Connection, paths: Iterable[str]) -> None:
        """Keep everything away from these paths."""
        for path in paths:
            _insert(db, path, is_folder=False)

    def _folder(self, db: sqlite3.Connection, wanted: str) -> str:
        """Return the folder that stands for `wanted`: it, unless a file has its name."""
        if not wanted:
            return ""
        known = self._folders.get(wanted)
        if known is not None:
            return known
        above, _, name = wanted.rpartition("/")
        path = _joined(self._folder(db, above), name)
        if not _insert(db, path, is_folder=True) and not _is_folder(db, path):
            path = _folder_apart(db, path)
        if len(self._folders) >= MAX_KNOWN_FOLDERS:
            self._folders.clear()
        self._folders[wanted] = path
        return path


def _joined(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


_INSERT: Final = "INSERT INTO taken (key, is_folder) VALUES (?, ?)"


def _insert(db: sqlite3.Connection, path: str, *, is_folder: bool) -> bool:
    return db.execute(f"{_INSERT} ON CONFLICT DO NOTHING", (clash_key(path), is_folder)).rowcount > 0


def _is_folder(db: sqlite3.Connection, path: str) -> bool:
    row = db.execute("SELECT is_folder FROM taken WHERE key = ?", (clash_key(path),)).fetchone()
    return row is not None and bool(row[0])


def _take_apart(db: sqlite3.Connection, path: str, *, is_folder: bool) -> str:
    """The number to try next is remembered, so that thousands of equal names do not each try all."""
    key = clash_key(path)
    while True:
        number = db.execute("UPDATE taken SET next = next + 1 WHERE key = ? RETURNING next - 1", (key,)).fetchone()[0]
        other = apart(path, number)
        if _insert(db, other, is_folder=is_folder):
            return other


def _folder_apart(db: sqlite3.Connection, path: str) -> str:
    """The first folder beside `path` that is one, or free: all that want to be in `path` meet there."""
    number = 2
    while True:
        other = apart(path, number)
        if _insert(db, other, is_folder=True) or _is_folder(db, other):
            return other
        number += 1
