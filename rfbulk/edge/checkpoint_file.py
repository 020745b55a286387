"""The file of a checkpoint: made whole, opened, refused if it is damaged or of another rfbulk, removed."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from rfbulk.edge import checkpoint_schema as schema
from rfbulk.errors import CheckpointDamaged, UsageError


def connect(path: Path, facts: Mapping[str, str]) -> sqlite3.Connection:
    """Open the file; one that is not there is made, with `facts` in it.

    Raises:
        CheckpointDamaged: it is no checkpoint, or of another version of rfbulk.
        sqlite3.Error, OSError: what else the disk says.
    """
    if not path.exists():
        _create(path, facts)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        _check_version(connection, path)
        _set_up(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """Open a further connection that only reads. The caller closes it."""
    quoted = path.as_posix().replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    return sqlite3.connect(f"file:{quoted}?mode=ro", uri=True, isolation_level=None)


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


def _create(path: Path, facts: Mapping[str, str]) -> None:
    """Make the file whole under another name, so that an empty one is never taken for a new one."""
    new = path.with_suffix(".new")
    remove_files(new)
    remove_files(path)  # a log without its file must not be read into the new one
    os.close(os.open(new, os.O_RDWR | os.O_CREAT, 0o600))
    with closing(sqlite3.connect(new, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")  # no log yet: the file must be whole without one
        connection.execute("BEGIN IMMEDIATE")
        for statement in schema.TABLES.split(";"):
            if statement.strip():
                connection.execute(statement)
        connection.executemany("INSERT INTO facts VALUES (?, ?)", facts.items())
        connection.execute(f"PRAGMA user_version = {schema.VERSION}")
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


def _check_version(connection: sqlite3.Connection, path: Path) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version == 0:
        raise CheckpointDamaged("open", path.name, cause="it is damaged or no checkpoint", advice=schema.DAMAGED_ADVICE)
    if version != schema.VERSION:
        raise CheckpointDamaged(
            "open",
            path.name,
            cause=f"it is of version {version}, this rfbulk writes {schema.VERSION}",
            advice="use the rfbulk that wrote it, or --restart with a new batch",
        )
