"""The bodies that ask for ingests, and what the service answers to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import msgspec

from rfbulk.core.wire import Named, parse_as

if TYPE_CHECKING:
    from rfbulk.core.references import MediaKind, Reference

IngestKind: TypeAlias = Literal["images", "videos", "query"]


@dataclass(frozen=True, slots=True)
class Telling:
    """Who is to be told of an ingest, and of what (no category named: the service's default)."""

    url: str | None = None
    categories: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestBody:
    """One request: what it fills a batch with, and its JSON, which may hold signed URLs."""

    kind: IngestKind
    data: bytes = field(repr=False)


class IngestAnswer(msgspec.Struct, frozen=True, rename="camel"):
    """What the service says to it. `duplicated`: it had accepted an ingest of this name before."""

    ingest_id: Named
    duplicated: bool = False
    shard_ids: tuple[str, ...] = ()


def references_body(
    kind: MediaKind, references: Sequence[Reference], urls: Sequence[str], ingest_id: str, telling: Telling
) -> IngestBody:
    """Return the request for some references, whose URLs are given beside them."""
    rows = [{"name": each.name, "url": url} for each, url in zip(references, urls, strict=True)]
    return _body(kind, {f"{kind[:-1]}References": rows}, ingest_id, telling)


def list_body(kind: MediaKind, url: str, ingest_id: str, telling: Telling) -> IngestBody:
    """Return the request for a list that the service is to fetch."""
    return _body(kind, {f"{kind[:-1]}ReferencesURL": url}, ingest_id, telling)


def query_body(query: str, display_name: str, ingest_id: str, telling: Telling) -> IngestBody:
    """Return the request for what a RoboQL query finds."""
    return _body("query", {"query": query, "displayName": display_name}, ingest_id, telling)


def parse_ingest(body: bytes) -> IngestAnswer:
    """Return what the service says to an ingest of references."""
    return parse_as(body, IngestAnswer, "read ingest")


def _body(kind: IngestKind, values: dict[str, Any], ingest_id: str, telling: Telling) -> IngestBody:
    values["ingestId"] = ingest_id
    if telling.url is not None:
        values["notificationsURL"] = telling.url
    if telling.categories:
        values["notificationCategories"] = telling.categories
    return IngestBody(kind, msgspec.json.encode(values))
