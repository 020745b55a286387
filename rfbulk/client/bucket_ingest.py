"""Buckets whose objects the service fetches itself: signed on this machine, asked for in groups."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from rfbulk.client.given import selection_text
from rfbulk.client.ingesting import Origin, ingest_from
from rfbulk.client.sources import in_own_thread, patience_of
from rfbulk.core.media import IMAGES, VIDEOS
from rfbulk.core.objects import is_bucket
from rfbulk.core.selection import Selection
from rfbulk.edge.bucket_references import BucketReferences
from rfbulk.edge.bucket_source import BucketSource, open_bucket_source
from rfbulk.edge.source import needs_clash_check, refuse_clashes
from rfbulk.errors import UsageError
from rfbulk.pipeline.ingesting import References
from rfbulk.settings import ObjectOptions

if TYPE_CHECKING:
    import anyio

    from rfbulk.client.context import Context
    from rfbulk.client.sources import StrPath
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.references import MediaKind
    from rfbulk.events import OnEvent
    from rfbulk.settings import IngestOptions, Settings

_MEDIA: Final = {"images": IMAGES, "videos": VIDEOS}


@dataclass(frozen=True, slots=True)
class Objects:
    """Which objects of which buckets are meant."""

    sources: Sequence[StrPath]
    media: MediaKind
    options: ObjectOptions


async def ingest_bucket(
    context: Context,
    objects: Objects,
    batch_id: str,
    *,
    options: IngestOptions | None,
    on_event: OnEvent,
    stop: anyio.Event | None,
) -> IngestReport:
    """As `Client.ingest_bucket` promises."""
    with closing(await in_own_thread(partial(open_objects, objects, context.settings))) as source:
        what = References(objects.media, BucketReferences(source, objects.options.url_expiry_seconds))
        chosen = objects.options
        selection = selection_text(chosen.include, chosen.exclude, recursive=chosen.recursive)
        origin = Origin(", ".join(source.identities), chosen.names, selection)
        return await ingest_from(context, what, origin, batch_id, options=options, on_event=on_event, stop=stop)


def open_objects(objects: Objects, settings: Settings) -> BucketSource:
    """Look at the buckets of an ingest. Blocks on the line: call it in a thread.

    Raises:
        UsageError: a source is no bucket or cannot be used, or two objects would bear one name.
        SourceError, NotAuthorised, TroublePassing: a bucket cannot be read.
    """
    options, sources = objects.options, [os.fspath(source) for source in objects.sources]
    if not sources or not all(map(is_bucket, sources)):
        cause = "only buckets' objects can be referred to"
        raise UsageError("refer to", ", ".join(sources), cause=cause, advice="name s3://, gs:// or az://")
    source = open_bucket_source(
        sources,
        Selection(options.include, options.exclude, options.recursive),
        options.names,
        environment=os.environ,
        patience=patience_of(settings),
        policy=settings.retry,
        media=_MEDIA[objects.media],
    )
    if needs_clash_check(options.names, source):
        refuse_clashes(source)
    return source
