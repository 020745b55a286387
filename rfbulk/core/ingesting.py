"""The records of an ingest without upload: what is asked for in one request, and what became of each."""

from __future__ import annotations

import msgspec

from rfbulk.core.references import Reference
from rfbulk.core.report import Failure


class ReferenceGroup(msgspec.Struct):
    """What a source of references found next: those to ask for, what is named instead, and how many are counted."""

    references: list[Reference]
    refusals: list[Failure] = []
    skipped: int = 0


class PlannedRequest(msgspec.Struct, frozen=True):
    """One request as the checkpoint holds it: its number from 1, its name, and how many references it has."""

    number: int
    ingest_id: str
    references: int


class SortedReferences(msgspec.Struct):
    """References told apart.

    `new` were never in a request, `pending` are in one that may not have been accepted (by its number), `accepted`
    counts those that are in. `changed` have a name that is in a request for something else.
    """

    new: list[Reference] = []
    pending: list[tuple[int, Reference]] = []
    accepted: int = 0
    changed: list[Reference] = []


class Accepted(msgspec.Struct, frozen=True):
    """What became of a request.

    `is_duplicated`: the service knew its name. `is_from_before`: although this ingest had not made it yet, so that
    what it asks for may have been in the batch when this ingest began. `present` are the names that it asked for,
    None for all of them.
    """

    is_duplicated: bool = False
    is_from_before: bool = False
    shards: int = 0
    present: frozenset[str] | None = None


class NamedReference(msgspec.Struct, frozen=True):
    """What became of a reference: in which request it is, and whether that was accepted. `is_lost`: not with it."""

    name: str
    ingest_id: str
    is_accepted: bool
    is_lost: bool


class IngestTotals(msgspec.Struct, frozen=True):
    """References and requests by what became of them. `accepted` counts those `from_before` too."""

    accepted: int
    from_before: int
    pending: int
    lost: int
    requests: int
    duplicated: int
    shards: int
    ingest_ids: list[str]
