"""Fill batches without uploading: with the outputs of jobs, with samples, with whatever a test needs.

Names are taken as they come, hostile ones too: it is the downloading side that must withstand them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from rfbulk.emulator.events import BatchCreated, FilesAdded, PartAdded, StoredFile
from rfbulk.emulator.shelf import Place, made_key
from rfbulk.emulator.staging import BATCH_ID
from rfbulk.emulator.state import MULTIPART_BATCH, SHARDED_BATCH, SIMPLE_BATCH
from rfbulk.emulator.tarscan import IMAGE_EXTENSIONS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rfbulk.emulator.service import Service


@dataclass(frozen=True, slots=True)
class Made:
    """So many bytes that follow from the seed; they are made whenever they are asked for, and kept nowhere."""

    size: int
    seed: int = 0


Content = bytes | Path | Made | Place
"""A file's bytes: given; made on demand; there already; or a file's, which is served from where it is and must stay."""


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be put into a batch."""

    name: str
    content: Content
    shard_id: str | None = None
    content_type: str | None = None
    nested_content_type: str | None = None


NewFiles = Sequence[NewFile | tuple[str, Content]]


@dataclass(frozen=True, slots=True)
class NewPart:
    """A part to be put into a multipart batch; what is not said of it follows from its files' names."""

    files: NewFiles
    content_type: str | None = None
    nested_content_type: str | None = None
    description: str | None = None
    part_type: str = SIMPLE_BATCH


NewParts = Mapping[str, NewPart | NewFiles]


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to be made, or to be added to: of parts, or of files alone."""

    batch_id: str
    parts: NewParts | None = None
    files: NewFiles = ()
    display_name: str | None = None
    content_type: str | None = None


async def add_batch(service: Service, new: NewBatch) -> None:
    """Make a batch, or add to it.

    Raises:
        ValueError: it has both parts and files, its name is no batch's, or the batch exists and is of the other kind.
    """
    if not BATCH_ID.fullmatch(new.batch_id):
        raise ValueError(f"batch id must match ^[a-z0-9_-]{{1,64}}$: {new.batch_id!r}")
    files = _as_files(new.files)
    kind = MULTIPART_BATCH if new.parts is not None else _kind_of(files)
    if new.parts is not None and files:
        raise ValueError("a batch holds parts or files, not both")
    parts = {name: _as_part(part) for name, part in (new.parts or {}).items()}
    await _ensure(service, new, kind, [*files, *(each for part in parts.values() for each in _as_files(part.files))])
    for name, part in parts.items():
        inner = _as_files(part.files)
        about = part.content_type or content_type_of(inner)
        nested = part.nested_content_type
        await service.record(PartAdded(new.batch_id, name, part.part_type, about, part.description, nested))
        await add_files(service, new.batch_id, inner, name)
    if files:
        await add_files(service, new.batch_id, files, None)


async def add_files(service: Service, batch_id: str, files: Sequence[NewFile], part: str | None) -> None:
    """Put files into a batch that is there, or into its part. Small ones share an object of the store."""
    given = [each for each in files if isinstance(each.content, bytes)]
    shared = service.new_key()
    if given:
        await service.shelf.put(shared, _contents(given))
    stored, links, offset = [], dict[str, str](), 0
    for each in files:
        match each.content:
            case bytes():
                stored.append(_stored(each, shared, len(each.content), offset))
                offset += len(each.content)
            case Place():
                stored.append(_stored(each, each.content.key, each.content.size, each.content.offset))
            case Made():
                key = made_key(each.content.size, each.content.seed, service.new_generation())
                stored.append(_stored(each, key, each.content.size))
            case Path():
                key = service.new_key()
                links[key] = str(await to_thread.run_sync(each.content.resolve))
                stored.append(_stored(each, key, (await to_thread.run_sync(each.content.stat)).st_size))
    await service.record(FilesAdded(batch_id, tuple(stored), part, links))


def content_type_of(files: Sequence[NewFile]) -> str:
    """Return what the service would say that files of such names are."""
    kinds = {_kind_by_name(each.name) for each in files}
    return kinds.pop() if len(kinds) == 1 else "mixed" if kinds else "metadata"


async def _ensure(service: Service, new: NewBatch, kind: str, files: Sequence[NewFile]) -> None:
    present = service.state.batches.get(new.batch_id)
    if present is None:
        about = new.content_type or content_type_of(files)
        name = new.display_name or new.batch_id
        await service.record(BatchCreated(new.batch_id, name, kind, about, service.clock.now()))
    elif (present.batch_type == MULTIPART_BATCH) != (kind == MULTIPART_BATCH):
        raise ValueError(f"batch {new.batch_id} is a {present.batch_type}")


def _as_part(part: NewPart | NewFiles) -> NewPart:
    return part if isinstance(part, NewPart) else NewPart(part)


def _as_files(files: NewFiles) -> list[NewFile]:
    return [each if isinstance(each, NewFile) else NewFile(*each) for each in files]


def _kind_of(files: Sequence[NewFile]) -> str:
    return SHARDED_BATCH if any(each.shard_id is not None for each in files) else SIMPLE_BATCH


def _kind_by_name(name: str) -> str:
    if name.endswith((".tar", ".tar.gz")):
        return "archives"
    return "images" if name.rpartition(".")[2].lower() in IMAGE_EXTENSIONS else "metadata"


def _stored(each: NewFile, key: str, size: int, offset: int = 0) -> StoredFile:
    about = (each.shard_id, each.content_type, each.nested_content_type)
    return StoredFile(each.name, key, size, offset, b"", *about)


async def _contents(files: Sequence[NewFile]) -> AsyncIterator[bytes]:
    for each in files:
        if isinstance(each.content, bytes):
            yield each.content
