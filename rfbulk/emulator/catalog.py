"""What is in a batch and where to download it: files, parts, counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator.answers import ApiError, json_answer
from rfbulk.emulator.listing import read_page
from rfbulk.emulator.shelf import Place
from rfbulk.emulator.staging import batch_of
from rfbulk.emulator.state import MULTIPART_BATCH, unpack_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from rfbulk.emulator.events import StoredFile
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.state import Batch, Part


@dataclass(frozen=True, slots=True)
class CatalogApi:
    """The handlers of listings; each takes a request that has been authorised."""

    service: Service

    async def count(self, request: web.Request) -> web.Response:
        """Count the files of a batch or of one of its parts."""
        batch, part = self._place(request)
        if part is not None:
            return json_answer({"count": len(part.files)})
        return json_answer({"count": getattr(batch, self.service.options.count_mode)})

    async def parts(self, request: web.Request) -> web.Response:
        """List the parts of a multipart batch."""
        batch = batch_of(self.service, request)
        if batch.batch_type != MULTIPART_BATCH:
            raise ApiError(400, f"batch {batch.batch_id} is not a multipart batch")
        return json_answer({"batchParts": [_part_row(part) for part in batch.parts.values()]})

    async def list_files(self, request: web.Request) -> web.Response:
        """List the files of a batch or of one of its parts, with signed download URLs."""
        batch, part = self._place(request)
        if part is None and batch.batch_type == MULTIPART_BATCH:
            raise ApiError(400, f"batch {batch.batch_id} is a multipart batch: partName is required")
        about = batch.batch_id if part is None else f"{batch.batch_id}/{part.about.name}"
        page = read_page(self.service, request, f"list/{about}")
        if part is None:
            return page.answer("filesMetadata", list(self._files(batch, page.start, page.end)), batch.indexed)
        rows = [self._part_file(part, each) for each in part.files[page.start : page.end]]
        return page.answer("filesMetadata", rows, len(part.files))

    def _place(self, request: web.Request) -> tuple[Batch, Part | None]:
        batch = batch_of(self.service, request)
        name = request.query.get("partName")
        if name is None:
            return batch, None
        if batch.batch_type != MULTIPART_BATCH:
            raise ApiError(400, f"batch {batch.batch_id} is not a multipart batch")
        if name not in batch.parts:
            raise ApiError(404, f"batch {batch.batch_id} has no part {name}")
        return batch, batch.parts[name]

    def _files(self, batch: Batch, start: int, end: int) -> Iterator[dict[str, object]]:
        content_type = batch.content_type.removesuffix("s")
        for each in batch.files[start:end]:
            yield self._file(each, content_type)
        passed = len(batch.files)
        for content in batch.contents:
            first, last = max(start - passed, 0), min(end - passed, content.count)
            passed += content.count
            for member in unpack_members(content.members)[first:last] if first < last else ():
                place = Place(content.key, member.offset, member.size)
                yield {
                    "downloadURL": self.service.download_url(place, member.name),
                    "fileName": member.name,
                    "contentType": content_type,
                    "shardId": content.shard_id,
                }

    def _part_file(self, part: Part, each: StoredFile) -> dict[str, object]:
        row = self._file(each, part.about.content_type.removesuffix("s"))
        return {**row, "partName": part.about.name}

    def _file(self, each: StoredFile, content_type: str) -> dict[str, object]:
        row: dict[str, object] = {
            "downloadURL": each.url or self.service.download_url(Place(each.key, each.offset, each.size), each.name),
            "fileName": each.name,
            "contentType": each.content_type or content_type,
        }
        if each.shard_id is not None:
            row["shardId"] = each.shard_id
        if each.nested_content_type is not None:
            row["nestedContentType"] = each.nested_content_type
        return row


def file_places(batch: Batch, part: str | None) -> dict[str, Place]:
    """Return where the contents of a batch's or a part's files are; of equal names, the first.

    Raises:
        KeyError: there is no such part.
    """
    files = batch.files if part is None else batch.parts[part].files
    places = {each.name: Place(each.key, each.offset, each.size) for each in reversed(files)}
    for content in reversed(batch.contents if part is None else ()):
        for member in reversed(unpack_members(content.members)):
            places.setdefault(member.name, Place(content.key, member.offset, member.size))
    return places


def _part_row(part: Part) -> dict[str, object]:
    about = part.about
    row: dict[str, object] = {
        "partName": about.name,
        "partType": about.part_type,
        "contentType": about.content_type,
        "partDescription": about.description,
        "nestedContentType": about.nested_content_type,
    }
    return {name: value for name, value in row.items() if value is not None}
