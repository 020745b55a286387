"""The API of ingests that need no upload. Nothing is fetched: references are kept as such."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rfbulk.emulator.answers import ApiError, json_answer
from rfbulk.emulator.ingests.body import Asked, ingest_id_of, read_query, read_references
from rfbulk.emulator.ingests.events import IngestAccepted, IngestShard
from rfbulk.emulator.staging import batch_id_of, ensure_batch
from rfbulk.emulator.state import SHARDED_BATCH, SIMPLE_BATCH
from rfbulk.emulator.webhooks.config import known_categories

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from rfbulk.emulator.ingests.running import Ingester
    from rfbulk.emulator.service import Service

# Lists of references are long.
_MAX_BODY_BYTES = 64 * 1024 * 1024
_SHARD_REFERENCES = 500
_NOT_FETCHED = "the list was not fetched: the emulator is offline"


@dataclass(frozen=True, slots=True)
class IngestApi:
    """The handlers of ingests; each takes a request that has been authorised."""

    service: Service
    ingester: Ingester

    async def images(self, request: web.Request) -> web.Response:
        """Take references to images; they come into shards."""
        accepted = await self._references(request, videos=False)
        shards = [shard.shard_id for shard in accepted[0].shards]
        return json_answer({"shardIds": shards, "ingestId": accepted[0].ingest_id, "duplicated": accepted[1]})

    async def videos(self, request: web.Request) -> web.Response:
        """Take references to videos."""
        accepted = await self._references(request, videos=True)
        return json_answer({"ingestId": accepted[0].ingest_id, "duplicated": accepted[1]})

    async def roboql(self, request: web.Request) -> web.Response:
        """Take a query; its batch fills later, with samples."""
        body = await _body(request)
        try:
            asked = read_query(body)
        except ValueError as error:
            raise ApiError(400, f"invalid query: {error}") from None
        batch_id, ingest_id = batch_id_of(request), ingest_id_of(asked, body)
        if (batch_id, ingest_id) not in self.service.state.ingests:
            await ensure_batch(self.service, request, SHARDED_BATCH, "images", asked.display_name)
            shards = (IngestShard(_shard_id(batch_id, ingest_id, 0), ()),)
            await self._accept(batch_id, ingest_id, shards, asked.notifications_url, None, asked.query)
        return json_answer({"status": "ok", "ingestId": ingest_id})

    async def _references(self, request: web.Request, *, videos: bool) -> tuple[IngestAccepted, bool]:
        body = await _body(request)
        try:
            asked = read_references(body, videos=videos)
        except ValueError as error:
            raise ApiError(400, f"invalid references: {error}") from None
        batch_id, ingest_id = batch_id_of(request), ingest_id_of(asked, body)
        present = self.service.state.ingests.get((batch_id, ingest_id))
        if present is not None:
            return present, True
        kind = (SIMPLE_BATCH, "videos") if videos else (SHARDED_BATCH, "images")
        await ensure_batch(self.service, request, *kind)
        shards = (_one(asked),) if videos else tuple(_shards(asked, batch_id, ingest_id))
        await self._accept(batch_id, ingest_id, shards, asked.notifications_url, asked.notification_categories, None)
        return self.service.state.ingests[batch_id, ingest_id], False

    async def _accept(
        self,
        batch_id: str,
        ingest_id: str,
        shards: tuple[IngestShard, ...],
        url: str | None,
        categories: list[str] | None,
        query: str | None,
    ) -> None:
        told = tuple(known_categories(categories))
        now = self.service.clock.now()
        accepted = IngestAccepted(batch_id, ingest_id, shards, now, query, url, told)
        await self.service.record(accepted)
        self.ingester.submit(accepted)


async def _body(request: web.Request) -> bytes:
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise ApiError(413, f"the body is larger than {_MAX_BODY_BYTES} bytes")
    return bytes(body)


def _one(asked: Asked) -> IngestShard:
    pairs = tuple((each.name, each.url) for each in asked.references or ())
    return IngestShard(None, pairs, _NOT_FETCHED if asked.references is None else None)


def _shards(asked: Asked, batch_id: str, ingest_id: str) -> Iterator[IngestShard]:
    whole = _one(asked)
    for number, at in enumerate(range(0, max(len(whole.references), 1), _SHARD_REFERENCES)):
        pairs = whole.references[at : at + _SHARD_REFERENCES]
        yield IngestShard(_shard_id(batch_id, ingest_id, number), pairs, whole.failure)


def _shard_id(batch_id: str, ingest_id: str, number: int) -> str:
    return hashlib.sha256(f"{batch_id}/{ingest_id}/{number}".encode()).hexdigest()[:32]
