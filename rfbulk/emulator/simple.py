"""Simple upload: one image a request, through the API itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from aiohttp import BodyPartReader, web

from rfbulk.emulator.answers import ApiError, json_answer
from rfbulk.emulator.events import FileStored
from rfbulk.emulator.staging import ensure_batch, file_name_of
from rfbulk.emulator.state import SIMPLE_BATCH
from rfbulk.emulator.tarscan import IMAGE_EXTENSIONS, MAX_IMAGE_BYTES, refusal

if TYPE_CHECKING:
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.storage import ObjectWriter

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class SimpleApi:
    """The handler of simple uploads."""

    service: Service

    async def image(self, request: web.Request) -> web.Response:
        """Take one image into a simple batch."""
        name = file_name_of(request, IMAGE_EXTENSIONS)
        part = await _only_part(request)
        if part.name not in {name, _escaped(name), "file"}:
            raise ApiError(400, "the form's field must be called like the file")
        batch = await ensure_batch(self.service, request, SIMPLE_BATCH, "images")
        mode = self.service.options.equal_names
        if mode == "fail" and name in set(batch.names()):
            raise ApiError(409, f"a file of this name is in the batch already: {name}")
        key = self.service.new_key()
        size = await self._store(part, key, name)
        sha256 = await self.service.store.sha256(key)
        now = self.service.clock.now()
        replaces = mode == "last-wins"
        await self.service.record(FileStored(batch.batch_id, name, key, size, sha256, now, instead=replaces))
        return json_answer({"status": "ok", "fileName": name})

    async def _store(self, part: BodyPartReader, key: str, name: str) -> int:
        writer = await self.service.store.open_writer(key)
        try:
            size = await _copy(part, writer)
            problem = refusal(name, size)
            if problem:
                raise ApiError(400, f"{problem}: {name}")
            await writer.commit()
        finally:
            with anyio.CancelScope(shield=True):
                await writer.abort()
        return size


def _escaped(name: str) -> str:
    """A name as forms write it: quotation marks and ends of lines would end it."""
    return name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


async def _only_part(request: web.Request) -> BodyPartReader:
    if not request.content_type.startswith("multipart/"):
        raise ApiError(400, "the body must be multipart/form-data")
    part = await (await request.multipart()).next()
    if not isinstance(part, BodyPartReader):
        raise ApiError(400, "the body must have one file part")
    return part


async def _copy(part: BodyPartReader, writer: ObjectWriter) -> int:
    size = 0
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        size += len(chunk)
        if size <= MAX_IMAGE_BYTES:  # what lies beyond is refused, not kept
            await writer.write(bytes(chunk))
    return size
