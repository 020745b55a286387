"""The Data Staging API: batches, shards, grants. It answers from the state and stores nothing itself but grants."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from rfbulk.emulator.answers import ApiError, json_answer, timestamp
from rfbulk.emulator.events import BatchCreated, UploadGranted
from rfbulk.emulator.listing import read_page
from rfbulk.emulator.state import SHARDED_BATCH, SIMPLE_BATCH

if TYPE_CHECKING:
    from aiohttp import web

    from rfbulk.emulator.service import Service
    from rfbulk.emulator.state import Batch, Shard

BATCH_ID = re.compile(r"[a-z0-9_-]{1,64}")
_BATCH_LIFE_SECONDS = 7 * 24 * 3600
_VIDEO_EXTENSIONS = frozenset("mp4 m4a m4p m4b m4r m4v avi mov mkv flv wmv mpeg mpg 3gp webm ogg".split())  # noqa: SIM905 - read as the service documents them
# registered and uploaded are still going
_STATUS_TYPES = {"registered": "info", "uploaded": "info", "indexed": "success", "failed": "error"}


def batch_id_of(request: web.Request) -> str:
    """Return the batch that a request's path names.

    Raises:
        ApiError: 400, it cannot be the name of a batch.
    """
    batch_id = request.match_info["batch_id"]
    if not BATCH_ID.fullmatch(batch_id):
        raise ApiError(400, "batch id must match ^[a-z0-9_-]{1,64}$")
    return batch_id


def batch_of(service: Service, request: web.Request) -> Batch:
    """Return the batch that a request's path names.

    Raises:
        ApiError: 404, there is none.
    """
    batch_id = batch_id_of(request)
    batch = service.state.batches.get(batch_id)
    if batch is None:
        raise ApiError(404, f"batch {batch_id} does not exist")
    return batch


async def ensure_batch(
    service: Service, request: web.Request, batch_type: str, content_type: str, display_name: str | None = None
) -> Batch:
    """Return the request's batch; it comes into being with the first request that brings something.

    Raises:
        ApiError: 409, the batch is of another type.
    """
    batch_id = batch_id_of(request)
    batch = service.state.batches.get(batch_id)
    if batch is None:
        name = display_name or request.query.get("displayName") or batch_id
        await service.record(BatchCreated(batch_id, name, batch_type, content_type, service.clock.now()))
        return service.state.batches[batch_id]
    if (batch.batch_type, batch.content_type) != (batch_type, content_type):
        raise ApiError(409, f"batch {batch_id} is a {batch.batch_type} of {batch.content_type}")
    return batch


@dataclass(frozen=True, slots=True)
class StagingApi:
    """The handlers of the API; each takes a request that has been authorised."""

    service: Service

    async def workspace(self, request: web.Request) -> web.Response:  # noqa: ARG002 - the key was all it said
        """Tell the workspace of the api key."""
        name = self.service.options.workspace
        return json_answer({"workspace": name, "welcome": "This is the rfbulk emulator."})

    async def list_batches(self, request: web.Request) -> web.Response:
        """List batches in the order of their making."""
        batches = list(self.service.state.batches.values())
        page = read_page(self.service, request, "batches")
        return page.answer("batches", [_metadata(batch) for batch in batches[page.start : page.end]], len(batches))

    async def batch(self, request: web.Request) -> web.Response:
        """Describe one batch."""
        return json_answer({"batch": _metadata(batch_of(self.service, request))})

    async def shards(self, request: web.Request) -> web.Response:
        """List the statuses of a batch's shards."""
        batch = batch_of(self.service, request)
        rows = [shard for shard in batch.shards if shard.puts or self.service.options.list_unfilled_shards]
        page = read_page(self.service, request, f"shards/{batch.batch_id}")
        return page.answer("shards", [_shard_row(shard) for shard in rows[page.start : page.end]], len(rows))

    async def grant_shard(self, request: web.Request) -> web.Response:
        """Register a new shard; every call registers another."""
        batch = await ensure_batch(self.service, request, SHARDED_BATCH, "images")
        shard_id = uuid4().hex
        name = f"{batch.batch_id}/{shard_id}.tar" if self.service.options.shard_id_in_url else f"{uuid4().hex}.tar"
        return await self._grant(UploadGranted(batch.batch_id, shard_id, f"uploads/{name}", self.service.clock.now()))

    async def grant_video(self, request: web.Request) -> web.Response:
        """Grant the sending of one video."""
        name = file_name_of(request, _VIDEO_EXTENSIONS)
        batch = await ensure_batch(self.service, request, SIMPLE_BATCH, "videos")
        shard_id = uuid4().hex
        now = self.service.clock.now()
        return await self._grant(UploadGranted(batch.batch_id, shard_id, f"uploads/{shard_id}", now, name))

    async def _grant(self, upload: UploadGranted) -> web.Response:
        options = self.service.options
        await self.service.record(upload)
        headers = {}
        if options.states_limit_in_header:
            headers["x-goog-content-length-range"] = f"0,{options.max_shard_bytes}"
        if options.if_generation_match:
            headers["x-goog-if-generation-match"] = "0"
        details: dict[str, object] = {
            "uploadURL": self.service.upload_url(upload.object_name, headers),
            "extensionHeaders": headers,
        }
        if options.state_method:
            details["method"] = "PUT"
        if options.states_limit_in_field:
            details["maxFileSizeBytes"] = options.max_shard_bytes
        return json_answer({"status": "ok", "signedURLDetails": details})


def file_name_of(request: web.Request, extensions: frozenset[str]) -> str:
    """Return the plain file name that a request gives.

    Raises:
        ApiError: 400, there is none, or it cannot be a file of these kinds.
    """
    name = request.query.get("fileName", "")
    if not name or "/" in name or "\\" in name or "\0" in name:
        raise ApiError(400, "fileName must be a plain file name")
    stem, _, extension = name.rpartition(".")
    if not stem or extension.lower() not in extensions:
        raise ApiError(400, f"unsupported format: {name}")
    return name


def _metadata(batch: Batch) -> dict[str, object]:
    return {
        "displayName": batch.display_name,
        "batchId": batch.batch_id,
        "batchType": batch.batch_type,
        "batchContentType": batch.content_type,
        "createdDate": timestamp(batch.created_at),
        "expiryDate": timestamp(batch.created_at + _BATCH_LIFE_SECONDS),
    }


def _shard_row(shard: Shard) -> dict[str, object]:
    return {
        "shardId": shard.shard_id,
        "statusName": shard.status,
        "statusType": _STATUS_TYPES[shard.status],
        "eventTimestamp": timestamp(shard.event_at),
        "shardObjectsCount": shard.indexed,
        "statusMetadata": _status_metadata(shard),
    }


def _status_metadata(shard: Shard) -> dict[str, object]:
    if shard.failure:
        return {"errorDetails": {"type": "invalid-archive", "reason": shard.failure}}
    if shard.failed:
        failed = [{"type": "invalid-file", "fileName": name, "reason": reason} for name, reason in shard.failed]
        return {"failedFiles": failed}
    return {}
