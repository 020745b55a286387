"""The Data Staging API: one method per call, one attempt per method, its answers as records or our own errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from rfbulk.core import wire
from rfbulk.edge.calling import DATA_STAGING, MAX_LISTING_BYTES, Call, Caller, page_query

if TYPE_CHECKING:
    from rfbulk.core.model import BatchId, Grant
    from rfbulk.core.secrets import ApiKey
    from rfbulk.edge.transport import Streamed, Transport

T = TypeVar("T")


class ServiceApi:
    """Data Staging of one workspace.

    Every method makes one attempt and raises:

    - `TroublePassing`: no answer, or 408, 429, 5xx; with `status` and `retry_after`
    - `NotAuthorised`: 401, 402, 403
    - `ServiceRefused`: any other status that is no success
    - `ProtocolError`: an answer outside the documented shape
    """

    def __init__(
        self,
        transport: Transport,
        base_url: str,
        api_key: ApiKey,
        workspace: str | None = None,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.caller = Caller(transport, base_url, api_key, workspace, now=now)

    @property
    def server_offset(self) -> float:
        """How far the server's clock was ahead of ours at its last answer, in seconds."""
        return self.caller.server_offset

    def server_now(self) -> float:
        """Return the seconds since the epoch by the server's clock, by ours until it has answered once."""
        return self.caller.server_now()

    async def workspace(self) -> str:
        """Return the workspace of the key, looked up once."""
        return await self.caller.workspace()

    async def request_shard_grant(self, batch: BatchId, display_name: str) -> Grant:
        """Register a new shard, creating the batch if need be, and return the permission to send it."""
        call = Call(
            "get a grant for",
            f"batch {batch}",
            ("batches", batch, "bulk-upload", "image-files"),
            {"displayName": display_name},
            method="POST",
        )
        return await self._grant(call)

    async def request_video_grant(self, batch: BatchId, name: str, display_name: str) -> Grant:
        """Return the permission to send one video, creating the batch if need be."""
        call = Call(
            "get a grant for",
            f"a video of batch {batch}",
            ("batches", batch, "upload", "video"),
            {"fileName": name, "displayName": display_name},
            method="POST",
        )
        return await self._grant(call)

    async def _grant(self, call: Call) -> Grant:
        allow_http = self.caller.allow_http
        return await self._in_workspace(call, lambda body: wire.parse_grant(body, allow_http=allow_http))

    async def post_image(
        self, batch: BatchId, name: str, display_name: str, body: Streamed, answer_seconds: float
    ) -> None:
        """Send one image into a batch of single images, creating the batch if need be."""
        call = Call(
            "upload",
            f"an image to batch {batch}",
            ("batches", batch, "upload", "image"),
            {"fileName": name, "displayName": display_name},
            method="POST",
            body=body,
            answer_seconds=answer_seconds,
        )
        await self._in_workspace(call, wire.parse_object)

    async def batch(self, batch: BatchId) -> wire.BatchMetadata | None:
        """Describe a batch, None if there is none."""
        return await self._if_there(Call("show", f"batch {batch}", ("batches", batch)), wire.parse_batch)

    async def count(self, batch: BatchId, part: str | None = None) -> int | None:
        """Count what a batch, or one part of it, holds; None if there is no batch."""
        call = Call("count", f"batch {batch}", ("batches", batch, "count"), {"partName": part})
        return await self._if_there(call, wire.parse_count)

    async def batches_page(
        self, token: str | None = None, page_size: int | None = None
    ) -> wire.Page[wire.BatchMetadata]:
        """List one page of the workspace's batches."""
        call = Call("list", "batches", ("batches",), page_query(token, page_size), max_bytes=MAX_LISTING_BYTES)
        return await self._in_workspace(call, wire.parse_batches_page)

    async def shards_page(
        self, batch: BatchId, token: str | None = None, page_size: int | None = None
    ) -> wire.Page[wire.ShardStatus]:
        """List one page of a batch's shards."""
        path = ("batches", batch, "shards")
        call = Call("list shards of", f"batch {batch}", path, page_query(token, page_size), max_bytes=MAX_LISTING_BYTES)
        return await self._in_workspace(call, wire.parse_shards_page)

    async def files_page(
        self, batch: BatchId, part: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> wire.Page[wire.RemoteFile]:
        """List one page of a batch's files, or of one part's."""
        query = {"partName": part, **page_query(token, page_size)}
        path = ("batches", batch, "list")
        call = Call("list files of", f"batch {batch}", path, query, max_bytes=MAX_LISTING_BYTES)
        return await self._in_workspace(call, wire.parse_files_page)

    async def parts(self, batch: BatchId) -> tuple[wire.BatchPart, ...]:
        """List the parts of a multipart batch."""
        path = ("batches", batch, "parts")
        call = Call("list parts of", f"batch {batch}", path, max_bytes=MAX_LISTING_BYTES)
        return await self._in_workspace(call, wire.parse_parts)

    async def _if_there(self, call: Call, parse: Callable[[bytes], T]) -> T | None:
        return await self.caller.if_there(DATA_STAGING, call, parse)

    async def _in_workspace(self, call: Call, parse: Callable[[bytes], T]) -> T:
        return await self.caller.in_workspace(DATA_STAGING, call, parse)
