"""What a coordinator and the workers of a cluster say to each other, and the wrapper in which signed URLs travel."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, TypeAlias, TypeVar, final

import msgspec

from rfbulk.core.fetching import FetchJob, FetchResult
from rfbulk.core.model import ShardJob, ShardResult
from rfbulk.core.secrets import revealed, wrapped


@final
class Parcel:
    """Bytes that hold secrets, on their way through a scheduler: nothing but `open` shows more of them than a label.

    Schedulers and workers print what tasks are made of in logs, dashboards and errors.
    """

    __slots__ = ("_body", "_label")

    def __init__(self, body: bytes, label: str) -> None:
        self._body = body
        self._label = label

    def open(self) -> bytes:
        """Return the content."""
        return self._body

    def __repr__(self) -> str:
        return f"<{self._label}, {len(self._body)} bytes>"

    __str__ = __repr__

    def __sizeof__(self) -> int:
        return len(self._body) + 100

    def __reduce__(self) -> tuple[type[Parcel], tuple[bytes, str]]:
        return Parcel, (self._body, self._label)


class Kind(StrEnum):
    """How a worker makes the bytes that it sends."""

    FILES = "files"
    CHECKED = "checked"  # files, of whole images alone
    BARE = "bare"  # one file as it is
    OBJECTS = "objects"  # of buckets, which it reads with its own credentials
    BARE_OBJECT = "bare-object"
    FETCH = "fetch"  # nothing is sent: files come


class Manner(msgspec.Struct, frozen=True):
    """What all work of a run has in common. `rate` is this worker's share in bytes per second, None for no limit.

    `authorities` is a file of further certificate authorities, as text. `localise` has a worker take its own inode
    numbers for the coordinator's, where a file is the same by size and time.
    """

    run: str
    kind: Kind = Kind.FILES
    stall_seconds: float = 60.0
    connect_seconds: float = 30.0
    chunk_bytes: int = 0
    rate: int | None = None
    authorities: str = ""
    allow_http: bool = False
    localise: bool = False


class SendLot(msgspec.Struct, frozen=True, tag=True):
    """Attempts to send, one after the other. `hands` names the process that is to make them: no other does."""

    hands: str
    manner: Manner
    keys: tuple[int, ...]
    jobs: tuple[ShardJob, ...]


class FetchLot(msgspec.Struct, frozen=True, tag=True):
    """Attempts to fetch groups of remote files, each whole and durable when its answer is given."""

    hands: str
    manner: Manner
    keys: tuple[int, ...]
    groups: tuple[tuple[FetchJob, ...], ...]


class Fault(msgspec.Struct, frozen=True):
    """An attempt ended with an error: one of rfbulk's by its name and fields, or any other by its text."""

    kind: str
    fields: tuple[str, str, str, str]


class Moved(msgspec.Struct, frozen=True, tag=True):
    """So many further bytes were moved by each attempt. Told while anything is under way, even of none."""

    hands: str
    counts: tuple[tuple[int, int], ...]
    cpu_seconds: float = 0.0


class Ended(msgspec.Struct, frozen=True, tag=True):
    """An attempt has ended: with a result, with an error, or with neither if it was called off.

    `cpu_seconds` is of all attempts of this process so far, `moved` the bytes that were not told before.
    """

    hands: str
    key: int
    moved: int = 0
    sent: ShardResult | None = None
    fetched: list[FetchResult] | None = None
    fault: Fault | None = None
    cpu_seconds: float = 0.0


Lot: TypeAlias = SendLot | FetchLot
News: TypeAlias = Moved | Ended

MODULE: Final = "rfbulk.cluster"


def topic_of(run: str) -> str:
    """Return the topic under which a run's news travel."""
    return f"rfbulk-{run}"


encode: Final = msgspec.msgpack.Encoder(enc_hook=revealed).encode
decode_lot: Final = msgspec.msgpack.Decoder(Lot, dec_hook=wrapped).decode
T = TypeVar("T")


def decode_as(body: bytes, kind: type[T]) -> T:
    """Read what was said of one kind."""
    return msgspec.msgpack.decode(body, type=kind, dec_hook=wrapped)


decode_news: Final = msgspec.msgpack.Decoder(News, dec_hook=wrapped).decode


def each_ended(body: bytes) -> list[Ended]:
    """Take the answers of a task apart."""
    found, place = [], 0
    while place < len(body):
        size = int.from_bytes(body[place : place + 4], "big")
        news = decode_news(body[place + 4 : place + 4 + size])
        if isinstance(news, Ended):
            found.append(news)
        place += 4 + size
    return found
