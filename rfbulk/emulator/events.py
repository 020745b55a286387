"""What can happen to an emulator's content, as small records: the state is what they add up to.

The folder store writes them to its journal, so their fields are a format: change them with care.
"""

from __future__ import annotations

import msgspec

from rfbulk.emulator.ingests.events import IngestEvent
from rfbulk.emulator.jobs.events import JobEvent
from rfbulk.emulator.webhooks.events import NoticeEvent


class BatchCreated(msgspec.Struct, frozen=True, tag="batch"):
    """A batch came into being, by its first grant or file."""

    batch_id: str
    display_name: str
    batch_type: str
    content_type: str
    at: float


class UploadGranted(msgspec.Struct, frozen=True, tag="grant"):
    """One object may be sent: a shard, or (with a file name) one video."""

    batch_id: str
    shard_id: str
    object_name: str
    at: float
    file_name: str | None = None


class ObjectStored(msgspec.Struct, frozen=True, tag="stored"):
    """An object arrived whole. `key` is where the store keeps this generation of it."""

    object_name: str
    key: str
    generation: int
    size: int
    crc32c: int
    at: float
    md5: str = ""


class ShardScanned(msgspec.Struct, frozen=True, tag="scanned"):
    """It is known how many files a stored shard brought."""

    shard_id: str
    generation: int
    accepted: int


class ShardIndexed(msgspec.Struct, frozen=True, tag="indexed"):
    """A stored shard's images are in the batch, or it failed.

    `members` is packed; `beside` keeps what an earlier object of the shard put there; `dropped` names give way.
    """

    shard_id: str
    key: str
    at: float
    count: int = 0
    members: bytes = b""
    failed: tuple[tuple[str, str], ...] = ()
    failure: str | None = None
    beside: bool = False
    dropped: tuple[str, ...] = ()


class FileStored(msgspec.Struct, frozen=True, tag="file"):
    """A single file is in a simple batch; with `instead`, in the place of the one that had its name.

    A video names the granted `upload` that brought it; `instead` is then in the place of what that had brought before.
    """

    batch_id: str
    name: str
    key: str
    size: int
    sha256: bytes
    at: float
    instead: bool = False
    upload: str | None = None


class StoredFile(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One file of a simple batch or of a part: where its bytes are, and what is said of it. A hash may be missing.

    A reference has a `url` instead of bytes.
    """

    name: str
    key: str
    size: int
    offset: int = 0
    sha256: bytes = b""
    shard_id: str | None = None
    content_type: str | None = None
    nested_content_type: str | None = None
    url: str | None = None


class PartAdded(msgspec.Struct, frozen=True, tag="part"):
    """A multipart batch has a part of this name."""

    batch_id: str
    name: str
    part_type: str
    content_type: str
    description: str | None = None
    nested_content_type: str | None = None


class FilesAdded(msgspec.Struct, frozen=True, tag="files"):
    """Files were put into a batch, or into a part of it, by other ways than an upload.

    `links` names the files of this machine in which keys are to be found that no store holds.
    """

    batch_id: str
    files: tuple[StoredFile, ...]
    part: str | None = None
    links: dict[str, str] = {}


class BatchRemoved(msgspec.Struct, frozen=True, tag="removed"):
    """A batch is no more."""

    batch_id: str


Event = (
    BatchCreated
    | UploadGranted
    | ObjectStored
    | ShardScanned
    | ShardIndexed
    | FileStored
    | PartAdded
    | FilesAdded
    | BatchRemoved
    | JobEvent
    | IngestEvent
    | NoticeEvent
)
