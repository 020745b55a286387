"""What can happen to ingests, as small records. They are journaled, so their fields are a format."""

from __future__ import annotations

from urllib.parse import urlsplit

import msgspec


class IngestShard(msgspec.Struct, frozen=True, array_like=True):
    """References that share a shard (videos have none): names and URLs. With a `failure`, it will come to nothing."""

    shard_id: str | None
    references: tuple[tuple[str, str], ...]
    failure: str | None = None


def is_reachable(url: str) -> bool:
    """Tell whether a file elsewhere is taken to be there. Nothing is fetched: hosts below `.invalid` never exist."""
    return not (urlsplit(url).hostname or "").endswith(".invalid")


def unreachable(references: tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return the names of references that lead nowhere, and why they failed."""
    return tuple((name, "the file could not be fetched") for name, url in references if not is_reachable(url))


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
