"""The report file: one JSON object a line, a summary first, then every image by its file, its name and its fate."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiofiles
import msgspec
import orjson

from rfbulk.core.transfer import Shard, ShardState
from rfbulk.errors import NoRoom, RfbulkError, UsageError

if TYPE_CHECKING:
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


async def write_report_file(path: Path, checkpoint: Checkpoint, roots: tuple[bytes, ...], report: UploadReport) -> None:
    """Write the report file; it appears whole or not at all.

    Raises:
        UsageError, NoRoom: it cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        async with aiofiles.open(temporary, "wb") as file:
            await file.write(orjson.dumps({"summary": summary_of(report)}) + b"\n")
            async for lines in _lines(checkpoint, roots, report):
                await file.write(lines)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise _translated(error, path) from None


def summary_of(report: UploadReport) -> dict[str, Any]:
    """Return the report's numbers, without the files that it names."""
    values: dict[str, Any] = msgspec.to_builtins(report)
    return {name: value for name, value in values.items() if name not in {"failures", "skipped_examples"}}


async def _lines(checkpoint: Checkpoint, roots: tuple[bytes, ...], report: UploadReport) -> AsyncIterator[bytes]:
    lost = {name for refusal, name, is_in_shard in await checkpoint.failures() if is_in_shard}
    for state, fate in FATES.items():
        last = 0
        while shards := await checkpoint.in_state(state, last):
            last = shards[-1].id
            yield b"".join(_shard_lines(shard, roots, fate, lost) for shard in shards)
    for failure in report.failures:
        yield orjson.dumps({"path": failure.path, "name": failure.name, "fate": failure.reason, "why": failure.detail})
        yield b"\n"


def _shard_lines(shard: Shard, roots: tuple[bytes, ...], fate: str, lost: set[str]) -> bytes:
    lines = (
        orjson.dumps(
            {
                "path": os.path.join(roots[entry.root], entry.path).decode("utf-8", "backslashreplace"),
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
    if error.errno == 28:
        return NoRoom("write", str(path), cause="the disk is full", advice="make room, then run the same again")
    return UsageError("write", str(path), cause=str(error.strerror), advice="name another --report")
