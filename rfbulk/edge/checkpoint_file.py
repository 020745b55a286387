"""The file of a checkpoint: held by one process, made whole, opened, refused if it is damaged or of another rfbulk.

What its tables hold is each kind of checkpoint's own business: it says so by its `Shape`.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rfbulk.edge.locks import FileLock
from rfbulk.edge.writer import SqliteWriter, translated
from rfbulk.errors import CheckpointDamaged, UsageError

SUFFIX: Final = ".sqlite"


@dataclass(frozen=True, slots=True)
class Shape:
    """The tables of one kind of checkpoint, their version, and what to do about a file that is damaged."""

    tables: str
    version: int
    advice: str


@contextmanager
def held(
    folder: Path, name: str, shape: Shape, facts: Mapping[str, str], *, restart: bool
) -> Iterator[tuple[Path, SqliteWriter]]:
    """Open or create the checkpoint `name` in `folder`, and hold it against other processes. Yield file and writer.

    With `restart`, what an earlier run recorded is discarded first. Blocks on the disk: call it in a thread.

    Raises:
        CheckpointBusy: another process holds it.
        CheckpointDamaged: it is damaged, or of another version of rfbulk.
        NoRoom: the disk is full.
        UsageError: the folder cannot be made, or is not ours.
    """
    make_private_folder(folder)
    path = folder / f"{name}{SUFFIX}"
    lock = FileLock(path.with_suffix(".lock"))
    lock.acquire()
    try:
        if restart:
            remove_files(path)
        writer = SqliteWriter(lambda: connect(path, shape, facts))
        writer.start()
        try:
            yield path, writer
        finally:
            writer.stop()
    finally:
        lock.release()


def connect(path: Path, shape: Shape, facts: Mapping[str, str]) -> sqlite3.Connection:
    """Open the file; one that is not there is made, with `facts` in it.

    Raises:
        CheckpointDamaged: it is no checkpoint, or of another version of rfbulk.
        sqlite3.Error, OSError: what else the disk says.
    """
    if not path.exists():
        _create(path, shape, facts)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection, path, shape)
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a further connection that only reads. The caller closes it."""
    quoted = path.as_posix().replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, isolation_level=None)


def read_only(path: Path) -> sqlite3.Connection:
    """The same, with failures as our own errors.

    Raises:
        CheckpointDamaged: it cannot be opened.
    """
    try:
        return connect_to_read(path)
    except sqlite3.Error as error:
        raise translated(error) from error


def facts_of(path: Path) -> dict[str, str]:
    """Return all that a checkpoint says of itself.

    Raises:
        CheckpointDamaged: it cannot be read.
    """
    try:
        with closing(connect_to_read(path)) as db:
            return dict(db.execute("SELECT name, value FROM facts").fetchall())
    except sqlite3.Error as error:
        raise translated(error) from error


def fact(db: sqlite3.Connection, name: str) -> str | None:
    """Return a fact by name, None if it was never recorded."""
    row = db.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
    return None if row is None else str(row[0])


def set_fact(db: sqlite3.Connection, name: str, value: str) -> None:
    """Record a fact, replacing its earlier value."""
    db.execute("INSERT INTO facts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value", (name, value))


def newest_first(folder: Path) -> list[Path]:
    """Return the checkpoints of a folder, the one used last first."""
    return sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime, reverse=True)


def remove_files(path: Path) -> None:
    """Delete a checkpoint and what SQLite keeps beside it."""
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)


def make_private_folder(folder: Path) -> None:
    """Make the folder of checkpoints, readable by its user alone.

    Raises:
        UsageError: it cannot be made, or is not ours.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.name == "posix" and folder.stat().st_mode & 0o077:
            folder.chmod(0o700)
    except OSError as error:
        raise UsageError(
            "make", f"the state folder {folder}", cause=str(error.strerror), advice="set RFBULK_STATE_DIR"
        ) from None


def _create(path: Path, shape: Shape, facts: Mapping[str, str]) -> None:
    """Make the file whole under another name, so that an empty one is never taken for a new one."""
    new = path.with_suffix(".new")
    remove_files(new)
    remove_files(path)  # a log without its file must not be read into the new one
    os.close(os.open(new, os.O_RDWR | os.O_CREAT, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")  # no log yet: the file must be whole without one
        connection.execute("BEGIN IMMEDIATE")
        for statement in shape.tables.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        connection.execute(f"PRAGMA user_version = {shape.version}")
        connection.execute("COMMIT")
    new.replace(path)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make the file's name as durable as its content. Windows has no way to ask for that, and no need."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _set_up(connection: sqlite3.Connection) -> None:
    for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "wal_autocheckpoint = 4000"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _check_version(connection: sqlite3.Connection, path: Path, shape: Shape) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        raise CheckpointDamaged("open", path.name, cause="it is damaged or no checkpoint", advice=shape.advice)
    if version != shape.version:
        raise CheckpointDamaged(
            "open",
            path.name,
            cause=f"it is of version {version}, this rfbulk writes {shape.version}",
            advice="use the rfbulk that wrote it, or --restart",
        )
