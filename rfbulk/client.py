"""The library's front door: one client for one service, as an async context manager.

    async with rfbulk.Client(api_key="…") as client:
        report = await client.upload_images("photos", batch_id="spring")

It has no effect on its host: no logging set-up, no signal handlers, no event-loop policy. Every task, thread, socket
and file is gone when a call returns or is cancelled. It works under asyncio's own loop and under uvloop.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import anyio
import anyio.to_thread
import msgspec
import platformdirs

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.secrets import ApiKey
from rfbulk.core.selection import Selection
from rfbulk.edge.api import ServiceApi
from rfbulk.edge.checkpoint import Checkpoint, Identity, open_checkpoint
from rfbulk.edge.clock import RateLimit, SystemClock
from rfbulk.edge.known import KnownEntries
from rfbulk.edge.reportfile import NamedFiles, write_report_file
from rfbulk.edge.source import FileSource, needs_clash_check, open_source, refuse_clashes, renamed, resolved
from rfbulk.edge.transport import TransportOptions, open_transport
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import Event, OnEvent, ignore
from rfbulk.pipeline.paging import walk_pages
from rfbulk.pipeline.ports import Ports
from rfbulk.pipeline.retrying import persist
from rfbulk.pipeline.upload import UploadRequest, upload
from rfbulk.pipeline.watching import BatchState, watch_batch
from rfbulk.senders.inline import open_inline_sender
from rfbulk.settings import CHUNK_BYTES, Settings, UploadOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator

    from rfbulk.core.report import UploadReport
    from rfbulk.core.wire import BatchMetadata, BatchPart, Page, RemoteFile, ShardStatus

T = TypeVar("T")
StrPath: TypeAlias = str | os.PathLike[str]
Reach: TypeAlias = Callable[[Failpoint], None]
MIN_CHUNK_BYTES = 16 << 10


def _pass_by(_failpoint: Failpoint) -> None:
    """Go on: what a failpoint does unless a test asked for more."""


class Client:
    """Speaks to one service with one api key. Use as `async with`; calls may overlap.

    `api_key` defaults to `ROBOFLOW_API_KEY`. `settings` hold the rest, with `api_url` and `workspace` as shortcuts.

    Raises:
        UsageError: there is no api key.
    """

    def __init__(
        self,
        api_key: str | ApiKey | None = None,
        *,
        api_url: str | None = None,
        workspace: str | None = None,
        settings: Settings | None = None,
        reach: Reach = _pass_by,
    ) -> None:
        key = api_key if api_key is not None else os.environ.get("ROBOFLOW_API_KEY", "")
        self._api_key = key if isinstance(key, ApiKey) else ApiKey(key)
        self._settings = settings or Settings.from_environment()
        self._api_url = api_url or self._settings.api_url
        self._workspace = workspace or self._settings.workspace
        self._clock = SystemClock()
        self._reach = reach
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Client:
        """Open the connections' pool. Nothing is sent yet."""
        if not self._api_key.reveal():
            raise UsageError("start", cause="there is no api key", advice="set ROBOFLOW_API_KEY")
        settings = self._settings
        options = TransportOptions(
            connect_seconds=settings.connect_seconds,
            ca_file=settings.ca_file,
            allow_http=settings.allow_http,
        )
        self._transport = await self._stack.enter_async_context(open_transport(options))
        self._api = ServiceApi(self._transport, self._api_url, self._api_key, self._workspace)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._stack.aclose()

    @property
    def state_dir(self) -> Path:
        """Where checkpoints of uploads are kept."""
        return uploads_dir(self._settings)

    async def workspace(self) -> str:
        """Return the workspace of the api key."""
        return await self._persist(self._api.workspace)

    # uploads

    async def upload_images(
        self,
        source: StrPath | Sequence[StrPath],
        batch_id: str,
        *,
        options: UploadOptions | None = None,
        on_event: OnEvent = ignore,
        stop: anyio.Event | None = None,
    ) -> UploadReport:
        """Upload the images of a folder (or several, or files) into a batch, each exactly once.

        The same call again resumes: what is there already is not sent again, new files are added. Cancelling loses
        nothing. Setting `stop` ends it gently: shards in flight get `options.grace_seconds`.

        Returns the report; partial failures are in it (`has_failures`), by name.

        Raises:
            UsageError, SourceError: nothing was sent.
            NotAuthorised, ServiceRefused, ProtocolError: the service will not have it.
            TroublePassing: the service or the line did not work for the whole retry budget.
            CheckpointBusy, CheckpointDamaged, NoRoom: the checkpoint cannot be used.
            TransferFailed, WaitTimeout: as they say; `report` is attached.
        """
        options = options or UploadOptions()
        batch = checked_batch_id(batch_id)
        paths = [source] if isinstance(source, str | os.PathLike) else list(source)
        selection = Selection(options.include, options.exclude, options.recursive)
        opened = await anyio.to_thread.run_sync(open_source, paths, selection, options.names)
        if needs_clash_check(options.names, opened):
            await anyio.to_thread.run_sync(refuse_clashes, opened)
        workspace = await self.workspace()
        identity = Identity(self._api_url.rstrip("/"), workspace, batch, resolved(paths))
        async with self._checkpoint(identity, restart=options.restart) as checkpoint:
            await _check_same_naming(checkpoint, options)
            request = UploadRequest(
                batch=batch,
                options=options,
                policy=self._settings.retry,
                trailer=await _trailer(checkpoint, options, identity),
                rename=renamed if options.on_changed == "send" else None,
                stop=stop or anyio.Event(),
            )
            with closing(NamedFiles()) as named:
                told = _both(named.take, on_event) if options.report_file is not None else on_event
                try:
                    report = await self._upload(request, opened, checkpoint, told)
                except RfbulkError as error:
                    if error.report is not None:
                        await self._finish(error.report, workspace, checkpoint, options, opened, named)
                    raise
                await self._finish(report, workspace, checkpoint, options, opened, named)
            return report

    async def _upload(
        self, request: UploadRequest, source: FileSource, checkpoint: Checkpoint, on_event: OnEvent
    ) -> UploadReport:
        options = request.options
        rate = options.limit_rate
        chunk_bytes = CHUNK_BYTES if rate is None else max(MIN_CHUNK_BYTES, min(CHUNK_BYTES, rate // 4))
        async with open_inline_sender(
            self._transport,
            chunk_bytes=chunk_bytes,
            stall_seconds=self._settings.stall_seconds,
            rate=RateLimit(rate),
            most_at_once=options.concurrency or options.most_shards_at_once,
        ) as sender:
            ports = Ports(
                service=self._api,
                sender=sender,
                source=source,
                checkpoint=checkpoint,
                known=partial(_known, checkpoint),
                clock=self._clock,
                tell=on_event,
                reach=self._reach,
            )
            return await upload(ports, request)

    @asynccontextmanager
    async def _checkpoint(self, identity: Identity, *, restart: bool) -> AsyncIterator[Checkpoint]:
        """Opening and closing block on the disk, so they happen in a thread."""
        manager = open_checkpoint(self.state_dir, identity, restart=restart)
        checkpoint = await anyio.to_thread.run_sync(manager.__enter__)
        try:
            yield checkpoint
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(manager.__exit__, None, None, None)

    async def _finish(
        self,
        report: UploadReport,
        workspace: str,
        checkpoint: Checkpoint,
        options: UploadOptions,
        source: FileSource,
        named: NamedFiles,
    ) -> None:
        report.workspace = workspace
        report.checkpoint = checkpoint.path.stem
        if options.report_file is not None:
            await write_report_file(options.report_file, checkpoint, source.roots, report, named)

    # batches

    async def batch(self, batch_id: str) -> BatchMetadata | None:
        """Describe a batch, None if the service does not know it."""
        batch = checked_batch_id(batch_id)
        return await self._persist(lambda: self._api.batch(batch))

    async def count(self, batch_id: str, *, part: str | None = None) -> int | None:
        """Count the files that a batch (or one of its parts) holds, None if the service does not know it."""
        batch = checked_batch_id(batch_id)
        return await self._persist(lambda: self._api.count(batch, part))

    async def parts(self, batch_id: str) -> Sequence[BatchPart]:
        """List the parts of a multipart batch."""
        batch = checked_batch_id(batch_id)
        return await self._persist(lambda: self._api.parts(batch))

    async def each_batch(self, take: Callable[[BatchMetadata], None]) -> None:
        """Call `take` with every batch of the workspace, page by page."""
        await self._each("list", "batches", self._api.batches_page, take)

    async def each_shard(self, batch_id: str, take: Callable[[ShardStatus], None]) -> None:
        """Call `take` with the status of every shard of a batch, page by page."""
        batch = checked_batch_id(batch_id)
        await self._each("list shards of", batch, lambda token: self._api.shards_page(batch, token), take)

    async def each_file(self, batch_id: str, take: Callable[[RemoteFile], None], *, part: str | None = None) -> None:
        """Call `take` with every file of a batch (or one of its parts), page by page."""
        batch = checked_batch_id(batch_id)
        await self._each("list files of", batch, lambda token: self._api.files_page(batch, part, token), take)

    async def wait_for_batch(
        self, batch_id: str, *, expect: int | None = None, seconds: float = 7200.0, on_event: OnEvent = ignore
    ) -> BatchState:
        """Wait until a batch is ready: `expect` files counted (or a count that stands still), no shard pending.

        Raises:
            WaitTimeout: it was not ready in time.
        """
        batch = checked_batch_id(batch_id)
        await self.workspace()
        return await watch_batch(
            self._api, batch, self._clock, self._settings.retry, expect=expect, seconds=seconds, tell=on_event
        )

    async def _each(
        self,
        operation: str,
        subject: str,
        page_at: Callable[[str | None], Awaitable[Page[T]]],
        take: Callable[[T], None],
    ) -> None:
        async def take_all(items: Sequence[T]) -> None:
            for item in items:
                take(item)

        await walk_pages(operation, subject, lambda token: self._persist(partial(page_at, token)), take_all)

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await persist(call, policy=self._settings.retry, clock=self._clock, tell=ignore)


def uploads_dir(settings: Settings) -> Path:
    """Return where checkpoints of uploads are kept: in `state_dir`, else in the user's state folder."""
    return (settings.state_dir or Path(platformdirs.user_state_dir("rfbulk", appauthor=False))) / "uploads"


def _both(first: OnEvent, second: OnEvent) -> OnEvent:
    def tell(event: Event) -> None:
        first(event)
        second(event)

    return tell


@contextmanager
def _known(checkpoint: Checkpoint) -> Iterator[KnownEntries]:
    with closing(KnownEntries(checkpoint.read())) as known:
        yield known


async def _check_same_naming(checkpoint: Checkpoint, options: UploadOptions) -> None:
    """A file's name must be the same on every run, or it would arrive twice under two names."""
    recorded = await checkpoint.fact("names")
    if recorded is None:
        await checkpoint.record_fact("names", options.names)
    elif recorded != options.names:
        raise UsageError(
            "resume",
            "the upload",
            cause=f"it was begun with --names {recorded}",
            advice=f"use --names {recorded}, or --restart into another batch",
        )


async def _trailer(checkpoint: Checkpoint, options: UploadOptions, identity: Identity) -> bytes:
    """Return the content of each shard's notification member: the same on every run, since it is part of the bytes."""
    recorded = await checkpoint.fact("trailer")
    if recorded is not None:
        return recorded.encode()
    trailer = ""
    if options.notifications_url is not None:
        ingest = options.ingest_id or identity.id
        values = {"ingestId": ingest, "notificationsURL": options.notifications_url}
        trailer = msgspec.json.encode(values).decode()
    await checkpoint.record_fact("trailer", trailer)
    return trailer.encode()
