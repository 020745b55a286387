"""The records of a download: what is to be fetched and where to, and what became of one attempt.

A *remote file* is one element of a batch. Plain ones land under the path that was chosen for them before the first
byte. Archives are unpacked into a folder of their own beneath `staging` first; where their members land is chosen, and
recorded, once the whole archive has been found sound.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from rfbulk.core.secrets import SignedUrl


class FetchKind(StrEnum):
    """What is done with the bytes of a remote file."""

    PLAIN = "plain"
    TAR = "tar"  # unpacked on the way
    TAR_GZ = "tar-gz"  # the same, behind gzip


class UnpackLimits(msgspec.Struct, frozen=True):
    """How far an archive is followed. Beyond, nothing of it is kept; it can still be fetched as it is.

    `most_members` counts what announces members too; `most_name_bytes` bounds the names of all of them together, which
    are held in memory at once. `most_bytes` and `most_ratio` (bytes out of a gzip for each one in, looked at behind the
    first `ratio_from_bytes`) bound what a bomb can do. `reserve_bytes` of the disk are left free by every file.
    """

    most_members: int = 250_000
    most_name_bytes: int = 64 << 20
    most_bytes: int = 1 << 40
    most_ratio: int = 200
    ratio_from_bytes: int = 16 << 20
    reserve_bytes: int = 128 << 20


class Fingerprint(msgspec.Struct, frozen=True):
    """What tells on a later run, without reading it, that a file is still the one that was written."""

    size: int
    mtime_ns: int
    inode: int


class FetchJob(msgspec.Struct, frozen=True):
    """All that one attempt needs.

    `number` is the element's in the checkpoint, unique in this export. `target` is the absolute folder of the export;
    `staging` a folder beneath it, of the same file system, that holds what is not whole yet. `path` is relative to
    `target`, `/` between folders, already safe. `overwrite` tells whether a file that is there may be replaced.
    """

    number: int
    url: SignedUrl
    target: bytes
    staging: bytes
    path: str
    kind: FetchKind = FetchKind.PLAIN
    overwrite: bool = False


class FetchOutcome(StrEnum):
    """What became of one attempt to fetch a remote file."""

    FETCHED = "fetched"  # whole and checked; a plain file is in its place, an archive's members are in `staging`
    EXPIRED = "expired"  # the URL ended (or its signature is refused): list again
    GONE = "gone"  # 404, 410
    REFUSED = "refused"  # any other final answer
    BUSY = "busy"  # 408, 429, 5xx
    BROKEN = "broken"  # no connection, stalled, cut short
    CORRUPT = "corrupt"  # the bytes are not those that the store says it holds, or no sound archive
    UNSAFE = "unsafe"  # an archive beyond the limits: nothing of it was kept
    TAKEN = "taken"  # a file of other content lies where it is to land, and may not be replaced
    NO_ROOM = "no-room"  # the disk is full, or its reserve would be touched
    UNWRITABLE = "unwritable"  # the file cannot be written where it is to land


class Check(StrEnum):
    """By what a fetched file was found whole, the strongest that applied."""

    CRC32C = "crc32c"  # `x-goog-hash`
    MD5 = "md5"  # `x-goog-hash`, Content-MD5, or an ETag that is one
    ARCHIVE = "archive"  # gzip's own checksum, read to its end
    LENGTH = "length"  # as long as was announced, no more is known
    NONE = "none"  # nothing told how long it is: unverified


class Unpacked(msgspec.Struct, frozen=True, array_like=True):
    """One member of an archive, lying in the staging folder under `staged` (relative to it).

    `name` is where it wants to land, relative to the archive's own folder, already safe.
    """

    name: str
    staged: str
    size: int
    crc32c: int


class Move(msgspec.Struct, frozen=True):
    """A member of a sound archive on its way from `staged` (relative to `staging`) to `path` (relative to `target`).

    It may be said again after a crash: what has moved already, and is as long and has the checksum, has landed.
    """

    target: bytes
    staging: bytes
    staged: str
    path: str
    size: int
    crc32c: int
    overwrite: bool = False


class Landed(msgspec.Struct, frozen=True):
    """What a move came to: FETCHED, TAKEN, GONE (neither staged nor landed), NO_ROOM or UNWRITABLE."""

    outcome: FetchOutcome
    fingerprint: Fingerprint | None = None
    detail: str = ""


class FetchResult(msgspec.Struct, frozen=True):
    """What one attempt came to. `detail` is safe to show.

    `size` and `crc32c` are of the remote file's own bytes. `fingerprint` is of a plain file that landed; one of the
    same content that lay there already counts as landed. `refused` names members of an archive that were left out,
    with the reason. `bytes_received` counts this attempt's alone, `resumed_from` what an earlier one had.

    A receiver of several jobs may give fewer results than jobs: the rest was not tried, since the store asked for rest.
    """

    outcome: FetchOutcome
    bytes_received: int = 0
    resumed_from: int = 0
    size: int = 0
    crc32c: int | None = None
    check: Check = Check.NONE
    fingerprint: Fingerprint | None = None
    members: tuple[Unpacked, ...] = ()
    refused: tuple[tuple[str, str], ...] = ()
    status: int = 0
    retry_after: float | None = None
    detail: str = ""
