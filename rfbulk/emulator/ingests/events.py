"""What can happen to ingests, as small records. They are journaled, so their fields are a format."""

from __future__ import annotations

import msgspec


class IngestShard(msgspec.Struct, frozen=True, array_like=True):
    """References that share a shard (videos have none): names and URLs. With a `failure`, it will come to nothing."""

    shard_id: str | None
    references: tuple[tuple[str, str], ...]
    failure: str | None = None


class IngestAccepted(msgspec.Struct, frozen=True, tag="ingest"):
    """An ingest was accepted: of `references`, or by a `query`."""

    batch_id: str
    ingest_id: str
    shards: tuple[IngestShard, ...]
    at: float
    query: str | None = None
    notifications_url: str | None = None
    categories: tuple[str, ...] = ()


class IngestEnded(msgspec.Struct, frozen=True, tag="ingest-ended"):
    """What an ingest brought is in its batch; a query's files were added before, and are only counted here."""

    batch_id: str
    ingest_id: str
    at: float
    found: int = 0


IngestEvent = IngestAccepted | IngestEnded
