"""A look at a cluster before work is given to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import msgspec

from rfbulk.client.clustering import first_entries, load_dask
from rfbulk.client.sources import Source, in_own_thread, open_sources
from rfbulk.core.grants import UrlFault, check_url
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.model import Grant
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.selection import Selection
from rfbulk.edge.bucket_source import BucketSource
from rfbulk.edge.target import open_target
from rfbulk.errors import UsageError
from rfbulk.settings import CHUNK_BYTES, Settings

if TYPE_CHECKING:
    import os

    from rfbulk.client.context import Context
    from rfbulk.cluster.parcels import Manner
    from rfbulk.cluster.probing import Sample
    from rfbulk.core.cluster_report import ClusterReport
    from rfbulk.core.clusters import ClusterOptions

SPEED_BYTES = 32 << 20


async def check_cluster(
    settings: Settings,
    options: ClusterOptions,
    sources: Sequence[Source] = (),
    *,
    target: str | os.PathLike[str] | None = None,
    speed_bytes: int = SPEED_BYTES,
    grant: Callable[[], Awaitable[Grant]] | None = None,
) -> ClusterReport:
    """Ask all workers who they are and what they see, and with `grant` measure the line of each.

    Raises:
        UsageError: the cluster, the source or the target cannot be used.
        TroublePassing: the cluster cannot be reached, or has no workers.
    """
    await anyio.to_thread.run_sync(load_dask)
    from rfbulk.cluster.checking import Speed, check  # noqa: PLC0415 - loads Dask, an extra
    from rfbulk.cluster.link import with_client  # noqa: PLC0415

    sample = await _sample(settings, options, sources)
    host = asyncio.get_running_loop()

    async def ask() -> Grant:
        if grant is None:
            raise AssertionError("nothing is measured without")
        asked = asyncio.run_coroutine_threadsafe(_awaited(grant), host)
        return await asyncio.wrap_future(asked)

    speed = None if grant is None else Speed(speed_bytes, ask)
    warnings: list[str] = []
    async with _marked(options, sample, target) as shown:
        report = await with_client(
            options,
            warnings.append,
            lambda client, address: check(client, address, shown, wait_seconds=options.wait_seconds, speed=speed),
        )
    report.warnings = [*warnings, *report.find_oddities()]
    return report


def given_url(text: str, *, allow_http: bool) -> Callable[[], Awaitable[Grant]]:
    """Return what gives the permission that a URL is by itself.

    Raises:
        UsageError: it may not be spoken to.
    """
    try:
        check_url(text, allow_http=allow_http)
    except UrlFault as fault:
        raise UsageError(
            "measure", "the line", cause=str(fault), advice="look at --speed-batch and --speed-url"
        ) from None

    async def grant() -> Grant:
        return Grant(SignedUrl(text), {}, None, None, once_only=False)

    return grant


async def _awaited(grant: Callable[[], Awaitable[Grant]]) -> Grant:
    return await grant()


async def _sample(settings: Settings, options: ClusterOptions, sources: Sequence[Source]) -> Sample:
    from rfbulk.cluster.parcels import Kind, Manner  # noqa: PLC0415 - as above
    from rfbulk.cluster.probing import Sample  # noqa: PLC0415
    from rfbulk.cluster.sending import new_run, sample_of  # noqa: PLC0415

    manner = Manner(
        new_run(),
        Kind.FILES,
        settings.stall_seconds,
        settings.connect_seconds,
        CHUNK_BYTES,
        authorities="" if settings.ca_file is None else await anyio.Path(settings.ca_file).read_text(),
        allow_http=settings.allow_http,
    )
    if not sources:
        return Sample(manner)
    with closing(await in_own_thread(partial(open_sources, sources, Selection(), "auto", settings))) as opened:
        if isinstance(opened.source, BucketSource):
            manner = _of_objects(manner)
        entries = await in_own_thread(partial(first_entries, opened))
        if not entries:
            raise UsageError(
                "check",
                ", ".join(opened.known_as),
                cause="no image was found to show to the workers",
                advice="name a source that holds images",
            )
        return await anyio.to_thread.run_sync(sample_of, manner, opened.source.roots, entries, options.path_map)


def _of_objects(manner: Manner) -> Manner:
    from rfbulk.cluster.parcels import Kind  # noqa: PLC0415 - as above

    return msgspec.structs.replace(manner, kind=Kind.OBJECTS)


@asynccontextmanager
async def _marked(
    options: ClusterOptions, sample: Sample, target: str | os.PathLike[str] | None
) -> AsyncIterator[Sample]:
    """Have the target of an export looked at too, where a file is put for as long as that takes."""
    from rfbulk.cluster.receiving import marked_target  # noqa: PLC0415 - as above

    if target is None:
        yield sample
        return
    folder = await anyio.to_thread.run_sync(open_target, target)
    async with marked_target(options, sample, folder.path) as shown:
        yield shown


def grants_of(context: Context, batch: str) -> Callable[[], Awaitable[Grant]]:
    """Return what asks for permissions to send into a batch, one for each measurement."""
    checked = checked_batch_id(batch)

    async def grant() -> Grant:
        return await context.persist(partial(context.api.request_shard_grant, checked, checked))

    return grant
