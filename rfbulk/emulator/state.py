"""What the emulator holds: batches, shards, stored objects, indexed images. Nothing but the sum of its events.

`State.apply` is the one place where it changes. It awaits nothing and touches no disk.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, assert_never

import msgspec

from rfbulk.emulator.events import (
    BatchCreated,
    BatchRemoved,
    Event,
    FilesAdded,
    FileStored,
    ObjectStored,
    PartAdded,
    ShardIndexed,
    ShardScanned,
    StoredFile,
    UploadGranted,
)
from rfbulk.emulator.ingests.events import IngestAccepted, IngestEnded, is_reachable, unreachable
from rfbulk.emulator.jobs.state import Jobs
from rfbulk.emulator.tarscan import Member
from rfbulk.emulator.webhooks.events import NoticeDue, NoticeSettled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SIMPLE_BATCH = "simple-batch"
SHARDED_BATCH = "sharded-batch"
MULTIPART_BATCH = "multipart-batch"

_MEMBERS = msgspec.msgpack.Decoder(list[Member])


def pack_members(members: Sequence[Member]) -> bytes:
    """Pack members tightly: a million images should not be a million objects in memory."""
    return msgspec.msgpack.encode(members)


def unpack_members(packed: bytes) -> list[Member]:
    """Return what `pack_members` was given."""
    return _MEMBERS.decode(packed) if packed else []


@dataclass(slots=True)
class Shard:
    """One grant and what became of it."""

    shard_id: str
    batch_id: str
    object_name: str
    event_at: float
    file_name: str | None = None
    status: str = "registered"
    puts: int = 0
    accepted: int = 0
    indexed: int = 0
    failed: tuple[tuple[str, str], ...] = ()
    failure: str | None = None
    file_key: str | None = None
    """Where the bytes of a video are that this grant has brought into the batch."""


@dataclass(slots=True)
class Content:
    """The images that one stored object put into a batch."""

    shard_id: str
    key: str
    members: bytes
    count: int

    def drop(self, names: frozenset[str]) -> None:
        """Take the members of these names out."""
        kept = [member for member in unpack_members(self.members) if member.name not in names]
        self.members, self.count = pack_members(kept), len(kept)


@dataclass(slots=True)
class Part:
    """One part of a multipart batch."""

    about: PartAdded
    files: list[StoredFile] = field(default_factory=list)


@dataclass(slots=True)
class Batch:
    """One batch. `contents` is in the order of indexing and only grows, so that paging is stable."""

    batch_id: str
    display_name: str
    batch_type: str
    content_type: str
    created_at: float
    shards: list[Shard] = field(default_factory=list)
    contents: list[Content] = field(default_factory=list)
    files: list[StoredFile] = field(default_factory=list)
    parts: dict[str, Part] = field(default_factory=dict)

    @property
    def indexed(self) -> int:
        """How many files are in the batch."""
        return self._single + sum(content.count for content in self.contents)

    @property
    def accepted(self) -> int:
        """How many files arrived, indexed or not, good or bad."""
        return self._single + sum(shard.accepted for shard in self.shards)

    @property
    def _single(self) -> int:
        return len(self.files) + sum(len(part.files) for part in self.parts.values())

    def single_files(self) -> Iterator[StoredFile]:
        """Go through the files that came by themselves, not in a shard's tar."""
        yield from self.files
        for part in self.parts.values():
            yield from part.files

    def names(self, *, except_shard: str | None = None) -> Iterator[str]:
        """Go through the names of all files, or of all but one shard's, once for each time they are there."""
        yield from (each.name for each in self.single_files())
        for content in self.contents:
            if content.shard_id != except_shard:
                yield from (member.name for member in unpack_members(content.members))


@dataclass(slots=True)
class State:
    """Everything, by its identifiers."""

    batches: dict[str, Batch] = field(default_factory=dict)
    shards: dict[str, Shard] = field(default_factory=dict)
    uploads: dict[str, Shard] = field(default_factory=dict)
    objects: dict[str, ObjectStored] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    jobs: Jobs = field(default_factory=Jobs)
    ingests: dict[tuple[str, str], IngestAccepted] = field(default_factory=dict)
    ended_ingests: set[tuple[str, str]] = field(default_factory=set)
    notices: dict[str, NoticeDue] = field(default_factory=dict)
    generation: int = 0

    def unindexed(self) -> list[ObjectStored]:
        """Return the stored objects whose indexing has not ended."""
        return [stored for name, stored in self.objects.items() if self.uploads[name].status == "uploaded"]

    def open_ingests(self) -> list[IngestAccepted]:
        """Return the ingests that have not ended."""
        return [accepted for key, accepted in self.ingests.items() if key not in self.ended_ingests]

    def apply(self, event: Event) -> None:
        """Let an event take effect."""
        match event:
            case BatchCreated() | BatchRemoved() | PartAdded() | FilesAdded():
                self._change_batches(event)
            case UploadGranted():
                self._grant(event)
            case ObjectStored():
                self._store(event)
            case ShardScanned():
                self.shards[event.shard_id].accepted = event.accepted
            case ShardIndexed():
                self._index(event)
            case FileStored():
                self._add_file(event)
            case IngestAccepted():
                self._accept(event)
            case IngestEnded():
                self._end_ingest(event)
            case NoticeDue() | NoticeSettled():
                self._note(event)
            case _:
                self.jobs.apply(event)

    def _note(self, event: NoticeDue | NoticeSettled) -> None:
        if isinstance(event, NoticeDue):
            self.notices[event.event_id] = event
        else:
            self.notices.pop(event.event_id, None)

    def _change_batches(self, event: BatchCreated | BatchRemoved | PartAdded | FilesAdded) -> None:
        match event:
            case BatchCreated():
                self.batches[event.batch_id] = Batch(
                    event.batch_id, event.display_name, event.batch_type, event.content_type, event.at
                )
            case BatchRemoved():
                self._remove(event.batch_id)
            case PartAdded():
                self.batches[event.batch_id].parts.setdefault(event.name, Part(event))
            case FilesAdded():
                self._add_files(event)
            case _:
                assert_never(event)

    def _grant(self, event: UploadGranted) -> None:
        shard = Shard(event.shard_id, event.batch_id, event.object_name, event.at, event.file_name)
        self.uploads[event.object_name] = self.shards[event.shard_id] = shard
        if event.file_name is None:
            self.batches[event.batch_id].shards.append(shard)

    def _store(self, event: ObjectStored) -> None:
        self.objects[event.object_name] = event
        self.generation = max(self.generation, event.generation)
        shard = self.uploads[event.object_name]
        shard.puts += 1
        shard.status, shard.event_at = "uploaded", event.at

    def _index(self, event: ShardIndexed) -> None:
        shard = self.shards[event.shard_id]
        shard.status, shard.event_at = "failed" if event.failure else "indexed", event.at
        shard.indexed, shard.failed, shard.failure = event.count, event.failed, event.failure
        batch = self.batches[shard.batch_id]
        if event.dropped:
            names = frozenset(event.dropped)
            for content in batch.contents:
                content.drop(names)
        self._put_content(batch, event)

    def _put_content(self, batch: Batch, event: ShardIndexed) -> None:
        content = Content(event.shard_id, event.key, event.members, event.count)
        if not event.beside:
            for place, present in enumerate(batch.contents):
                if present.shard_id == event.shard_id:
                    batch.contents[place] = content
                    return
        batch.contents.append(content)

    def _add_file(self, event: FileStored) -> None:
        batch = self.batches[event.batch_id]
        added = StoredFile(event.name, event.key, event.size, sha256=event.sha256)
        earlier: str | None = None
        if event.upload is not None:
            shard = self.uploads[event.upload]
            earlier, shard.file_key, shard.status = shard.file_key, event.key, "indexed"
        for place, present in enumerate(batch.files if event.instead else ()):
            if present.key == earlier if event.upload is not None else present.name == event.name:
                batch.files[place] = added
                return
        batch.files.append(added)

    def _accept(self, event: IngestAccepted) -> None:
        self.ingests[event.batch_id, event.ingest_id] = event
        for each in event.shards:
            if each.shard_id is not None:
                shard = Shard(each.shard_id, event.batch_id, "", event.at, puts=1, accepted=len(each.references))
                self.shards[each.shard_id] = shard
                self.batches[event.batch_id].shards.append(shard)

    def _end_ingest(self, event: IngestEnded) -> None:
        key = event.batch_id, event.ingest_id
        self.ended_ingests.add(key)
        for each in self.ingests[key].shards:
            there = [(name, url) for name, url in each.references if is_reachable(url)]
            files = [StoredFile(name, "", 0, shard_id=each.shard_id, url=url) for name, url in there]
            self.batches[event.batch_id].files.extend(files)
            if each.shard_id is not None:
                shard = self.shards[each.shard_id]
                shard.status, shard.event_at = "failed" if each.failure else "indexed", event.at
                # From here on they are counted as files.
                shard.indexed, shard.accepted, shard.failure = len(files) + event.found, 0, each.failure
                shard.failed = unreachable(each.references)

    def _remove(self, batch_id: str) -> None:
        self.batches.pop(batch_id, None)
        for key in [key for key in self.ingests if key[0] == batch_id]:
            del self.ingests[key]
            self.ended_ingests.discard(key)
        for name in [name for name, shard in self.uploads.items() if shard.batch_id == batch_id]:
            self.shards.pop(self.uploads.pop(name).shard_id)
            self.objects.pop(name, None)

    def _add_files(self, event: FilesAdded) -> None:
        batch = self.batches[event.batch_id]
        files = batch.files if event.part is None else batch.parts[event.part].files
        files.extend(event.files)
        self.links.update(event.links)
