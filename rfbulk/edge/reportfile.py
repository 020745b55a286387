"""The report file: one JSON object a line, a summary first, then every image by its file, its name and its fate."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiofiles
import aiofiles.os
import anyio
import msgspec
import orjson

from rfbulk.core.report import Failure
from rfbulk.core.transfer import Shard, ShardState
from rfbulk.errors import NoRoom, RfbulkError, UsageError
from rfbulk.events import Event, FileNamed

if TYPE_CHECKING:
    from aiofiles.threadpool.binary import AsyncBufferedIOBase

    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.report import UploadReport
    from rfbulk.edge.checkpoint import Checkpoint

FATES: Final = {
    ShardState.PLANNED: "left",
    ShardState.GRANTED: "left",
    ShardState.UNSURE: "unsure",
    ShardState.SENT: "sent",
    ShardState.INDEXED: "indexed",
    ShardState.FAILED: "failed",
}

_NAMING: Final = frozenset(("failures", "skipped_examples", "failed_files"))
FAILURES_AT_ONCE: Final = 1000
IN_MEMORY_BYTES: Final = 4 << 20
"""Named files are kept in memory up to this, then on disk."""


class NamedFiles:
    """Keeps every file that a run names, on disk, since a report in memory names only the first thousand."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES)  # noqa: SIM115 - closed by close()

    def take(self, event: Event) -> None:
        """Take note of an event if it names a file."""
        if isinstance(event, FileNamed):
            self._file.write(msgspec.json.encode(event.failure) + b"\n")

    def close(self) -> None:
        """Forget them all."""
        self._file.close()

    def groups(self) -> Iterator[list[Failure]]:
        """Give them back in the order in which they were named, some at a time."""
        self._file.seek(0)
        while lines := self._file.readlines(FAILURES_AT_ONCE * 200):
            yield [msgspec.json.decode(line, type=Failure) for line in lines]


async def write_report_file(
    path: Path, checkpoint: Checkpoint, roots: tuple[bytes, ...], report: UploadReport, named: NamedFiles
) -> None:
    """Write the report file; it appears whole or not at all. `named` are the files that this run named.

    Raises:
        UsageError, NoRoom: it cannot be written.
    """
    await write_lines(path, summary_of(report), _lines(checkpoint, roots, named))


async def write_lines(path: Path, summary: dict[str, Any], lines: AsyncIterator[bytes]) -> None:
    """Write a summary and lines into a file, which appears whole or not at all.

    Raises:
        UsageError, NoRoom: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        async with _opened(temporary) as file:
            await file.write(orjson.dumps({"summary": summary}) + b"\n")
            async for some in lines:
                await file.write(some)
        await aiofiles.os.replace(temporary, path)
    except BaseException as error:
        await _discard(temporary)
        if isinstance(error, OSError):
            raise _translated(error, path) from None
        raise


@asynccontextmanager
async def _opened(path: Path) -> AsyncIterator[AsyncBufferedIOBase]:
    """Open a file to write; a cancelled call must not leave it open in the thread that is just opening it."""
    with anyio.CancelScope(shield=True):
        file = await aiofiles.open(path, "wb")
    try:
        yield file
    finally:
        with anyio.CancelScope(shield=True):
            await file.close()


async def _discard(temporary: Path) -> None:
    """Also when the upload is cancelled, nothing half written stays behind."""
    with anyio.CancelScope(shield=True), suppress(OSError):
        await aiofiles.os.unlink(temporary)


def summary_of(report: UploadReport | IngestReport) -> dict[str, Any]:
    """Return the report's numbers, without the files that it names."""
    values: dict[str, Any] = msgspec.to_builtins(report)
    return {name: value for name, value in values.items() if name not in _NAMING}


async def _lines(checkpoint: Checkpoint, roots: tuple[bytes, ...], named: NamedFiles) -> AsyncIterator[bytes]:
    failures = await checkpoint.failures()
    lost = {name for _, name, is_in_shard in failures if is_in_shard}
    for state, fate in FATES.items():
        last = 0
        while shards := await checkpoint.in_state(state, last):
            last = shards[-1].id
            yield b"".join(_shard_lines(shard, roots, fate, lost) for shard in shards)
    held = {_shown(roots, refusal.root, refusal.path) for refusal, _, _ in failures}
    for start in range(0, len(failures), FAILURES_AT_ONCE):
        yield b"".join(
            failure_line(Failure(_shown(roots, refusal.root, refusal.path), name, refusal.reason, refusal.detail))
            for refusal, name, _ in failures[start : start + FAILURES_AT_ONCE]
        )
    # what the scan named, the checkpoint does not hold
    for group in named.groups():
        yield b"".join(failure_line(failure) for failure in group if failure.path not in held)


def failure_line(failure: Failure) -> bytes:
    """Return the line of a file that was named."""
    line = {"path": failure.path, "name": failure.name, "fate": failure.reason, "why": failure.detail}
    return orjson.dumps(line) + b"\n"


def _shown(roots: tuple[bytes, ...], root: int, path: bytes) -> str:
    return os.path.join(roots[root], path).decode("utf-8", "backslashreplace")


def _shard_lines(shard: Shard, roots: tuple[bytes, ...], fate: str, lost: set[str]) -> bytes:
    lines = (
        orjson.dumps(
            {
                "path": _shown(roots, entry.root, entry.path),
                "name": entry.name,
                "bytes": entry.size,
                "shard": shard.id,
                "fate": fate,
            }
        )
        for entry in shard.entries
        if entry.name not in lost
    )
    return b"".join(line + b"\n" for line in lines)


def _translated(error: OSError, path: Path) -> RfbulkError:
    if error.errno == errno.ENOSPC:
        return NoRoom("write", str(path), cause="the disk is full", advice="make room, then run the same again")
    return UsageError("write", str(path), cause=str(error.strerror), advice="name another --report")
