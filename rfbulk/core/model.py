"""The records that travel between floors: what is to be sent, with whose permission, and what became of it.

Records that exist once per image are `msgspec.Struct`s: made in a fifth of a dataclass's time, unseen by the
garbage collector, and written to the checkpoint without a second shape.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NewType

import msgspec

from rfbulk.core.secrets import SignedUrl

BatchId = NewType("BatchId", str)


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One image to send.

    `path` is relative to root number `root`, as the file system spells it (bytes, `/` between folders).
    `name` is its member name. `size` (bytes), `mtime_ns` and `inode` are its fingerprint: any difference
    means that the source has changed.
    """

    root: int
    path: bytes
    name: str
    size: int
    mtime_ns: int
    inode: int


class RefusalReason(StrEnum):
    """Why a file of the source is named instead of sent."""

    EMPTY = "empty"
    TOO_LARGE = "too-large"
    UNREADABLE = "unreadable"
    UNSUPPORTED_IMAGE = "unsupported-image"  # an image by its suffix, of a format the service does not take
    UNSUPPORTED_VIDEO = "unsupported-video"
    SPECIAL = "special-file"  # FIFO, device, socket
    DANGLING_LINK = "dangling-link"
    LINK_LOOP = "link-loop"
    NAME = "name"  # no member name can be made of it
    NOT_AN_IMAGE = "not-an-image"  # no image by its suffix: skipped, which is no failure
    NOT_A_VIDEO = "not-a-video"  # the same of videos
    SEEN_ELSEWHERE = "seen-elsewhere"  # a link to a folder that is sent under its own path: skipped, no failure
    CHANGED = "changed"  # sent before, and different now
    VANISHED = "vanished"
    MISSING = "missing"  # a list names it, and it is not there
    NO_VIDEO = "no-video"  # a video by its suffix, and none by its first bytes
    DAMAGED = "damaged-image"  # an image by its suffix, and none by its bytes, or not all of one
    KEEPS_CHANGING = "keeps-changing"  # changed while it was read, three times over
    REFUSED_BY_SERVICE = "refused-by-service"
    NOT_LISTED = "not-listed"  # the service was sent it and does not list it


SKIPPED = frozenset({RefusalReason.NOT_AN_IMAGE, RefusalReason.NOT_A_VIDEO, RefusalReason.SEEN_ELSEWHERE})
"""Reasons that are told but are no failure: nobody asked for these files to be sent."""


class Refusal(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file that is named instead of sent. `detail` adds what the reason alone does not say."""

    root: int
    path: bytes
    reason: RefusalReason
    detail: str = ""


class Grant(msgspec.Struct, frozen=True):
    """The permission to send one object.

    `headers` go with the PUT exactly as they stand, and nothing else goes. `max_bytes` is the smallest limit that
    any field or header states, None where none does. `expires_at` is seconds since the epoch by the *server's*
    clock, None where the URL does not say. `once_only` tells that a second PUT is answered 412
    (`x-goog-if-generation-match: 0`).
    """

    url: SignedUrl
    headers: dict[str, str]
    max_bytes: int | None
    expires_at: float | None
    once_only: bool


class Outcome(StrEnum):
    """What became of one attempt to PUT a shard."""

    STORED = "stored"  # 2xx
    ALREADY_THERE = "already-there"  # 412 under a once-only grant
    TOO_LARGE = "too-large"
    EXPIRED = "expired"
    FORBIDDEN = "forbidden"  # 401 or 403 of the store: nothing was stored
    REFUSED = "refused"  # any other final answer
    BUSY = "busy"  # 408, 429, 5xx
    BROKEN = "broken"  # the connection failed, stalled, or the answer never came
    CHANGED = "changed"  # members changed while packing; the connection was closed before the last byte


class ShardResult(msgspec.Struct, frozen=True):
    """What one attempt to PUT a shard came to.

    `crc32c` is ours over all bytes given to the connection, `stored_crc32c` what the store says it holds (None where
    it does not say). `may_have_arrived` is False only if it is certain that nothing was stored by this attempt.
    `changed` maps positions of members to the reason they could not be packed. `detail` is safe to show.
    """

    outcome: Outcome
    bytes_sent: int = 0
    crc32c: int | None = None
    stored_crc32c: int | None = None
    etag: str = ""
    status: int = 0
    retry_after: float | None = None
    may_have_arrived: bool = False
    changed: dict[int, RefusalReason] = {}
    detail: str = ""


class ShardJob(msgspec.Struct, frozen=True):
    """All that a sender needs for one attempt: whose bytes, how long, where to.

    `roots` are absolute folders, indexed by `Entry.root`. `trailer` is the content of a last member
    `notification_config.json`, empty for none. `tar_bytes` is the exact length of the tar.
    """

    shard: int
    roots: tuple[bytes, ...]
    entries: tuple[Entry, ...]
    trailer: bytes
    tar_bytes: int
    grant: Grant
