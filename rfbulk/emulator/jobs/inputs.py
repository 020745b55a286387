"""What a job reads: the files of a staged batch, or of one of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator.answers import ApiError
from rfbulk.emulator.jobs.body import CompilationJob, VideosJob
from rfbulk.emulator.shelf import Place
from rfbulk.emulator.state import MULTIPART_BATCH, unpack_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rfbulk.emulator.events import StoredFile
    from rfbulk.emulator.jobs.body import AnyJob, JobInput
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.state import Batch


@dataclass(frozen=True, slots=True)
class Input:
    """One image or video. A reference has a `url` instead of bytes."""

    name: str
    place: Place
    url: str | None = None


def read_inputs(batch: Batch, part: str | None) -> list[Input]:
    """Return what is in a batch, or in its part, in the order of its listing."""
    if part is not None:
        return [_input(each) for each in batch.parts[part].files]
    return [*(_input(each) for each in batch.files), *_members(batch)]


def check_job(service: Service, job: AnyJob) -> None:
    """Let a job pass that can be done here.

    Raises:
        ApiError: 400, it names what is not there; the text says where.
    """
    if isinstance(job, CompilationJob):
        return
    if job.processing_specification.workspace != service.options.workspace:
        raise ApiError(
            400, "the workflow must be of the api key's workspace - at `$.processingSpecification.workspace`"
        )
    batch = service.state.batches.get(job.job_input.batch_id)
    if batch is None:
        raise ApiError(400, f"batch {job.job_input.batch_id} does not exist - at `$.jobInput.batchId`")
    _check_part(batch, job.job_input)
    kind = "videos" if isinstance(job, VideosJob) else "images"
    if batch.batch_type != MULTIPART_BATCH and batch.content_type != kind:
        raise ApiError(400, f"batch {batch.batch_id} holds {batch.content_type}, not {kind} - at `$.jobInput.batchId`")


def _check_part(batch: Batch, asked: JobInput) -> None:
    parts = {"partName": asked.part_name, "imagesMetadataPart": asked.images_metadata_part}
    for field, name in parts.items():
        if name is not None and name not in batch.parts:
            raise ApiError(400, f"batch {batch.batch_id} has no part {name} - at `$.jobInput.{field}`")
    if asked.part_name is None and batch.batch_type == MULTIPART_BATCH:
        raise ApiError(400, f"batch {batch.batch_id} has parts: one must be named - at `$.jobInput.partName`")


def _input(each: StoredFile) -> Input:
    return Input(each.name, Place(each.key, each.offset, each.size), each.url)


def _members(batch: Batch) -> Iterator[Input]:
    for content in batch.contents:
        for member in unpack_members(content.members):
            yield Input(member.name, Place(content.key, member.offset, member.size))
