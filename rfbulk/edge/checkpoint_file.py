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

from rfbulk.edge import seal
from rfbulk.edge.locks import FileLock
from rfbulk.edge.writer import SqliteWriter, translated
from rfbulk.errors import CheckpointDamaged, UsageError

SUFFIX: Final = ".sqlite"
_BUSY_MILLISECONDS: Final = 5000
SEAL_ADVICE: Final = "put back a copy of it and of its `.seal`, or begin anew with --restart"
FOLD_BYTES: Final = 16 << 20
"""How long a log becomes until it is folded: some 4,000 pages, as many commits."""

FOLD_SHARE: Final = 4
"""Of a large file a log becomes a quarter: each fold reads all of the file to seal it, and all folds of a growing one
together read it some five times."""


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
        writer = writer_of(path, shape, facts)
        writer.start()
        try:
            yield path, writer
        finally:
            writer.stop()
    finally:
        lock.release()


def writer_of(path: Path, shape: Shape, facts: Mapping[str, str]) -> SqliteWriter:
    """Return the one writer of a checkpoint, not yet started."""
    return SqliteWriter(lambda: connect(path, shape, facts), _Folding(path))


def connect(path: Path, shape: Shape, facts: Mapping[str, str]) -> sqlite3.Connection:
    """Open the file; one that is not there is made, with `facts` in it.

    Raises:
        CheckpointDamaged: it is no checkpoint, or of another version of rfbulk.
        sqlite3.Error, OSError: what else the disk says.
    """
    if not path.exists():
        _create(path, shape, facts)
    is_sealed = _is_sealed(path, shape)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection, path, shape)
        _set_up(connection)
        _take_log(connection, path, shape)
        if not is_sealed:
            _check_structure(connection, path, shape)
            seal.put_on(path)
        _check_facts(connection, path, facts)
    except BaseException as error:
        if _has_log(path):
            seal.lift(path)  # closing folds it
        connection.close()
        if isinstance(error, _LogDamaged):  # it went with the connection, and with it all that shows the damage
            seal.spoil(path)
        raise
    return connection


def reseal(path: Path) -> None:
    """Take a checkpoint as it is from now on, if its structure is sound: another program may have folded its log.

    What was changed in it, and by whom, nobody can tell: a flipped bit in it would be believed. Blocks on the disk.

    Raises:
        CheckpointBusy: a process holds it.
        CheckpointDamaged: SQLite finds it damaged.
    """
    lock = FileLock(path.with_suffix(".lock"))
    lock.acquire()
    try:
        seal.lift(path)
        fault = _fault_of(path)
        if not fault:
            return seal.put_on(path)
        seal.spoil(path)
    finally:
        lock.release()
    raise CheckpointDamaged("seal", path.name, cause=f"it is damaged: {fault}", advice=SEAL_ADVICE)


def _fault_of(path: Path) -> str:
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            said = str(db.execute("PRAGMA integrity_check(1)").fetchone()[0])
    except sqlite3.Error as error:
        return str(error)
    return "" if said == "ok" else said


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
    seal.seal_of(path).unlink(missing_ok=True)


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
        connection.execute("PRAGMA journal_mode = WAL").fetchall()  # the file's head says so from now on
    new.replace(path)
    seal.sync_folder(path.parent)
    seal.put_on(path)


def _is_sealed(path: Path, shape: Shape) -> bool:
    try:
        return seal.is_sealed(path)
    except seal.SealBroken:
        raise _altered(path, shape) from None


_PRAGMAS: Final = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "wal_autocheckpoint = 0",
    "cache_size = -512",  # KiB. Most is written once; SQLite's own 2 MB bring nothing
)


def _set_up(connection: sqlite3.Connection) -> None:
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _take_log(connection: sqlite3.Connection, path: Path, shape: Shape) -> None:
    """Fold what an earlier process left in the log into the file, if none of it is missing."""
    if not _has_log(path):
        return
    seal.lift(path)
    _, frames, _ = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
    if seal.is_log_damaged(_log_of(path), frames):
        raise _LogDamaged("open", path.name, cause="it is damaged: its log breaks off", advice=shape.advice)
    seal.put_on(path)


def _check_structure(connection: sqlite3.Connection, path: Path, shape: Shape) -> None:
    if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
        raise _damaged(path, shape)


def _check_facts(connection: sqlite3.Connection, path: Path, facts: Mapping[str, str]) -> None:
    """A file, or a log, that was put in another's place is whole, and would be believed."""
    if any(fact(connection, name) != value for name, value in facts.items()):
        raise CheckpointDamaged(
            "open", path.name, cause="it is damaged: it is of another transfer", advice="put back what was moved"
        )


class _LogDamaged(CheckpointDamaged):
    """The log of a checkpoint lacks what had been durable."""


def _damaged(path: Path, shape: Shape) -> CheckpointDamaged:
    return CheckpointDamaged("open", path.name, cause="it is damaged or no checkpoint", advice=shape.advice)


def _altered(path: Path, shape: Shape) -> CheckpointDamaged:
    """Bits have flipped, or another program (`sqlite3`) has opened what a death had left and folded its log."""
    cause = "it is damaged: it is not as rfbulk left it"
    advice = f"if you opened it with another program, `rfbulk checkpoint reseal {path.stem}` takes it as it is"
    return CheckpointDamaged("open", path.name, cause=cause, advice=f"{advice}; else {shape.advice}")


class _Folding:
    """Folds the log into the file when it has become long, and at the end, under the file's seal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._log = str(_log_of(path))
        self._next_bytes: int | None = None

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Fold a long log, as far as nobody is reading. What is in the log stays good meanwhile."""
        size = os.stat(self._log).st_size
        if self._next_bytes is None:
            self._next_bytes = self._due_bytes()
        if size >= self._next_bytes:
            connection.execute("PRAGMA busy_timeout = 0").fetchall()  # who reads meanwhile is not waited for
            is_read = self._fold(connection)
            connection.execute(f"PRAGMA busy_timeout = {_BUSY_MILLISECONDS}").fetchall()
            self._next_bytes = self._due_bytes() + (size if is_read else 0)

    def _due_bytes(self) -> int:
        return max(FOLD_BYTES, self._path.stat().st_size // FOLD_SHARE)

    def at_end(self, connection: sqlite3.Connection) -> None:
        """Fold all of it: what was erased (signed URLs) must not live on in the log."""
        self._fold(connection)

    def _fold(self, connection: sqlite3.Connection) -> bool:
        """Fold it. True if somebody is reading, so that the log is kept."""
        seal.lift(self._path)
        is_busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        seal.put_on(self._path)
        return bool(is_busy)


def _has_log(path: Path) -> bool:
    log = _log_of(path)
    return log.exists() and log.stat().st_size > 0


def _log_of(path: Path) -> Path:
    return Path(f"{path}-wal")


def _check_version(connection: sqlite3.Connection, path: Path, shape: Shape) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        raise _damaged(path, shape)
    if version != shape.version:
        raise CheckpointDamaged(
            "open",
            path.name,
            cause=f"it is of version {version}, this rfbulk writes {shape.version}",
            advice="use the rfbulk that wrote it, or --restart",
        )
