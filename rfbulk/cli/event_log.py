"""The log file: every event as one line of JSON, in files that are rotated. What ails the log never harms a transfer.

A line is written by one call before the next event is told, so that a killed process leaves all that it told, and
lines of several processes that log into one file stay whole. Nothing is kept in memory.
"""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rfbulk import __version__
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from rfbulk.events import Event

SCHEMA: Final = 1
"""The version of the lines: higher where a field changes its meaning or goes. New fields and events may come in any."""

FILE_BYTES: Final = 64 << 20
FILES_KEPT: Final = 10


@dataclass(frozen=True, slots=True)
class LogOptions:
    """Where the log goes. A file of more than `file_bytes` is put aside (0: never), and so many of those are kept."""

    path: Path
    file_bytes: int = FILE_BYTES
    kept: int = FILES_KEPT


class EventLog:
    """Writes events. Made by `open_log`.

    `tell_trouble` is called once if the log cannot be written or rotated. Events go on being tried: what was lost
    meanwhile is counted in a line `LogGap` as soon as the disk takes lines again.
    """

    def __init__(self, options: LogOptions, tell_trouble: Callable[[str], None]) -> None:
        self._options = options
        self._path = Path(os.path.realpath(options.path))
        self._tell_trouble = tell_trouble
        self._descriptor = -1
        self._size = 0
        self._may_rotate = False
        self._is_torn = False
        self._lost = 0
        self._has_told = False

    def open(self) -> None:
        """Open the file, or make it. A line that a killed process left torn is ended first.

        Raises:
            OSError: it cannot be opened.
        """
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        status = os.fstat(self._descriptor)
        is_file = stat.S_ISREG(status.st_mode)
        self._size = status.st_size if is_file else 0
        self._may_rotate = is_file and self._options.file_bytes > 0
        self._is_torn = is_file and _is_torn(self._path)
        self._write(_line("LogBegun", {"rfbulk": __version__, "process": os.getpid()}))

    def take(self, event: Event) -> None:
        """Write an event."""
        line = _line_of(event)
        if self._may_rotate and self._size + len(line) > self._options.file_bytes and self._size:
            self._rotate()
        self._write(line)

    def close(self) -> None:
        """End the log."""
        if self._descriptor >= 0:
            self._write(_line("LogEnded", {}))
            os.close(self._descriptor)
            self._descriptor = -1

    def _write(self, line: bytes) -> None:
        if self._descriptor < 0:
            return
        gap = _line("LogGap", {"lost": self._lost}) if self._lost else b""
        data = (b"\n" if self._is_torn else b"") + gap + line
        try:
            written = os.write(self._descriptor, data)
        except OSError as error:
            self._lose(str(error.strerror))
            return
        self._size += written
        self._is_torn = written < len(data)
        if self._is_torn:
            self._lose("the disk is full")
        else:
            self._lost = 0

    def _lose(self, why: str) -> None:
        self._lost += 1
        self._tell(f"the log file {self._options.path} cannot be written: {why}; the transfer goes on without it")

    def _tell(self, text: str) -> None:
        if not self._has_told:
            self._has_told = True
            self._tell_trouble(text)

    def _rotate(self) -> None:
        try:
            for number in range(self._options.kept, 1, -1):
                with suppress(FileNotFoundError):
                    self._aside(number - 1).replace(self._aside(number))
            self._path.replace(self._aside(1))
            before = self._descriptor
            self.open()
            os.close(before)
        except OSError as error:
            self._may_rotate = False
            self._tell(f"the log file {self._options.path} cannot be rotated: {error.strerror}; it grows on")

    def _aside(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")


@contextmanager
def open_log(options: LogOptions, tell_trouble: Callable[[str], None]) -> Iterator[EventLog]:
    """Yield a log.

    Raises:
        UsageError: its file cannot be opened.
    """
    log = EventLog(options, tell_trouble)
    try:
        log.open()
    except OSError as error:
        raise UsageError(
            "open", f"the log file {options.path}", cause=str(error.strerror), advice="name another --log-file"
        ) from None
    try:
        yield log
    finally:
        log.close()


def _line_of(event: Event) -> bytes:
    name = type(event).__name__
    try:
        fields = msgspec.json.encode(event)
    except UnicodeEncodeError:  # half of a surrogate pair in a foreign name: ASCII can spell it
        return _line(name, msgspec.to_builtins(event))
    return _head(name) + (b"}\n" if fields == b"{}" else b"," + fields[1:] + b"\n")


def _is_torn(path: Path) -> bool:
    """Whether its last line has no end."""
    with suppress(OSError), path.open("rb") as file:
        return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"
    return False


def _line(name: str, fields: dict[str, Any]) -> bytes:
    return (
        _head(name) + b"".join(b"," + json.dumps({key: value})[1:-1].encode() for key, value in fields.items()) + b"}\n"
    )


def _head(name: str) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="microseconds").removesuffix("+00:00")
    return f'{{"schema":{SCHEMA},"time":"{now}Z","monotonic":{time.monotonic():.6f},"event":"{name}"'.encode()
