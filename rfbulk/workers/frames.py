"""What a coordinator and its processes say to each other: records over a pipe, each behind its length.

A process is told shards, remote files and signed URLs, never the api key, and nothing of it stands in its arguments.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias, TypeVar

import msgspec

from rfbulk.core.fetching import FetchJob, FetchResult, UnpackLimits
from rfbulk.core.model import ShardJob, ShardResult
from rfbulk.core.secrets import revealed, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
_LENGTH_BYTES: Final = 4


class SetUp(msgspec.Struct, frozen=True, tag=True):
    """The first frame: how to reach stores. `environment` names proxies and certificate authorities."""

    environment: dict[str, str]
    connect_seconds: float
    ca_file: str | None
    allow_http: bool
    stall_seconds: float
    chunk_bytes: int = 0
    takes_turns: bool = False
    limits: UnpackLimits = UnpackLimits()

    def __repr__(self) -> str:
        return "<SetUp>"  # a proxy's URL may hold a password

    def __rich_repr__(self) -> list[tuple[str, object]]:  # else rich's tracebacks show all fields
        return []


class Send(msgspec.Struct, frozen=True, tag=True):
    """Make an attempt to send a shard. Answered by `Sent`."""

    number: int
    job: ShardJob


class Fetch(msgspec.Struct, frozen=True, tag=True):
    """Make an attempt to fetch a group of remote files. Answered by `Fetched`."""

    number: int
    jobs: tuple[FetchJob, ...]


class CallOff(msgspec.Struct, frozen=True, tag=True):
    """End an attempt at once. It is answered like any other."""

    number: int


class Moved(msgspec.Struct, frozen=True, tag=True):
    """So many further bytes of an attempt were given to its connection, or came over it."""

    number: int
    count: int


class Sent(msgspec.Struct, frozen=True, tag=True):
    """An attempt has ended; `result` is None if it was called off. `cpu_seconds`: of all attempts so far."""

    number: int
    result: ShardResult | None
    cpu_seconds: float


class Fetched(msgspec.Struct, frozen=True, tag=True):
    """The same, of a group of remote files."""

    number: int
    result: list[FetchResult] | None
    cpu_seconds: float


class Failed(msgspec.Struct, frozen=True, tag=True):
    """An attempt ended with an error: one of rfbulk's by its name and fields, or any other by its text."""

    number: int
    kind: str
    fields: tuple[str, str, str, str]


class Beat(msgspec.Struct, frozen=True, tag=True):
    """The process lives. Said `BEATS` times within the stall limit, whatever else is said."""


BEATS: Final = 12
"""Some may be late on a busy machine. They cost nothing: at the default limit one goes every five seconds."""

Order: TypeAlias = SetUp | Send | Fetch | CallOff
News: TypeAlias = Moved | Sent | Fetched | Failed | Beat


_encode: Final = msgspec.msgpack.Encoder(enc_hook=revealed).encode
_decode_order: Final = msgspec.msgpack.Decoder(Order, dec_hook=wrapped).decode
_decode_news: Final = msgspec.msgpack.Decoder(News, dec_hook=wrapped).decode


class FrameWriter:
    """Writes whole frames, from any thread."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def write(self, frame: Order | News) -> None:
        """Write a frame. Blocks while the pipe is full.

        Raises:
            OSError, ValueError: the other side is gone.
            OverflowError: it cannot be written as a frame (a time that 64 bits of nanoseconds do not hold).
        """
        body = _encode(frame)
        with self._lock:
            self._stream.write(len(body).to_bytes(_LENGTH_BYTES, "big") + body)
            self._stream.flush()


def read_order(stream: BinaryIO) -> Order | None:
    """Read what the coordinator says, None at its end. Blocking."""
    return _read(stream, _decode_order)


def read_news(stream: BinaryIO) -> News | None:
    """Read what a process says, None at its end. Blocking."""
    return _read(stream, _decode_news)


def _read(stream: BinaryIO, decode: Callable[[bytes], T]) -> T | None:
    length = stream.read(_LENGTH_BYTES)
    if len(length) < _LENGTH_BYTES:
        return None
    size = int.from_bytes(length, "big")
    body = stream.read(size)
    return decode(body) if len(body) == size else None
