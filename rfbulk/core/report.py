"""What a finished (or stopped) upload has to say for itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from rfbulk.core.model import RefusalReason
from rfbulk.core.transfer import ShardState

MAX_NAMED: Final = 1000
"""Failures that a report in memory names; the checkpoint and a report file name all."""


class Failure(msgspec.Struct, frozen=True):
    """One image that is not in the batch, or not as it should be, and why. `path` is its file as text."""

    path: str
    name: str
    reason: RefusalReason
    detail: str = ""


class UploadReport(msgspec.Struct, kw_only=True):
    """The books of an upload.

    Counts are images unless they say otherwise. `planned` are all images that were found fit to send, now or in
    earlier runs; they close as `planned == sent + quarantined + failed + left`:

    - `sent`: stored, and the hash of their shard compared (`unverified_shards` where the store told none)
    - `quarantined`: could not be read, or kept changing
    - `failed`: refused for good by the store or the service, or sent and not taken in
    - `left`: neither; the same command again goes on with them

    `refused` were never planned: empty, too large, of a wrong format. `skipped` were no images at all.
    `failures` names the first thousand of all these but the skipped. `content` says what "images" are here: images or
    videos; where each travels alone, a shard is one of them.
    """

    batch_id: str
    content: str = "images"
    is_one_by_one: bool = False
    workspace: str = ""
    planned: int = 0
    sent: int = 0
    quarantined: int = 0
    failed: int = 0
    left: int = 0
    refused: int = 0
    skipped: int = 0
    changed: int = 0
    already_sent: int = 0
    bytes_planned: int = 0
    bytes_sent: int = 0
    shards_sent: int = 0
    shards_failed: int = 0
    shards_unsure: int = 0
    unverified_shards: int = 0
    unused_grants: int = 0
    retries: dict[str, int] = {}
    indexed: int | None = None
    extra: int = 0
    doubled: list[str] = []
    is_confirmed: bool = False
    ingest_failed: bool = False
    ingest_detail: str = ""
    wall_seconds: float = 0.0
    failures: list[Failure] = []
    skipped_examples: list[str] = []
    checkpoint: str = ""

    @property
    def closes(self) -> bool:
        """Whether the books close. If they do not, rfbulk has a defect."""
        return self.planned == self.sent + self.quarantined + self.failed + self.left

    @property
    def has_failures(self) -> bool:
        """Whether anything that was asked for is not in the batch exactly once."""
        return bool(
            self.quarantined or self.failed or self.left or self.refused or self.changed or self.doubled or self.extra
        )


@dataclass(frozen=True, slots=True)
class Totals:
    """Images, bytes and shards by the state of their shards. `repeated_shards` may be at the store twice."""

    images: dict[ShardState, int]
    image_bytes: dict[ShardState, int]
    shards: dict[ShardState, int]
    unverified_shards: int
    grants: int
    granted_shards: int
    repeated_shards: int = 0

    def count(self, states: frozenset[ShardState]) -> int:
        """Images in shards of these states."""
        return sum(self.images.get(state, 0) for state in states)

    def bytes(self, states: frozenset[ShardState]) -> int:
        """Image bytes in shards of these states."""
        return sum(self.image_bytes.get(state, 0) for state in states)

    def shard_count(self, states: frozenset[ShardState]) -> int:
        """Shards of these states."""
        return sum(self.shards.get(state, 0) for state in states)
