"""One thread that owns one SQLite connection and commits in groups.

Work is a function of the connection. All work that has gathered while the last commit was being synced goes into the
next transaction, so that many workers share one fsync. A caller hears of its result only once it is durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Protocol, TypeAlias, TypeVar

from rfbulk.edge.threads import settle_all
from rfbulk.errors import CheckpointDamaged, NoRoom, RfbulkError

T = TypeVar("T")
Work: TypeAlias = Callable[[sqlite3.Connection], Any]
Waiting: TypeAlias = "asyncio.Future[Any] | Future[Any]"
"""Who hears of a result: a task of a loop, or a thread that blocks."""

MAX_GROUP = 256
_RUN_AGAIN = "run the same again to resume"


class Folding(Protocol):
    """Who folds the log into the file. Raises sqlite3.Error or OSError."""

    def after_commit(self, connection: sqlite3.Connection) -> None:
        """Fold it if it has become long."""

    def at_end(self, connection: sqlite3.Connection) -> None:
        """Fold all of it."""


class SqliteWriter:
    """Runs work on `open_connection()`'s connection, in order, each piece durable before its caller goes on.

    After a failure of the disk nothing further is tried: a failed fsync may have lost what was written, and only
    a new process that reads the file again can tell.
    """

    def __init__(self, open_connection: Callable[[], sqlite3.Connection], folding: Folding | None = None) -> None:
        self._open_connection = open_connection
        self._folding = folding
        self._queue: queue.SimpleQueue[tuple[Work, Waiting] | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._accepting = threading.Lock()
        self._is_stopped = False
        self._broken: RfbulkError | None = None

    def start(self) -> None:
        """Open the connection in the thread and begin.

        Raises:
            CheckpointDamaged, NoRoom: the file cannot be opened.
        """
        opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(opened,), name="rfbulk-checkpoint", daemon=True)
        self._thread.start()
        opened.result()

    def stop(self) -> None:
        """Finish what is queued, close the connection and end the thread. Later work is refused."""
        with self._accepting:
            self._is_stopped = True
            self._queue.put(None)
        if self._thread is not None:
            self._thread.join()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do `work` in the thread and return its result once it is durable. Cancelled before it began, it is not done.

        Raises:
            CheckpointDamaged, NoRoom: it cannot be made durable.
        """
        ended: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._submit(work, ended)
        return await ended

    def run_blocking(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """The same, for a caller in a thread of its own."""
        ended: Future[T] = Future()
        self._submit(work, ended)
        return ended.result()

    def _submit(self, work: Work, ended: Waiting) -> None:
        with self._accepting:
            if not self._is_stopped:
                self._queue.put((work, ended))
                return
        # Nobody would ever answer: a scan that was left behind on a hung disk must not hang for good.
        ended.set_exception(CheckpointDamaged("use", "the checkpoint", cause="it is closed", advice=_RUN_AGAIN))

    def _run(self, opened: Future[None]) -> None:
        try:
            connection = self._open_connection()
        except (sqlite3.Error, OSError, RfbulkError) as error:
            opened.set_exception(translated(error))
            return
        opened.set_result(None)
        while (group := self._next_group()) is not None:
            self._commit(connection, group)
        self._close(connection)

    def _next_group(self) -> list[tuple[Work, Waiting]] | None:
        first = self._queue.get()
        if first is None:
            return None
        group = [first]
        while len(group) < MAX_GROUP:
            try:
                more = self._queue.get_nowait()
            except queue.Empty:
                break
            if more is None:
                self._queue.put(None)
                break
            group.append(more)
        return group

    def _commit(self, connection: sqlite3.Connection, group: list[tuple[Work, Waiting]]) -> None:
        waiting = [(work, ended) for work, ended in group if not ended.cancelled()]
        if self._broken is None:
            try:
                results = _in_one_transaction(connection, [work for work, _ in waiting])
            except Exception as error:  # noqa: BLE001 - whatever it is, every caller of the group must hear of it
                self._broken = translated(error)
            else:
                _tell([(ended, result) for (_, ended), result in zip(waiting, results, strict=True)])
                self._look_at_log(connection)
                return
        _tell([(ended, self._broken) for _, ended in waiting])

    def _look_at_log(self, connection: sqlite3.Connection) -> None:
        try:
            if self._folding is not None:
                self._folding.after_commit(connection)
        except (sqlite3.Error, OSError) as error:
            self._broken = translated(error)

    def _close(self, connection: sqlite3.Connection) -> None:
        with contextlib.suppress(sqlite3.Error, OSError):  # nothing is lost: the log is read again at the next opening
            if self._folding is not None:
                self._folding.at_end(connection)
        with contextlib.suppress(sqlite3.Error):
            connection.close()


def _tell(results: list[tuple[Waiting, Any]]) -> None:
    """Tell all that have waited for a commit."""
    settle_all((ended, result) for ended, result in results if isinstance(ended, asyncio.Future))
    for ended, result in results:
        if isinstance(ended, asyncio.Future):
            continue
        if isinstance(result, RfbulkError):
            ended.set_exception(result)
        else:
            ended.set_result(result)


def _in_one_transaction(connection: sqlite3.Connection, works: list[Work]) -> list[Any]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        results = [work(connection) for work in works]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return results


def translated(error: BaseException) -> RfbulkError:
    """Return what a failure of SQLite or of the disk below it means to the caller."""
    if isinstance(error, RfbulkError):
        return error
    code = getattr(error, "sqlite_errorcode", None)
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE) or getattr(error, "errno", None) == 28:
        return NoRoom("write", "the checkpoint", cause="the disk is full", advice="make room, then run the same again")
    if code is not None and code & 0xFF == sqlite3.SQLITE_IOERR:
        cause = "the disk failed to read or write it"
    elif code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        cause = "it is damaged or no checkpoint"
    else:
        cause = f"{type(error).__name__}: {error}"
    return CheckpointDamaged("use", "the checkpoint", cause=cause, advice="look at the disk before anything else")
