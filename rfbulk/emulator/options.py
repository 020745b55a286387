"""What an emulator is told when it is made: its place, its store, and a switch for each thing unknown of the service.

Nothing here reads the environment or touches a disk.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, get_args

from rfbulk.emulator.checks import check_choice, check_range
from rfbulk.emulator.jobs.options import JobOptions
from rfbulk.emulator.webhooks.options import WebhookOptions

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")

StoreKind = Literal["memory", "folder", "count"]
SecondPut = Literal["replaces", "indexes-again"]
CountMode = Literal["indexed", "accepted"]
EqualNames = Literal["keep-both", "last-wins", "fail"]
AskedPageSize = Literal["kept", "ignored", "refused"]
LimitStatement = Literal["field", "header", "both", "none"]

Hashes = Literal["both", "crc32c", "md5", "none"]
ETagKind = Literal["md5", "opaque", "weak", "none"]
LengthKind = Literal["stated", "chunked", "unstated"]
DialectName = Literal["google", "s3"]

# 500 images of 20 MiB and their heads fit.
DEFAULT_MAX_SHARD_BYTES = 10 * 1024**3
# Google signs for at most seven days.
MAX_GRANT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class DownloadOptions:
    """How the store behind the download URLs behaves.

    | option | meaning |
    | --- | --- |
    | seconds | how long a download URL is valid |
    | dialect | `google`; or `s3`: its signatures, its headers, and 403 for an expired URL |
    | hashes | which hashes an answer tells; md5 costs CPU when a file is first asked for |
    | etag | the md5; a text that says nothing; the same, marked as weak; or none |
    | length | stated; not stated, in chunks; not stated, ending with the connection |
    | ranges | whether ranges are answered as such, or the whole file is sent |
    """

    seconds: int = 3600
    dialect: DialectName = "google"
    hashes: Hashes = "both"
    etag: ETagKind = "md5"
    length: LengthKind = "stated"
    ranges: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: an option is outside its range; the text names it.
        """
        check_choice(self, "dialect", get_args(DialectName))
        check_choice(self, "hashes", get_args(Hashes))
        check_choice(self, "etag", get_args(ETagKind))
        check_choice(self, "length", get_args(LengthKind))
        check_range(self, "seconds", 1, MAX_GRANT_SECONDS)

    @property
    def needs_sums(self) -> bool:
        """Whether an answer tells anything that follows from a file's bytes."""
        return self.hashes != "none" or self.etag == "md5"

    @property
    def needs_md5(self) -> bool:
        """Whether an answer tells a file's md5 in one way or another."""
        return self.etag == "md5" or self.hashes in {"both", "md5"}


@dataclass(frozen=True, slots=True)
class EmulatorOptions:
    """Where the emulator listens, what it keeps, and how it behaves where the service's behaviour is unknown.

    | option | meaning |
    | --- | --- |
    | store | `memory`; `folder`: durable in `directory`; `count`: reads tars, keeps member names, drops contents |
    | directory | the folder of the `folder` store; keys, port, batches, grants and ledger live there too |
    | public_url | what signed URLs begin with, when clients come through a proxy |
    | page_size | rows of a page that is asked for in no size |
    | asked_page_size | a listing's `pageSize` is kept to (to 1,000), ignored, or refused with 400 |
    | grant_seconds | how long a signed PUT URL is valid |
    | max_shard_bytes | the limit on one shard; enforced by the store when a header states it, else at indexing |
    | limit_statement | whether a grant says so in `maxFileSizeBytes`, in `x-goog-content-length-range`, both, or not |
    | index_delay_seconds | the least time between a PUT and its indexing |
    | if_generation_match | grants carry `x-goog-if-generation-match: 0`, so that a second PUT is answered 412 |
    | second_put | without that header: the new object takes the old one's place in the batch, or is indexed beside it |
    | list_unfilled_shards | `/shards` lists shards that were granted and not filled |
    | shard_id_in_url | the upload URL names the shard |
    | count_mode | `/count` counts files that are indexed, or all that arrived in stored shards |
    | equal_names | two files of one name: both stay, the later replaces the earlier, or the later fails |
    | state_method | a grant says `"method": "PUT"` |
    | date_skew_seconds | how far its clock (`Date` and expiry) runs ahead of this machine's |
    | md5 | also compute md5 of what is stored, at the price of much CPU |
    | downloads | how the store behind the download URLs behaves |
    | jobs | how jobs are taken and how they go |
    | webhooks | how notifications are sent |
    """

    host: str = "127.0.0.1"
    port: int = 0
    public_url: str | None = None
    tls: ssl.SSLContext | None = None
    workspace: str = "emulator"
    api_key: str = "emulator"
    store: StoreKind = "memory"
    directory: Path | None = None
    md5: bool = False
    page_size: int = 100
    asked_page_size: AskedPageSize = "kept"
    latency_seconds: float = 0.0
    index_delay_seconds: float = 0.0
    date_skew_seconds: float = 0.0
    grant_seconds: int = 3600
    max_shard_bytes: int = DEFAULT_MAX_SHARD_BYTES
    limit_statement: LimitStatement = "both"
    state_method: bool = True
    if_generation_match: bool = True
    second_put: SecondPut = "replaces"
    list_unfilled_shards: bool = True
    shard_id_in_url: bool = True
    count_mode: CountMode = "indexed"
    equal_names: EqualNames = "keep-both"
    downloads: DownloadOptions = field(default_factory=DownloadOptions)
    jobs: JobOptions = field(default_factory=JobOptions)
    webhooks: WebhookOptions = field(default_factory=WebhookOptions)

    def __post_init__(self) -> None:
        """Refuse what cannot work.

        Raises:
            ValueError: an option is outside its range; the text names it.
        """
        _check_choices(self)
        _check_ranges(self)
        if (self.directory is None) == (self.store == "folder"):
            raise ValueError("directory goes with the folder store, and only with it")
        if not _PLAIN_NAME.fullmatch(self.workspace):
            raise ValueError(f"workspace may hold letters, digits, - and _ only: {self.workspace!r}")
        if not self.api_key:
            raise ValueError("api_key must not be empty")

    @property
    def states_limit_in_field(self) -> bool:
        """Whether a grant's JSON names the largest shard."""
        return self.limit_statement in {"field", "both"}

    @property
    def states_limit_in_header(self) -> bool:
        """Whether a grant's headers bind the largest shard."""
        return self.limit_statement in {"header", "both"}


def _check_choices(options: EmulatorOptions) -> None:
    choices = {
        "store": get_args(StoreKind),
        "limit_statement": get_args(LimitStatement),
        "second_put": get_args(SecondPut),
        "count_mode": get_args(CountMode),
        "equal_names": get_args(EqualNames),
        "asked_page_size": get_args(AskedPageSize),
    }
    for name, allowed in choices.items():
        check_choice(options, name, allowed)


def _check_ranges(options: EmulatorOptions) -> None:
    check_range(options, "port", 0, 65535)
    check_range(options, "page_size", 1, 1000)
    check_range(options, "latency_seconds", 0, 3600)
    check_range(options, "index_delay_seconds", 0, 3600)
    check_range(options, "grant_seconds", 1, MAX_GRANT_SECONDS)
    check_range(options, "max_shard_bytes", 1, 2**63)
