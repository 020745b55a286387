"""How a worker sends and fetches: its own connections, buffers and credentials, made once for all work of a run."""

from __future__ import annotations

import os
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rfbulk.cluster.parcels import Kind
from rfbulk.core.fetching import FetchOutcome, FetchResult, UnpackLimits
from rfbulk.core.objects import parse_address
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.selection import Selection, chooser_of
from rfbulk.edge.bucket_source import BucketRoot, BucketSource
from rfbulk.edge.bucket_stores import Patience
from rfbulk.edge.buckets import open_bucket
from rfbulk.edge.clock import RateLimit
from rfbulk.edge.downlink import Downlink
from rfbulk.edge.landing import sync_file_system, trouble_of_disk
from rfbulk.edge.uplink import Uplink
from rfbulk.edge.ways import ways_of
from rfbulk.receivers.groups import Groups
from rfbulk.senders.attempts import Attempts, pack_checked, pack_files
from rfbulk.senders.bare import pack_bare
from rfbulk.senders.relaying import pack_bare_object, pack_objects

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Manner
    from rfbulk.core.fetching import FetchJob
    from rfbulk.core.model import Entry, ShardJob, ShardResult
    from rfbulk.edge.lines import Call
    from rfbulk.edge.ways import Ways
    from rfbulk.senders.attempts import Pack, Packer

_LOCAL_PACKERS = {Kind.FILES: pack_files, Kind.CHECKED: pack_checked, Kind.BARE: pack_bare}
_OF_BUCKETS = {Kind.OBJECTS: pack_objects, Kind.BARE_OBJECT: pack_bare_object}


class SharedRate:
    """A limit that may be set anew at any time, for all threads of a process."""

    def __init__(self) -> None:
        self._bytes_per_second: int | None = None
        self._limit = RateLimit(None)

    def limit(self, bytes_per_second: int | None) -> None:
        """Hold all to this from now on."""
        if bytes_per_second != self._bytes_per_second:
            self._bytes_per_second = bytes_per_second
            self._limit = RateLimit(bytes_per_second)

    def due(self, count: int) -> float:
        """Book `count` bytes and return how many seconds they must wait."""
        return self._limit.due(count)


@dataclass(slots=True)
class Craft:
    """Makes attempts in the calling thread."""

    send: Callable[[ShardJob, Call], ShardResult]
    fetch: Callable[[Sequence[FetchJob], Call], list[FetchResult]]
    close: Callable[[], None]
    cpu: Callable[[], float]
    rate: SharedRate = field(default_factory=SharedRate)

    @property
    def cpu_seconds(self) -> float:
        """Processor time of all attempts."""
        return self.cpu()


def craft_of(manner: Manner) -> Craft:
    """Return how this process works for a run. Proxies and credentials are those of its own environment."""
    ways = ways_for(manner)
    rate = SharedRate()
    uplink = Uplink(ways)
    downlink = Downlink(ways, allow_http=manner.allow_http)
    attempts = Attempts(
        uplink,
        chunk_bytes=manner.chunk_bytes,
        stall_seconds=manner.stall_seconds,
        rate=rate if manner.rate is not None else None,
        pack=_pack_of(manner),
    )
    groups = Groups(
        downlink,
        stall_seconds=manner.stall_seconds,
        rate=rate,
        limits=UnpackLimits(),
        reach=lambda _failpoint: None,
    )

    def close() -> None:
        uplink.close()
        downlink.close()

    fetch = _Fetching(groups).fetch
    return Craft(attempts.make, fetch, close, lambda: attempts.cpu_seconds + groups.cpu_seconds, rate)


def ways_for(manner: Manner) -> Ways:
    """Return this process's ways out, by its own environment."""
    authorities = _written(manner.authorities) if manner.authorities else None
    return ways_of(os.environ, connect_seconds=manner.connect_seconds, ca_file=authorities)


def localised(job: ShardJob) -> ShardJob:
    """Take this machine's inode numbers, where a file is the one that was planned by its size and time."""
    return msgspec.structs.replace(job, entries=tuple(_local(job.roots, entry) for entry in job.entries))


def _local(roots: tuple[bytes, ...], entry: Entry) -> Entry:
    try:
        status = os.stat(os.path.join(roots[entry.root], entry.path))
    except OSError:
        return entry  # the packer tells why
    if (status.st_size, status.st_mtime_ns) != (entry.size, entry.mtime_ns):
        return entry
    return msgspec.structs.replace(entry, inode=status.st_ino)


def _pack_of(manner: Manner) -> Pack:
    if manner.kind in _OF_BUCKETS:
        return partial(_pack_objects, _Buckets(manner))
    return _LOCAL_PACKERS.get(manner.kind, pack_files)


class _Fetching:
    """Fetches into a folder of staging that is this process's alone.

    Of two attempts at one file, one may be of a process that was taken for lost: they must not write into one file.
    """

    def __init__(self, groups: Groups) -> None:
        self._groups = groups
        self._place = f"w-{uuid.uuid4().hex[:8]}"
        self._under_way: set[int] = set()
        self._lock = threading.Lock()

    def fetch(self, jobs: Sequence[FetchJob], call: Call) -> list[FetchResult]:
        """Fetch a group. Whole files are made durable here: nobody else can wait for this machine's cache."""
        numbers = {job.number for job in jobs}
        with self._lock:
            if numbers & self._under_way:
                return [FetchResult(FetchOutcome.BROKEN, detail="an earlier attempt has not ended yet")]
            self._under_way |= numbers
        try:
            own = [msgspec.structs.replace(job, staging=b"/".join((job.staging, self._place.encode()))) for job in jobs]
            results = [self._told(result) for result in self._groups.fetch(own, call)]
            return self._durable(jobs, results)
        finally:
            with self._lock:
                self._under_way -= numbers

    def _told(self, result: FetchResult) -> FetchResult:
        members = [
            msgspec.structs.replace(member, staged=f"{self._place}/{member.staged}") for member in result.members
        ]
        return msgspec.structs.replace(result, members=tuple(members))

    def _durable(self, jobs: Sequence[FetchJob], results: list[FetchResult]) -> list[FetchResult]:
        if any(result.outcome is FetchOutcome.FETCHED for result in results):
            try:
                sync_file_system(jobs[0].target)
            except OSError as error:
                outcome, detail = trouble_of_disk(error)
                return [FetchResult(outcome, detail=detail)]
        return results


class _Buckets:
    """The buckets of a run as this process reads them, each opened once."""

    def __init__(self, manner: Manner) -> None:
        self._manner = manner
        self._sources: dict[tuple[bytes, ...], BucketSource] = {}

    def source(self, roots: tuple[bytes, ...]) -> BucketSource:
        found = self._sources.get(roots)
        if found is None:
            found = self._sources[roots] = bucket_source(roots, patience_of(self._manner))
        return found


def _pack_objects(buckets: _Buckets, job: ShardJob, buffer: bytearray, call: Call) -> Packer:
    pack = _OF_BUCKETS[buckets._manner.kind]  # noqa: SLF001 - of this module
    return pack(buckets.source(job.roots), job, buffer, call)


def bucket_source(roots: tuple[bytes, ...], patience: Patience) -> BucketSource:
    """Return buckets by the addresses of their folders, read with this process's credentials. Nothing is listed."""
    chooser = chooser_of(Selection())
    opened = []
    for number, root in enumerate(roots):
        address = parse_address(root.decode() + "/")
        bucket = open_bucket(address, os.environ, patience)
        opened.append(BucketRoot(bucket, number, None, chooser, None, lambda path: path.decode()))
    return BucketSource(tuple(opened), RetryPolicy())


def patience_of(manner: Manner) -> Patience:
    """Return how patiently buckets are spoken to."""
    return Patience(
        connect_seconds=manner.connect_seconds,
        stall_seconds=manner.stall_seconds,
        retry_seconds=60.0,
        ca_file=_written(manner.authorities) if manner.authorities else None,
        allow_http=manner.allow_http,
    )


def _written(authorities: str) -> Path:
    """Certificate authorities are read from files."""
    descriptor, name = tempfile.mkstemp(prefix="rfbulk-", suffix=".pem")
    with os.fdopen(descriptor, "w") as file:
        file.write(authorities)
    return Path(name)
