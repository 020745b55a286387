"""A shard's life: its states, and what follows from each attempt to send it.

    PLANNED ─▶ GRANTED ─▶ (attempt n) ─▶ SENT ─▶ INDEXED
       ▲          │ expired, nothing can have arrived           PLANNED again
       │          │ expired or refused, something may have      UNSURE: decided at the end, from what is listed
       └── halves ┤ too large                                   SPLIT
                  └ refused for good                            FAILED

Every change is durable in the checkpoint before the next effect.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Final, assert_never

import msgspec

from rfbulk.core.model import Entry, Grant, Outcome, ShardResult

MAX_HASH_FAILURES: Final = 3
MAX_CHANGES: Final = 3


class ShardState(IntEnum):
    """Where a shard stands. Numbers are what the checkpoint holds; a number is never given a new meaning."""

    PLANNED = 1
    GRANTED = 2
    UNSURE = 3
    SENT = 4
    INDEXED = 5
    FAILED = 6
    SPLIT = 7


PENDING: Final = frozenset({ShardState.PLANNED, ShardState.GRANTED})
"""States from which sending goes on."""

ARRIVED: Final = frozenset({ShardState.SENT, ShardState.INDEXED})


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """One shard as the checkpoint holds it.

    `sequence` keeps the order of the scan when a shard is split. `attempts` counts PUTs begun under the present
    grant, `in_doubt` tells that one of them may have stored something. `hash_failures` counts answers whose hash
    differed, `forbidden` 403s of the store, `grants` how many grants were asked for.
    """

    id: int
    sequence: int
    state: ShardState
    entries: tuple[Entry, ...]
    tar_bytes: int
    grant: Grant | None = None
    grants: int = 0
    attempts: int = 0
    in_doubt: bool = False
    hash_failures: int = 0
    forbidden: int = 0
    object_path: str = ""
    etag: str = ""
    crc32c: int | None = None
    is_verified: bool = False
    detail: str = ""

    @property
    def image_bytes(self) -> int:
        """Bytes of the images alone."""
        return sum(entry.size for entry in self.entries)


class Next(StrEnum):
    """What is to be done with a shard after an attempt."""

    DONE = "done"  # SENT
    AGAIN = "again"  # the same bytes to the same URL, at once
    LATER = "later"  # the same bytes to the same URL, after a wait
    NEW_GRANT = "new-grant"
    SPLIT = "split"
    REPACK = "repack"  # members changed, nothing has arrived: the rest goes under the same grant
    UNSURE = "unsure"
    FAILED = "failed"


def what_next(shard: Shard, result: ShardResult) -> Next:
    """Decide what follows an attempt. `shard` is as it stood before it, `attempts` counting the attempt itself.

    ============== ============================================ ==========================
    outcome        when                                         next
    ============== ============================================ ==========================
    stored         hash equal, or the store tells none          done
    stored         hash differs, up to the second time          again
    stored         hash differs, third time                     failed
    already-there  a damaged copy was stored before             failed
    already-there  else                                         done
    busy, broken                                                later
    expired        something may have arrived                   unsure
    expired        else                                         new-grant
    forbidden      something may have arrived                   unsure
    forbidden      first time                                   new-grant
    forbidden      again                                        failed
    too-large      more than one image                          split
    too-large      one image                                    failed
    changed        something may have arrived before            unsure
    changed        else                                         repack
    refused        something may have arrived                   unsure
    refused        else                                         failed
    ============== ============================================ ==========================
    """
    match result.outcome:
        case Outcome.STORED:
            if not hash_differs(result):
                return Next.DONE
            return Next.AGAIN if shard.hash_failures + 1 < MAX_HASH_FAILURES else Next.FAILED
        case Outcome.ALREADY_THERE:
            return Next.FAILED if shard.hash_failures else Next.DONE
        case Outcome.BUSY | Outcome.BROKEN:
            return Next.LATER
        case Outcome.EXPIRED:
            return Next.UNSURE if shard.in_doubt else Next.NEW_GRANT
        case Outcome.TOO_LARGE:
            return Next.SPLIT if len(shard.entries) > 1 else Next.FAILED
        case Outcome.CHANGED:
            return Next.UNSURE if shard.in_doubt else Next.REPACK
        case Outcome.FORBIDDEN | Outcome.REFUSED:
            return _after_refusal(shard, result.outcome)
        case _:  # pragma: no cover
            assert_never(result.outcome)


def hash_differs(result: ShardResult) -> bool:
    """Tell whether the store holds other bytes than were sent. A store that tells no hash is believed."""
    return result.stored_crc32c is not None and result.stored_crc32c != result.crc32c


def _after_refusal(shard: Shard, outcome: Outcome) -> Next:
    if shard.in_doubt:
        return Next.UNSURE
    return Next.NEW_GRANT if outcome is Outcome.FORBIDDEN and not shard.forbidden else Next.FAILED


def has_expired(shard: Shard, server_now: float) -> bool:
    """Tell whether the shard's grant has ended by the server's clock."""
    return shard.grant is not None and shard.grant.expires_at is not None and server_now >= shard.grant.expires_at
