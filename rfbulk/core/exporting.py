"""A remote file's life in an export: its states, what it is by its name, and what follows from each attempt at it.

    LISTED ─▶ (attempts) ─▶ FETCHED                      a plain file has landed
       ▲          ├───────▶ LANDING ─▶ FETCHED           an archive is whole in staging, its members' paths are chosen
       │          └───────▶ FAILED                       named, and tried again by the next run
       └── deleted or changed here, not listed any more, `--overwrite`

Every change is durable in the checkpoint before the next effect, and no URL is ever in it.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import TYPE_CHECKING, Final, assert_never

import msgspec

from rfbulk.core.fetching import Check, FetchKind, FetchOutcome, Fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

MAX_CORRUPT: Final = 3
"""Times that the same file may arrive damaged before it is named."""

MAX_FRESH: Final = 8
"""Fresh URLs that one file is given. A service whose URLs end at once, by a clock that is wrong, is named."""

MAX_TAKEN: Final = 20
"""Paths that are tried for one file while others keep appearing in its way."""

MOST_IN_GROUP: Final = 32
"""Small files that one thread fetches in a row: its hop of 100 µs is 3 µs a file then, and what a breakdown repeats
is little."""


class ElementState(IntEnum):
    """Where a remote file stands. Numbers are what the checkpoint holds; a number is never given a new meaning."""

    LISTED = 1
    LANDING = 2
    FETCHED = 3
    FAILED = 4


LEFT: Final = frozenset({ElementState.LISTED, ElementState.LANDING})
"""States from which the export goes on."""


class Listed(msgspec.Struct, frozen=True, gc=False):
    """What a listing says of a remote file, its URL aside, and what is done with it."""

    shard: str
    name: str
    kind: FetchKind


class Element(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One remote file as the checkpoint holds it.

    Listed are `part` (its number, 0 for a batch without parts), `shard`, `name`, and `ordinal` among those that are
    equal in all three. `path` is where it lands, relative to the target, empty where no path can be made of its name;
    an archive that is unpacked lands its members in the folder of its `path`. `run` is the run in which it was
    fetched, `restored` tells that it was fetched before and was not here any more as it had been.
    """

    id: int
    part: int
    shard: str
    name: str
    ordinal: int
    state: ElementState
    kind: FetchKind
    path: str
    size: int = 0
    crc32c: int | None = None
    check: Check = Check.NONE
    fingerprint: Fingerprint | None = None
    run: int = 0
    restored: bool = False


class Part(msgspec.Struct, frozen=True):
    """A part of a multipart batch: its number in the checkpoint, and its folder relative to the target.

    A batch without parts is one part of number 0 and no name, whose folder is the target.
    """

    number: int
    name: str
    folder: str


class MemberFile(msgspec.Struct, frozen=True, gc=False):
    """One member of an archive as the checkpoint holds it: `name` in the archive, `path` relative to the target."""

    number: int
    name: str
    path: str
    staged: str
    size: int
    crc32c: int
    fingerprint: Fingerprint | None = None


class Presence(StrEnum):
    """What has become of a file that was fetched before."""

    INTACT = "intact"
    DELETED = "deleted"
    CHANGED = "changed"


class FailReason(StrEnum):
    """Why a remote file is named instead of fetched."""

    GONE = "gone"
    REFUSED = "refused"
    EXPIRES = "expires"  # its URLs end before they can be used
    CORRUPT = "corrupt"
    UNSAFE = "unsafe-archive"
    UNWRITABLE = "unwritable"
    NAME = "unsafe-name"  # it could only be meant to lead out of the target
    NOT_LISTED = "not-listed"  # the service listed it once, and does not any more


_ARCHIVES: Final = ((".tar.gz", FetchKind.TAR_GZ), (".tgz", FetchKind.TAR_GZ), (".tar", FetchKind.TAR))
_ARCHIVE_SUFFIXES: Final = tuple(suffix for suffix, _ in _ARCHIVES)
_ARCHIVE_TYPES: Final = {
    "application/x-tar": FetchKind.TAR,
    "application/tar": FetchKind.TAR,
    "application/x-gtar": FetchKind.TAR,
    "application/x-gtar-compressed": FetchKind.TAR_GZ,
    "application/x-tgz": FetchKind.TAR_GZ,
    "application/x-compressed-tar": FetchKind.TAR_GZ,
    "application/tar+gzip": FetchKind.TAR_GZ,
}
_LARGE_ONES: Final = "tar tgz gz zip zst bz2 xz 7z mp4 m4v avi mov mkv flv wmv mpeg mpg webm ogg onnx pt engine parquet"
_LARGE: Final = frozenset(_LARGE_ONES.split())
"""Suffixes of what is rarely small. Each of them has a thread of its own, so that it holds up no other."""


def kind_of(name: str, content_type: str, *, unpack: bool) -> FetchKind:
    """Tell what is done with a remote file: by its name, else by its type.

    A name that says something else (`x.jpg`) is believed before the type is.
    """
    if not unpack:
        return FetchKind.PLAIN
    lowered = name.lower()
    if lowered.endswith(_ARCHIVE_SUFFIXES):
        return next(kind for suffix, kind in _ARCHIVES if lowered.endswith(suffix))
    if "." in lowered.rpartition("/")[2].strip("."):
        return FetchKind.PLAIN
    return _ARCHIVE_TYPES.get(content_type.partition(";")[0].strip().lower(), FetchKind.PLAIN)


def goes_alone(kind: FetchKind, name: str) -> bool:
    """Tell whether a remote file may be large, so that no other should wait for it. Sizes are not listed."""
    return kind is not FetchKind.PLAIN or name.rpartition(".")[2].lower() in _LARGE


def group_size(waiting: int, level: int) -> int:
    """How many small files go together, of so many that are left: each of `level` places gets some of them, twice."""
    return min(MOST_IN_GROUP, -(-waiting // max(1, 2 * level)))


class Next(StrEnum):
    """What is to be done with a remote file after an attempt."""

    DONE = "done"
    LAND = "land"  # choose where the archive's members land, record it, and move them
    AGAIN = "again"  # at once
    LATER = "later"  # after a wait
    FRESH_URL = "fresh-url"  # list its page again
    ELSEWHERE = "elsewhere"  # choose another path
    STOP = "stop"  # the whole export
    FAILED = "failed"


class Tries(msgspec.Struct):
    """What one run has had of a remote file so far. `fresh` counts the URLs that it was given beside its first."""

    failures: int = 0
    began: float = 0.0
    fresh: int = 0
    corrupt: int = 0
    taken: int = 0


def what_next(kind: FetchKind, outcome: FetchOutcome, tries: Tries) -> tuple[Next, FailReason | None]:
    """Decide what follows an attempt. `tries` is as it stood before it.

    =========== ====================================== ============================
    outcome     when                                   next
    =========== ====================================== ============================
    fetched     an archive that is unpacked            land
    fetched     else                                   done
    expired     up to 8 times                          fresh-url
    expired     again                                  failed: expires
    gone        under its first URL                    fresh-url
    gone        under a fresh one                      failed: gone
    refused                                            failed: refused
    busy        broken alike                           later
    corrupt     up to twice                            again
    corrupt     third time                             failed: corrupt
    unsafe                                             failed: unsafe-archive
    taken       up to 20 times                         elsewhere
    taken       again                                  failed: unwritable
    no-room                                            stop
    unwritable                                         failed: unwritable
    =========== ====================================== ============================
    """
    match outcome:
        case FetchOutcome.FETCHED:
            return Next.DONE if kind is FetchKind.PLAIN else Next.LAND, None
        case FetchOutcome.EXPIRED:
            return (Next.FRESH_URL, None) if tries.fresh < MAX_FRESH else (Next.FAILED, FailReason.EXPIRES)
        case FetchOutcome.GONE:
            return (Next.FAILED, FailReason.GONE) if tries.fresh else (Next.FRESH_URL, None)
        case FetchOutcome.BUSY | FetchOutcome.BROKEN:
            return Next.LATER, None
        case FetchOutcome.CORRUPT:
            return (Next.AGAIN, None) if tries.corrupt + 1 < MAX_CORRUPT else (Next.FAILED, FailReason.CORRUPT)
        case FetchOutcome.TAKEN:
            return (Next.ELSEWHERE, None) if tries.taken < MAX_TAKEN else (Next.FAILED, FailReason.UNWRITABLE)
        case FetchOutcome.NO_ROOM:
            return Next.STOP, None
        case FetchOutcome.REFUSED | FetchOutcome.UNSAFE | FetchOutcome.UNWRITABLE:
            return Next.FAILED, _FINAL[outcome]
        case _:  # pragma: no cover
            assert_never(outcome)


_FINAL: Final = {
    FetchOutcome.REFUSED: FailReason.REFUSED,
    FetchOutcome.UNSAFE: FailReason.UNSAFE,
    FetchOutcome.UNWRITABLE: FailReason.UNWRITABLE,
}


def unknown_parts(wanted: Iterable[str], existing: Sequence[str]) -> list[str]:
    """Return the parts that were asked for and do not exist, in order."""
    return [part for part in dict.fromkeys(wanted) if part not in existing]
