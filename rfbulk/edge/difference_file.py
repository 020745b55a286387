"""The report file of an audit: one JSON object a line, a summary first, then every difference."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import msgspec
import orjson

from rfbulk.errors import NoRoom, RfbulkError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.auditing import Difference, VerifyReport


class DifferenceFile:
    """Takes differences as they are found; `finish` makes the file appear whole, `close` without it leaves nothing."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._part = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._whole = path.with_name(f".{path.name}.{os.getpid()}.whole")
        self._file = self._opened(self._part)

    def write(self, differences: Sequence[Difference]) -> None:
        """Add them.

        Raises:
            NoRoom, UsageError: they cannot be written.
        """
        try:
            self._file.write(b"".join(msgspec.json.encode(each) + b"\n" for each in differences))
        except OSError as error:
            raise _translated(error, self._path) from error

    def finish(self, report: VerifyReport) -> None:
        """Put the summary in front, and the file under its name.

        Raises:
            NoRoom, UsageError: it cannot be written.
        """
        try:
            self._file.seek(0)
            with self._opened(self._whole) as whole:
                whole.write(orjson.dumps({"summary": summary_of(report)}) + b"\n")
                shutil.copyfileobj(self._file, whole, 1 << 20)
            self._whole.replace(self._path)
        except OSError as error:
            raise _translated(error, self._path) from error

    def close(self) -> None:
        """Remove what is half written."""
        self._file.close()
        self._part.unlink(missing_ok=True)
        self._whole.unlink(missing_ok=True)

    def _opened(self, path: Path) -> IO[bytes]:
        try:
            return path.open("w+b")
        except OSError as error:
            raise _translated(error, self._path) from error


def summary_of(report: VerifyReport) -> dict[str, Any]:
    """Return the report's numbers, without what it names."""
    values: dict[str, Any] = msgspec.to_builtins(report)
    values.pop("differences")
    return values | {"agrees": report.agrees, "closes": report.closes}


def _translated(error: OSError, path: Path) -> RfbulkError:
    if error.errno == errno.ENOSPC:
        return NoRoom("write", str(path), cause="the disk is full", advice="make room, then run the same again")
    return UsageError("write", str(path), cause=str(error.strerror), advice="name another --report")
