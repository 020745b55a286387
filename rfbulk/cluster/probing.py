"""What each worker is asked before it gets work: who it is, of which versions, and whether it sees the same files."""

from __future__ import annotations

import asyncio
import os
import platform
import socket
import time
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import msgspec

from rfbulk import __version__
from rfbulk.cluster.crafts import bucket_source, patience_of
from rfbulk.cluster.hands import hands_of
from rfbulk.cluster.parcels import Kind, Manner, Parcel
from rfbulk.core.checksums import crc32c
from rfbulk.core.model import Entry
from rfbulk.edge.bucket_answers import ObjectDenied, ObjectGone
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.errors import RfbulkError

HEAD_BYTES: Final = 64 << 10
OF_BUCKETS: Final = frozenset({Kind.OBJECTS, Kind.BARE_OBJECT})
LOOK_SECONDS: Final = 10.0
"""What a look at a worker's mounts may take: one that hangs would hang every shard."""


class Sample(msgspec.Struct, frozen=True):
    """Some files as the coordinator sees them. `heads` are checksums of each one's first 64 KiB.

    `target` is a folder that is to be written to; a file `mark` of that content lies in it.
    """

    manner: Manner
    roots: tuple[bytes, ...] = ()
    entries: tuple[Entry, ...] = ()
    heads: tuple[int, ...] = ()
    target: bytes = b""
    mark: str = ""
    mark_inode: int = 0


class Seen(msgspec.Struct, frozen=True):
    """What a worker says of itself. `faults` tells in words what of the sample is not the same there."""

    hands: str
    host: str
    pid: int
    versions: dict[str, str]
    faults: tuple[str, ...] = ()
    other_inodes: bool = False
    looked_at: int = 0


async def probe(parcel: Parcel, dask_worker: Any = None) -> bytes:
    """Answer for a worker. Runs in its event loop, and looks at files in a thread, since mounts may hang."""
    sample = msgspec.msgpack.decode(parcel.open(), type=Sample)
    try:
        faults, other_inodes = await asyncio.wait_for(asyncio.to_thread(look, sample), LOOK_SECONDS)
    except TimeoutError:
        faults, other_inodes = ["its mount hangs"], False
    seen = Seen(
        hands_of(dask_worker).id,
        socket.gethostname(),
        os.getpid(),
        versions(),
        tuple(faults),
        other_inodes,
        len(sample.entries),
    )
    return msgspec.msgpack.encode(seen)


async def clock() -> float:
    """Tell the time."""
    return time.time()


def versions() -> dict[str, str]:
    """Return the versions of all that must fit."""
    found = {"rfbulk": __version__, "python": platform.python_version()}
    for name in ("distributed", "msgspec"):
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def look(sample: Sample) -> tuple[list[str], bool]:
    """Compare what is here with a sample. Blocking. Return the faults, and whether inode numbers differ."""
    if sample.manner.kind in OF_BUCKETS:
        return _look_at_objects(sample), False
    faults, other_inodes = [], False
    faults += [f"{_shown(root)} is not there" for root in sample.roots if not os.path.isdir(root)]  # noqa: PTH112 - bytes
    if faults:
        return faults, False
    for place, entry in enumerate(sample.entries):
        fault, has_other = _fault_of(sample, place, entry)
        other_inodes |= has_other
        if fault:
            faults.append(f"{_shown(os.path.join(sample.roots[entry.root], entry.path))}: {fault}")
    if sample.target:
        fault, has_other = _fault_of_target(sample)
        other_inodes |= has_other
        faults += [f"{_shown(sample.target)}: {fault}"] if fault else []
    return faults, other_inodes


def head_of(path: bytes) -> int:
    """Return the checksum of a file's beginning."""
    with open(path, "rb") as file:  # noqa: PTH123 - bytes are no Path
        return crc32c(file.read(HEAD_BYTES))


def _fault_of(sample: Sample, place: int, entry: Entry) -> tuple[str, bool]:
    path = os.path.join(sample.roots[entry.root], entry.path)
    try:
        status = os.stat(path)
        if status.st_size != entry.size:
            return f"it has {status.st_size} bytes there, {entry.size} here", False
        if status.st_mtime_ns != entry.mtime_ns:
            return "it has another time there", False
        if sample.heads and head_of(path) != sample.heads[place]:
            return "it has other content there", False
    except OSError as error:
        return str(error.strerror or error), False
    return "", status.st_ino != entry.inode


def _fault_of_target(sample: Sample) -> tuple[str, bool]:
    mark = os.path.join(sample.target, os.fsencode(sample.mark))
    try:
        status = os.stat(mark)
        if not os.access(sample.target, os.W_OK | os.X_OK):
            return "it cannot be written to", False
    except OSError as error:
        return f"what was written here is not seen there: {error.strerror or error}", False
    if status.st_ino != sample.mark_inode:
        return (
            "its files have other numbers (inodes) there, so that what is written there is not known again here",
            True,
        )
    return "", False


def _look_at_objects(sample: Sample) -> list[str]:
    faults = []
    try:
        source = bucket_source(sample.roots, patience_of(sample.manner))
        for entry in sample.entries:
            root = source.opened[entry.root]
            state = root.bucket.head(root.key_of(entry.path))
            if (state.size, state.mark) != (entry.size, entry.inode):
                faults.append(f"{_shown(entry.path)}: it is another version there")
    except (RfbulkError, BucketTrouble, ObjectDenied, ObjectGone) as error:
        faults.append(str(error) or type(error).__name__)
    return faults


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
