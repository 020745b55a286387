"""The store behind the upload URLs: objects come in by PUT, each exactly as it was granted.

An object appears only if all of its bytes came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from uuid import uuid4

import anyio
from aiohttp import web

from rfbulk.emulator.access import check_signature
from rfbulk.emulator.answers import StoreError
from rfbulk.emulator.bodies import BODY_FAULT_KEY, Checksums, crc32c_base64, new_checksums, read_body
from rfbulk.emulator.events import ObjectStored

if TYPE_CHECKING:
    from rfbulk.emulator.indexing import Indexer
    from rfbulk.emulator.service import Service
    from rfbulk.emulator.storage import ObjectWriter

_LENGTH_RANGE = "x-goog-content-length-range"
_GENERATION_MATCH = "x-goog-if-generation-match"


@dataclass(frozen=True, slots=True)
class StorageApi:
    """The handlers of signed URLs."""

    service: Service
    indexer: Indexer

    async def put(self, request: web.Request) -> web.StreamResponse:
        """Store one object."""
        check_signature(self.service, request)
        object_name = request.match_info["object_name"]
        if object_name not in self.service.state.uploads:
            raise StoreError(404, "NoSuchUpload", "Nothing was granted here.")
        _check_length(request)
        self._check_generation(request, object_name)
        return await self._receive(request, object_name)

    async def _receive(self, request: web.Request, object_name: str) -> web.Response:
        generation = self.service.new_generation()
        key = f"{uuid4().hex}.{generation}"
        writer = await self.service.store.open_writer(key)
        try:
            sums = await self._stream(request, writer)
            stored = self._describe(object_name, key, generation, sums)
            if _is_kept(request):
                await self._commit(request, writer, stored)
        finally:
            with anyio.CancelScope(shield=True):
                await writer.abort()
        return _stored_answer(request, stored)

    async def _stream(self, request: web.Request, writer: ObjectWriter) -> Checksums:
        sums = new_checksums(with_md5=self.service.options.md5)
        async for chunk in read_body(request):
            sums.update(chunk)
            await writer.write(chunk)
        if sums.size != request.content_length:
            raise StoreError(400, "IncompleteBody", "The body ended before its Content-Length.")
        return sums

    def _describe(self, object_name: str, key: str, generation: int, sums: Checksums) -> ObjectStored:
        now = self.service.clock.now()
        return ObjectStored(object_name, key, generation, sums.size, sums.crc32c, now, sums.md5_base64)

    async def _commit(self, request: web.Request, writer: ObjectWriter, stored: ObjectStored) -> None:
        scan = await writer.commit()
        try:
            # Another PUT may have come first; between this look and the record nothing is awaited.
            self._check_generation(request, stored.object_name)
        except StoreError:
            await self.service.store.remove(stored.key)
            raise
        await self.service.record(stored)
        self.indexer.submit(stored, scan)

    def _check_generation(self, request: web.Request, object_name: str) -> None:
        if request.headers.get(_GENERATION_MATCH) == "0" and object_name in self.service.state.objects:
            raise StoreError(412, "PreconditionFailed", "At least one of the pre-conditions did not hold.")


def _check_length(request: web.Request) -> None:
    length = request.content_length
    if length is None or "Transfer-Encoding" in request.headers:
        raise StoreError(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if _LENGTH_RANGE in request.headers:
        least, most = (int(bound) for bound in request.headers[_LENGTH_RANGE].split(","))
        if length > most:
            _refuse_size("EntityTooLarge", "Your proposed upload exceeds the maximum allowed object size.")
        if length < least:
            _refuse_size("EntityTooSmall", "Your proposed upload is smaller than the minimum allowed object size.")


def _refuse_size(code: str, message: str) -> NoReturn:
    raise StoreError(400, code, message)


def _is_kept(request: web.Request) -> bool:
    fault = request.get(BODY_FAULT_KEY)
    return fault is None or fault.action != "corrupt" or fault.keep


def _stored_answer(request: web.Request, stored: ObjectStored) -> web.Response:
    fault = request.get(BODY_FAULT_KEY)
    is_lying = fault is not None and fault.action == "wrong-hash"
    answer = web.Response(headers={"ETag": f'"{stored.key}"', "x-goog-generation": str(stored.generation)})
    answer.headers.add("x-goog-stored-content-length", str(stored.size))
    # The store sends each hash in a header line of its own.
    answer.headers.add("x-goog-hash", f"crc32c={crc32c_base64(stored.crc32c ^ is_lying)}")
    if stored.md5:
        answer.headers.add("x-goog-hash", f"md5={stored.md5}")
    return answer
