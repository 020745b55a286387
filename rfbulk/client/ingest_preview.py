"""What an ingest would ask for, from its source alone: nothing is asked for and nothing is recorded."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from rfbulk.client.bucket_ingest import Objects, open_objects
from rfbulk.core.references import MAX_REFERENCES, MAX_REQUEST_BYTES, request_bytes
from rfbulk.edge.bucket_references import BucketReferences
from rfbulk.edge.reference_file import open_reference_file

if TYPE_CHECKING:
    from rfbulk.core.references import MediaKind, Reference
    from rfbulk.pipeline.ingest_ports import ReferenceSource
    from rfbulk.settings import Settings

MAX_SHOWN = 1000


class IngestPreview(msgspec.Struct):
    """The plan in numbers, and the first thousand that would not be asked for: where each is, why, and a detail."""

    kind: str
    references: int = 0
    requests: int = 0
    refused: dict[str, int] = {}
    refused_examples: list[tuple[str, str, str]] = []
    skipped: int = 0


def preview_objects(objects: Objects, settings: Settings) -> IngestPreview:
    """Walk buckets and sign what would be asked for first. Blocks on the line: call it in a thread.

    Raises:
        as `open_objects`; UsageError: the service would not take what is signed.
    """
    with closing(open_objects(objects, settings)) as source:
        return _preview(objects.media, BucketReferences(source, objects.options.url_expiry_seconds))


def preview_references(path: str | os.PathLike[str], media: MediaKind) -> IngestPreview:
    """Look at every line of a list. Blocks on the disk: call it in a thread.

    Raises:
        as `open_reference_file`.
    """
    return _preview(media, open_reference_file(Path(path)))


def _preview(media: MediaKind, source: ReferenceSource) -> IngestPreview:
    result, refused, filling = IngestPreview(media), Counter[str](), _Filling(media)
    for group in source.scan():
        if group.references and not result.references:
            source.urls_of(group.references[:1])
        result.references += len(group.references)
        result.skipped += group.skipped
        for reference in group.references:
            filling.add(reference)
        for refusal in group.refusals:
            refused[refusal.reason] += 1
            if len(result.refused_examples) < MAX_SHOWN:
                result.refused_examples.append((refusal.path, refusal.reason, refusal.detail))
    result.requests, result.refused = filling.requests, dict(refused)
    return result


class _Filling:
    """Counts requests as they would be filled."""

    def __init__(self, media: MediaKind) -> None:
        self.requests = 0
        self._most = MAX_REFERENCES[media]
        self._count = self._most
        self._bytes = 0

    def add(self, reference: Reference) -> None:
        size = request_bytes(reference)
        if self._count == self._most or self._bytes + size > MAX_REQUEST_BYTES:
            self.requests, self._count, self._bytes = self.requests + 1, 0, 0
        self._count += 1
        self._bytes += size
