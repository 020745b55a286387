"""What the stages of a job leave behind: batches of parts, of results and then of archives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from anyio import to_thread

from rfbulk.emulator.adding import NewBatch, NewFile, NewPart, add_batch
from rfbulk.emulator.archives import tar_gz
from rfbulk.emulator.events import BatchRemoved
from rfbulk.emulator.shelf import Place

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from rfbulk.emulator.events import StoredFile
    from rfbulk.emulator.jobs.examining import Finding
    from rfbulk.emulator.jobs.inputs import Input
    from rfbulk.emulator.jobs.state import Job
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.shelf import Shelf

# An archive is made in memory.
_ARCHIVE_BYTES = 32 * 1024 * 1024
_ARCHIVE_FILES = 500
_DEFAULT_OUTPUT = "visualization"


@dataclass(frozen=True, slots=True)
class TaskOutput:
    """What one task read, found, and wrote as a table."""

    inputs: Sequence[Input]
    findings: Sequence[Finding]
    table: bytes


@dataclass(frozen=True, slots=True)
class Archive:
    """The files that share an archive."""

    part: str
    number: int
    files: Sequence[StoredFile]

    @property
    def name(self) -> str:
        """How the archive is called."""
        return f"{self.part}-{self.number:04}.tar.gz"


async def write_results(service: Service, job: Job, outputs: Sequence[tuple[int, TaskOutput]], batch_id: str) -> None:
    """Make the batch of results: tables by task, and the images that shall be kept, which are the inputs' own."""
    form = form_of(job)
    tables = [NewFile(f"results-{number:04}.{form}", out.table, f"task-{number:04}") for number, out in outputs]
    parts = {"results": NewPart(tables, content_type="metadata", description="What the workflow found")}
    for name in _kept_outputs(job):
        images = [image for number, out in outputs for image in _images(number, out)]
        parts[name] = NewPart(images, content_type="images", description=f"Images of the output {name}")
    await _remake(service, NewBatch(batch_id, parts, display_name=f"{job.name}: results", content_type="mixed"))


def plan_archives(service: Service, batch_id: str) -> list[Archive]:
    """Return the archives that a batch's parts become."""
    archives = []
    for name, part in service.state.batches[batch_id].parts.items():
        archives += [Archive(name, number, files) for number, files in enumerate(_groups(part.files))]
    return archives


async def write_archive(service: Service, archive: Archive) -> Place:
    """Make one archive and keep it; the same files always make the same bytes."""
    key = service.new_key()
    content = await to_thread.run_sync(lambda: tar_gz(_contents(service.shelf, archive.files)))
    await service.shelf.put(key, _whole(content))
    return Place(key, 0, len(content))


async def write_export(
    service: Service, job: Job, source: str, archives: Sequence[tuple[Archive, Place]], batch_id: str
) -> None:
    """Make the batch of archives, with a part for each part of its source."""
    parts: dict[str, NewPart] = {}
    for name, part in service.state.batches[source].parts.items():
        files = [NewFile(archive.name, place) for archive, place in archives if archive.part == name]
        about = f"{part.about.description}, packed"
        parts[name] = NewPart(files, "archives", nested_content_type=part.about.content_type, description=about)
    await _remake(service, NewBatch(batch_id, parts, display_name=f"{job.name}: export", content_type="archives"))


async def _remake(service: Service, new: NewBatch) -> None:
    # A process that was killed may have left half of it.
    if new.batch_id in service.state.batches:
        await service.record(BatchRemoved(new.batch_id))
    await add_batch(service, new)


def form_of(job: Job) -> str:
    """Return the format of a job's tables."""
    return str(job.specification.get("aggregationFormat") or "jsonl")


def _kept_outputs(job: Job) -> list[str]:
    if not job.specification.get("persistImagesOutputs"):
        return []
    named = job.specification.get("imagesOutputsToBePersisted")
    return [str(name) for name in named] if isinstance(named, list) and named else [_DEFAULT_OUTPUT]


def _images(number: int, output: TaskOutput) -> Iterator[NewFile]:
    for each, finding in zip(output.inputs, output.findings, strict=True):
        if finding.error is None:
            yield NewFile(each.name, each.place, f"task-{number:04}")


def _groups(files: Sequence[StoredFile]) -> Iterator[list[StoredFile]]:
    group: list[StoredFile] = []
    size = 0
    for each in files:
        if group and (size + each.size > _ARCHIVE_BYTES or len(group) == _ARCHIVE_FILES):
            yield group
            group, size = [], 0
        group.append(each)
        size += each.size
    if group:
        yield group


def _contents(shelf: Shelf, files: Sequence[StoredFile]) -> Iterator[tuple[str, bytes]]:
    for each in files:
        yield each.name, b"".join(shelf.pieces(Place(each.key, each.offset, each.size)))


async def _whole(content: bytes) -> AsyncIterator[bytes]:
    yield content
