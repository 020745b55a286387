"""Whether a batch that somebody fills is ready to be worked on: by what is counted, and what its shards say."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

import msgspec

from rfbulk.core.confirming import RowKind, row_kind
from rfbulk.core.redaction import excerpt
from rfbulk.core.wire import ShardStatus

QUIET_SECONDS: Final = 15.0
MAX_NAMED: Final = 100
_LISTS: Final = ("failedFiles", "failed_files")
_NAMES: Final = ("fileName", "file_name", "name")


class Readiness(StrEnum):
    """What follows from one look at a batch."""

    READY = "ready"
    WAIT = "wait"
    FAILED = "failed"  # all is over, and it will never be ready


class Expected(msgspec.Struct, frozen=True):
    """How many files a batch is to hold, as far as that is known now. The rest as in `BatchState`."""

    files: int | None = None
    is_filling: bool = False
    unused_grants: int = 0


class BatchState(msgspec.Struct):
    """What a batch shows: how many files are counted, its shards by kind, which shards and files failed, and why.

    `expected` is how many files there must be, None where nobody knows. `is_filling` tells that an upload which is
    known here has not come to its end, so that more is to come whatever is counted. `unused_grants` are known here to
    have been asked for and never filled: so many shards may be pending for ever.
    """

    count: int = 0
    expected: int | None = None
    is_filling: bool = False
    unused_grants: int = 0
    is_ready: bool = False
    shards: dict[RowKind, int] = {}
    failed: list[tuple[str, str]] = []
    failed_files: list[tuple[str, str]] = []

    @property
    def pending(self) -> int:
        """How many shards are neither in nor failed. A status that is not known counts here."""
        return self.shards.get(RowKind.PENDING, 0)

    def add(self, row: ShardStatus) -> None:
        """Take note of a shard."""
        kind = row_kind(row.status_type)
        self.shards[kind] = self.shards.get(kind, 0) + 1
        if kind is RowKind.ERROR and len(self.failed) < MAX_NAMED:
            self.failed.append((row.shard_id, excerpt(row.metadata or row.status_name)))
        if row.metadata and kind is not RowKind.PENDING and len(self.failed_files) < MAX_NAMED:
            self.failed_files += list(failed_files(row.metadata))[: MAX_NAMED - len(self.failed_files)]


def readiness(state: BatchState, *, is_quiet: bool) -> Readiness:
    """Weigh what a batch shows. `is_quiet` tells that nothing has changed for the quiet period.

    ========= ============ ============== ====================
    pending   failed       counted        verdict
    ========= ============ ============== ====================
    (while an upload fills it)            wait
    some      any          any            wait
    no more   none         as expected    ready, once quiet
    than were
    granted
    for nothing
    none      some shards  any            failed, once quiet
    none      none         as expected    ready
    none      none         fewer, and     failed, once quiet
                           failed files
                           are the rest
    none      none         fewer          wait
    none      none         some (nobody   ready, once quiet
                           knows how many
                           there must be)
    none      none         none           wait
    ========= ============ ============== ====================
    """
    if state.is_filling:
        return Readiness.WAIT
    if state.pending:
        is_explained = state.pending <= state.unused_grants and not state.shards.get(RowKind.ERROR, 0)
        is_full = state.expected is not None and state.count >= state.expected
        return Readiness.READY if is_quiet and is_explained and is_full else Readiness.WAIT
    if state.shards.get(RowKind.ERROR, 0):
        return Readiness.FAILED if is_quiet else Readiness.WAIT
    if state.expected is not None:
        if state.count >= state.expected:
            return Readiness.READY
        is_explained = state.count + len(state.failed_files) >= state.expected
        return Readiness.FAILED if is_quiet and is_explained else Readiness.WAIT
    return Readiness.READY if is_quiet and state.count > 0 else Readiness.WAIT


def failed_files(metadata: str) -> Iterator[tuple[str, str]]:
    """Find the failed files that a shard's metadata names, and why. Its shape is not documented."""
    try:
        values = msgspec.json.decode(metadata)
    except msgspec.DecodeError:
        return
    fields = values if isinstance(values, dict) else {}
    for rows in (fields.get(name) for name in _LISTS):
        for row in rows if isinstance(rows, list) else ():
            yield _failed_file(row)


def _failed_file(row: Any) -> tuple[str, str]:
    if not isinstance(row, dict):
        return excerpt(str(row)), ""
    name = next((row[field] for field in _NAMES if row.get(field)), "?")
    return excerpt(str(name)), excerpt(str(row.get("reason") or row.get("type") or ""))
