"""Transfers that a cluster carries: which of its doors they use, and what its workers are shown first."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.client.sources import in_own_thread
from rfbulk.edge.bucket_source import BucketSource
from rfbulk.edge.clock import RateLimit
from rfbulk.errors import UsageError
from rfbulk.events import OnEvent, Warned
from rfbulk.receivers.inline import Folders, open_inline_receiver
from rfbulk.senders.inline import open_inline_sender

if TYPE_CHECKING:
    from rfbulk.client.context import Context
    from rfbulk.client.sources import Opened
    from rfbulk.cluster.parcels import Manner
    from rfbulk.cluster.receiving import ClusterReceiver
    from rfbulk.cluster.sending import ClusterSender
    from rfbulk.core.forms import Form
    from rfbulk.core.model import Entry
    from rfbulk.settings import ExportOptions, UploadOptions

SAMPLE_FILES = 5
"""Files that each worker is to see as they are seen here. More tell no more of a mount."""


@asynccontextmanager
async def cluster_sender(
    context: Context, opened: Opened, form: Form, options: UploadOptions, on_event: OnEvent, *, chunk_bytes: int
) -> AsyncIterator[ClusterSender]:
    """Yield what sends by the cluster of the options, each of whose workers sees the source.

    Raises:
        UsageError: the cluster cannot be used, or none of its workers fits.
        TroublePassing: it cannot be reached, or has no workers.
    """
    await anyio.to_thread.run_sync(load_dask)
    from rfbulk.cluster.sending import open_cluster_sender, sample_of  # noqa: PLC0415 - loads Dask, an extra

    if options.cluster is None:
        raise AssertionError("asked for where there is one")
    if options.check_images and isinstance(opened.source, BucketSource):
        raise UsageError(
            "upload",
            ", ".join(opened.known_as),
            cause="a cluster does not check a bucket's images",
            advice="leave --check-images out, or --cluster",
        )
    manner = await manner_of(context, opened, form, options, chunk_bytes)
    entries = await in_own_thread(partial(first_entries, opened))
    roots, path_map = opened.source.roots, options.cluster.path_map
    sample = await anyio.to_thread.run_sync(sample_of, manner, roots, entries, path_map)
    ways = context.transport.ways
    async with (
        open_inline_sender(
            ways,
            chunk_bytes=chunk_bytes,
            stall_seconds=context.settings.stall_seconds,
            rate=None,
            most_at_once=1,
            pack=opened.pack(form, checks=options.check_images),
        ) as inline,
        open_cluster_sender(
            options.cluster, ways, sample, warner(on_event), rate=options.limit_rate, inline=inline
        ) as sender,
    ):
        yield sender


@asynccontextmanager
async def cluster_receiver(
    context: Context, target: bytes, staging: bytes, options: ExportOptions, on_event: OnEvent
) -> AsyncIterator[ClusterReceiver]:
    """Yield what fetches by the cluster of the options, each of whose workers sees and may write to the target.

    Raises:
        UsageError: the cluster cannot be used, or none of its workers fits.
        TroublePassing: it cannot be reached, or has no workers.
    """
    await anyio.to_thread.run_sync(load_dask)
    from rfbulk.cluster.parcels import Kind, Manner  # noqa: PLC0415 - as above
    from rfbulk.cluster.receiving import open_cluster_receiver  # noqa: PLC0415
    from rfbulk.cluster.sending import new_run  # noqa: PLC0415

    if options.cluster is None:
        raise AssertionError("asked for where there is one")
    settings, transport = context.settings, context.transport
    manner = Manner(
        new_run(),
        Kind.FETCH,
        settings.stall_seconds,
        settings.connect_seconds,
        rate=options.limit_rate,
        allow_http=transport.options.allow_http,
    )
    async with (
        open_inline_receiver(
            transport,
            Folders(target, staging),
            stall_seconds=settings.stall_seconds,
            rate=RateLimit(None),
            most_at_once=1,
            reach=context.reach,
        ) as inline,
        open_cluster_receiver(
            options.cluster, transport.ways, manner, target, warner(on_event), inline=inline
        ) as receiver,
    ):
        yield receiver


async def manner_of(context: Context, opened: Opened, form: Form, options: UploadOptions, chunk_bytes: int) -> Manner:
    """Return how a cluster's workers are to send."""
    from rfbulk.cluster.parcels import Kind, Manner  # noqa: PLC0415 - as above
    from rfbulk.cluster.sending import new_run  # noqa: PLC0415

    if isinstance(opened.source, BucketSource):
        kind = Kind.OBJECTS if form.has_tars else Kind.BARE_OBJECT
    elif not form.has_tars:
        kind = Kind.BARE
    else:
        kind = Kind.CHECKED if options.check_images else Kind.FILES
    settings = context.settings
    return Manner(
        new_run(),
        kind,
        settings.stall_seconds,
        settings.connect_seconds,
        chunk_bytes,
        rate=options.limit_rate,
        allow_http=settings.allow_http,
    )


def load_dask() -> None:
    """Load what clusters need, which takes half a second.

    Raises:
        UsageError: it is missing.
    """
    from rfbulk.cluster.dask_client import library  # noqa: PLC0415 - an extra

    library()


def first_entries(opened: Opened) -> list[Entry]:
    """Return the first few entries of a source. A list is read once, by the upload itself: none of those."""
    source = opened.source
    if not isinstance(source, BucketSource) and source.lists:
        return []
    groups = source.scan()
    try:
        return list(islice((entry for group in groups for entry in group.entries), SAMPLE_FILES))
    finally:
        close = getattr(groups, "close", None)
        if close is not None:
            close()


def warner(on_event: OnEvent) -> Callable[[str], None]:
    """Return what tells users of a cluster's troubles."""
    return lambda text: on_event(Warned(text))
