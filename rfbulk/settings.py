"""What a caller can set, with defaults that work. Only `Settings.from_environment()` reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from rfbulk.core.clusters import MOST_AT_ONCE, ClusterOptions
from rfbulk.core.grants import UrlFault, check_url
from rfbulk.core.limits import MAX_IMAGES_PER_SHARD
from rfbulk.core.partition import Partition
from rfbulk.core.planning import DEFAULT_SHARD_BYTES
from rfbulk.core.retry import RetryPolicy
from rfbulk.errors import UsageError

DEFAULT_API_URL: Final = "https://api.roboflow.com"
CHUNK_BYTES: Final = 512 << 10
"""What is read, hashed and sent at once, in one buffer for each shard in flight. Measured from 256 KiB to 1 MiB: below,
calls cost more; above, nothing is gained and the processor's cache is missed. Processes that send in turns take the
most in a turn and the least without."""

SHARD_OVERHEAD_BYTES: Final = 512 << 10
"""What a shard in flight costs beside its chunk: a thread's stack and allocator, its entries, its connection."""

RELAY_AHEAD_BYTES: Final = 8 << 20
"""What a shard made of a bucket's objects reads ahead: sixty images of 130 KB, or four of 2 MB."""

RELAY_LARGE_BYTES: Final = 2 << 20
"""An object above this is streamed, not read ahead: a round trip costs little beside it."""

RELAY_OVERHEAD_BYTES: Final = (1 << 20) + (512 << 10)
"""What reading ahead costs beside: the threads, their connections, and the pieces of a stream."""

MAX_URL_EXPIRY_SECONDS: Final = 7 * 24 * 3600.0
"""Amazon and Google honour a signature for seven days at most; Azure asks for no more of user delegation keys."""

DEFAULT_URL_EXPIRY_SECONDS: Final = 2 * 24 * 3600.0
"""The service fetches in the background, in its own time: two days are much for a batch that lives for seven."""

Names: TypeAlias = Literal["auto", "path", "basename"]
OnUnsure: TypeAlias = Literal["verify", "reupload", "skip"]
OnChanged: TypeAlias = Literal["name", "send"]
Verify: TypeAlias = Literal["none", "count", "names"]


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the service is, and how patiently it is spoken to.

    `state_dir` holds the checkpoints (default: the user's state folder). `stall_seconds` ends a connection on which
    nothing moved for so long. `ca_file` adds a certificate authority; `allow_http` permits plain HTTP beyond loopback.
    """

    api_url: str = DEFAULT_API_URL
    workspace: str | None = None
    state_dir: Path | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    connect_seconds: float = 30.0
    stall_seconds: float = 60.0
    ca_file: Path | None = None
    allow_http: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out."""
        _require("connect_seconds", self.connect_seconds > 0, "more than nothing")
        _require("stall_seconds", self.stall_seconds > 0, "more than nothing")

    @staticmethod
    def from_environment(environment: Mapping[str, str] | None = None) -> Settings:
        """Read `ROBOFLOW_API_URL` (or `API_BASE_URL`, as the service's own client) and `RFBULK_STATE_DIR`."""
        values = os.environ if environment is None else environment
        state_dir = values.get("RFBULK_STATE_DIR")
        return Settings(
            api_url=values.get("ROBOFLOW_API_URL") or values.get("API_BASE_URL") or DEFAULT_API_URL,
            state_dir=Path(state_dir) if state_dir else None,
        )


@dataclass(frozen=True, slots=True)
class UploadOptions:
    """How a folder of images is uploaded. Each default is what suits most.

    `names`: `auto` names a file from its path within the source (within its folder's name too when several sources
    are given), `path` always puts the folder's name in front, `basename` keeps bare names and refuses clashes.
    `concurrency` is a number of shards at once, or None to find it. `processes` is how many processes send, or None to
    start further ones where one is not fast enough; a limited rate is kept by one alone, and buckets are read by one.
    `memory_bytes` bounds the bytes in flight.
    `on_changed`: what becomes of a file that was sent and is different now: it is named, or sent under a new name.
    `on_unsure`: what becomes of a shard that may have arrived: looked up by name, sent again, or left.
    `wait`: until the service has indexed and counted what was sent, for at most `wait_seconds`.
    `max_failures`: stop once more images than this have failed (None: never).
    `one_by_one`: each image goes in a request of its own, into a batch that is filled so alone.
    `check_images`: what is no whole image by its first bytes and its end is named instead of sent.
    `grace_seconds`: what shards in flight get to finish when the upload is stopped.
    `cluster`: whose workers read, pack and send; memory is theirs then, and a limited rate is divided among them.
    `retry_failed`: send again what earlier runs have named as failed, and nothing new; the source is not read again.
    `partition`: only this share of the source, into a batch that takes the others too; it has its own checkpoint.
    """

    batch_name: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recursive: bool = True
    names: Names = "auto"
    shard_images: int = MAX_IMAGES_PER_SHARD
    shard_bytes: int = DEFAULT_SHARD_BYTES
    concurrency: int | None = None
    processes: int | None = None
    memory_bytes: int = 256 << 20
    limit_rate: int | None = None
    wait: bool = True
    wait_seconds: float = 7200.0
    verify: Verify = "count"
    on_unsure: OnUnsure = "verify"
    on_changed: OnChanged = "name"
    quiet_seconds: float = 15.0
    max_failures: int | None = None
    notifications_url: str | None = None
    ingest_id: str | None = None
    restart: bool = False
    report_file: Path | None = None
    grace_seconds: float = 5.0
    one_by_one: bool = False
    check_images: bool = False
    cluster: ClusterOptions | None = None
    partition: Partition | None = None
    retry_failed: bool = False

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out, before anything is sent."""
        _require("shard_images", 1 <= self.shard_images <= MAX_IMAGES_PER_SHARD, f"from 1 to {MAX_IMAGES_PER_SHARD}")
        _require("shard_bytes", self.shard_bytes >= MIN_SHARD_BYTES, f"at least {MIN_SHARD_BYTES} bytes")
        _require("memory", self.memory_bytes >= MIN_MEMORY_BYTES, f"at least {MIN_MEMORY_BYTES >> 20} MiB")
        _check_concurrency(self.concurrency, self.most_shards_at_once, self.cluster)
        _require("cluster", self.cluster is None or not self.one_by_one, "left out with --one-by-one")
        _require("partition", self.partition is None or not self.one_by_one, "left out with --one-by-one")
        _require("processes", self.processes is None or 1 <= self.processes <= MAX_CONCURRENCY, "auto, or from 1 to 64")
        _require("limit_rate", self.limit_rate is None or self.limit_rate >= 1024, "at least 1 KiB a second")
        _require("wait_seconds", self.wait_seconds > 0, "more than nothing")
        _require("quiet_seconds", self.quiet_seconds >= 0, "0 or more")
        told = self.notifications_url if self.one_by_one else None
        _require("notifications_url", told is None, "left out with --one-by-one: nobody is told of single images")
        _require("grace_seconds", self.grace_seconds >= 0, "0 or more")
        begins_anew = self.retry_failed and self.restart
        _require("retry_failed", not begins_anew, "said without --restart, which forgets what failed")
        _require("max_failures", self.max_failures is None or self.max_failures >= 0, "0 or more")
        _require(
            "notifications_url",
            self.notifications_url is None or _may_be_told(self.notifications_url),
            "an https:// address, or one of this machine",
        )

    @property
    def most_shards_at_once(self) -> int:
        """How many shards the memory allows in flight: each holds one chunk."""
        return max(1, min(MAX_CONCURRENCY, self.memory_bytes // SHARD_MEMORY_BYTES))

    @property
    def most_streams_at_once(self) -> int:
        """How many of a bucket's objects the memory allows in flight where each travels alone, however large."""
        return max(1, min(MAX_CONCURRENCY, self.memory_bytes // STREAM_MEMORY_BYTES))

    @property
    def most_relays_at_once(self) -> int:
        """How many shards of a bucket's objects the memory allows in flight: each reads ahead besides."""
        return max(1, min(MAX_CONCURRENCY, self.memory_bytes // RELAY_MEMORY_BYTES))


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a batch is filled without an upload: from references, a list that the service fetches, or a query.

    `ingest_id` names the ingest in notifications; where it takes several requests, the further ones are named
    `ID-2`, `ID-3`, … (None: each is named by what it asks for, so that a repeated one is known again anywhere).
    `notification_categories` are what is told of (none: the service's default). `wait`: until the service has taken
    in all that was asked for, for at most `wait_seconds`. `restart` forgets what earlier runs have recorded; the
    service still knows an ingest by its name. `report_file` is told every reference's fate, as JSON lines.
    """

    batch_name: str | None = None
    ingest_id: str | None = None
    notifications_url: str | None = None
    notification_categories: tuple[str, ...] = ()
    wait: bool = True
    wait_seconds: float = 7200.0
    quiet_seconds: float = 15.0
    restart: bool = False
    report_file: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out, before anything is asked for."""
        _require("wait_seconds", self.wait_seconds > 0, "more than nothing")
        _require("quiet_seconds", self.quiet_seconds >= 0, "0 or more")
        _require("ingest_id", self.ingest_id is None or bool(self.ingest_id.strip()), "a text")
        _require(
            "notifications_url",
            self.notifications_url is None or _may_be_told(self.notifications_url),
            "an https:// address, or one of this machine",
        )


@dataclass(frozen=True, slots=True)
class ObjectOptions:
    """Which objects of a bucket the service is to fetch itself, and how it is let in.

    `include`, `exclude`, `recursive` and `names` are as for uploads. `url_expiry_seconds` is how long each signed URL
    is valid from when it is asked for: it must outlive the service's work on it.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recursive: bool = True
    names: Names = "auto"
    url_expiry_seconds: float = DEFAULT_URL_EXPIRY_SECONDS

    def __post_init__(self) -> None:
        """Refuse what no cloud signs."""
        fits = 60 <= self.url_expiry_seconds <= MAX_URL_EXPIRY_SECONDS
        _require("url_expiry", fits, "from 1 minute to 7 days, the longest that clouds honour")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How a batch is brought home. Each default is what suits most.

    `parts`: these alone, of a multipart batch (none named: all). `unpack`: archives (`.tar`, `.tar.gz`, `.tgz`) become
    their members, in the folder in which the archive would lie. `overwrite`: everything is fetched anew, and files
    that lie in the way are replaced. `concurrency` is a number of connections, or None to find it. `processes` is how
    many processes receive, or None to start further ones where one is not fast enough; a limited rate is kept by one
    alone. `memory_bytes` bounds what all connections hold. `merge` is a file that the results files (`.jsonl` or
    `.csv`, as its own suffix says) are merged into. `manifest` tells of each file on disk where it is from (None:
    `BATCH.manifest.jsonl` in the target), unless `write_manifest` is False. `max_failures`: stop once more files than
    this have failed (None: never). `restart` forgets what earlier runs have recorded. `grace_seconds`: what fetches in
    flight get to finish when the export is stopped. `cluster`: whose workers fetch, into a target that they share.
    """

    parts: tuple[str, ...] = ()
    unpack: bool = True
    overwrite: bool = False
    concurrency: int | None = None
    processes: int | None = None
    memory_bytes: int = 256 << 20
    limit_rate: int | None = None
    merge: Path | None = None
    manifest: Path | None = None
    write_manifest: bool = True
    report_file: Path | None = None
    restart: bool = False
    max_failures: int | None = None
    grace_seconds: float = 5.0
    cluster: ClusterOptions | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be carried out, before anything is fetched."""
        _require("memory", self.memory_bytes >= MIN_MEMORY_BYTES, f"at least {MIN_MEMORY_BYTES >> 20} MiB")
        _check_concurrency(self.concurrency, self.most_fetches_at_once, self.cluster)
        _require("processes", self.processes is None or 1 <= self.processes <= MAX_CONCURRENCY, "auto, or from 1 to 64")
        _require("limit_rate", self.limit_rate is None or self.limit_rate >= 1024, "at least 1 KiB a second")
        is_table = self.merge is None or self.merge.suffix.lower() in {".jsonl", ".csv"}
        _require("merge", is_table, "a file whose name ends with .jsonl or .csv")
        _require("max_failures", self.max_failures is None or self.max_failures >= 0, "0 or more")
        _require("grace_seconds", self.grace_seconds >= 0, "0 or more")

    @property
    def most_fetches_at_once(self) -> int:
        """How many connections the memory allows: each holds at most `FETCH_MEMORY_BYTES`."""
        return max(1, min(MAX_CONCURRENCY, self.memory_bytes // FETCH_MEMORY_BYTES))


FETCH_MEMORY_BYTES: Final = (2 << 20) + (256 << 10)
"""What a fetch in flight holds: its connection, its buffers, what gzip and tar keep, a thread's stack and allocator."""

MIN_SHARD_BYTES: Final = 64 << 10
SHARD_MEMORY_BYTES: Final = CHUNK_BYTES + SHARD_OVERHEAD_BYTES
RELAY_MEMORY_BYTES: Final = SHARD_MEMORY_BYTES + RELAY_AHEAD_BYTES + RELAY_LARGE_BYTES + RELAY_OVERHEAD_BYTES
"""A shard of a bucket's objects: what it reads ahead, and the object that is being packed."""

STREAM_MEMORY_BYTES: Final = SHARD_MEMORY_BYTES + (3 << 20) + RELAY_OVERHEAD_BYTES
"""A bucket's object that travels alone, a video of any size: of its stream a piece that is sent, one behind it and one
on its way, each below a megabyte; or all of it if it is small. Measured: 5.3 MiB each of twelve."""

MIN_MEMORY_BYTES: Final = 4 << 20
MAX_CONCURRENCY: Final = 64
"""More connections than this to one store bring nothing on any line and look like an attack."""


def _may_be_told(url: str) -> bool:
    try:
        check_url(url, allow_http=False)
    except UrlFault:
        return False
    return True


def _check_concurrency(wanted: int | None, most: int, cluster: ClusterOptions | None) -> None:
    """What is in flight takes the memory of those that carry it: this process, or a cluster's workers."""
    if cluster is not None:
        _require("concurrency", wanted is None or 1 <= wanted <= MOST_AT_ONCE, f"auto, or from 1 to {MOST_AT_ONCE}")
        return
    text = f"auto, or from 1 to the {most} that --memory allows (never above {MAX_CONCURRENCY})"
    _require("concurrency", wanted is None or 1 <= wanted <= most, text)


def _require(name: str, holds: bool, what: str) -> None:
    if not holds:
        raise UsageError("set", name.replace("_", "-"), cause=f"it must be {what}", advice="change that option")
