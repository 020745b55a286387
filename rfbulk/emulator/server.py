"""The emulator as a whole: it listens, serves, indexes, and leaves nothing running behind."""

from __future__ import annotations

import errno
import socket
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Self

import aiohttp
import anyio
import msgspec
from aiohttp import web
from anyio import to_thread

from rfbulk.emulator.adding import NewBatch, NewFiles, NewParts, add_batch
from rfbulk.emulator.app import make_app
from rfbulk.emulator.catalog import file_places
from rfbulk.emulator.events import BatchRemoved
from rfbulk.emulator.faultscript import FaultScript
from rfbulk.emulator.journal import Journal, new_identity
from rfbulk.emulator.ledger import Ledger, read_ledger
from rfbulk.emulator.options import EmulatorOptions
from rfbulk.emulator.samples import sample_parts
from rfbulk.emulator.service import Clock, Service, Traffic
from rfbulk.emulator.shelf import read_whole
from rfbulk.emulator.storage import CountStore, FolderStore, MemoryStore
from rfbulk.emulator.workers import make_workers

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from types import TracebackType

    from rfbulk.emulator.jobs.options import JobScript
    from rfbulk.emulator.shelf import Place
    from rfbulk.emulator.storage import Store
    from rfbulk.emulator.webhooks.delivering import Delivery
    from rfbulk.emulator.workers import Workers

# A read is larger than this, so each arrives alone and is never joined with another, which would copy it again.
_READ_BUFFER_BYTES = 64 * 1024
# Requests under way when the emulator leaves are cut off like those of a server that dies.
_SHUTDOWN_SECONDS = 0.05
_BACKLOG = 1024


class Emulator:
    """A Data Staging service on this machine, from entering to leaving.

    Needs asyncio (with any event loop). Enter and leave it in one task. `faults`, `clock` and `ledger` may be used
    at any time; the rest once it has been entered.

    Raises on entering:
        OSError: the port cannot be had, or the folder not written.
    """

    def __init__(self, options: EmulatorOptions | None = None) -> None:
        self.options = options or EmulatorOptions()
        self.faults = FaultScript()
        self.clock = Clock(self.options.date_skew_seconds)
        self._traffic = Traffic()
        self._exits = AsyncExitStack()
        self._url = ""
        self._service: Service | None = None
        self._workers: Workers | None = None

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        return self._url

    @property
    def workspace(self) -> str:
        """The only workspace there is."""
        return self.options.workspace

    @property
    def api_key(self) -> str:
        """The only key that opens it."""
        return self.options.api_key

    @property
    def requests(self) -> Counter[str]:
        """How many requests came, by operation; those that met a fault count too."""
        return self._traffic.requests

    @property
    def peak_requests(self) -> Counter[str]:
        """How many requests of an operation were served at once at most."""
        return self._traffic.peaks

    @property
    def sent_bytes(self) -> int:
        """How many bytes of files were sent in answer to downloads."""
        return self._traffic.sent_bytes

    def ledger(self, batch_id: str) -> Ledger:
        """Return what a batch holds now; wait for `settled` first to have everything that was stored."""
        return read_ledger(self._entered.state.batches.get(batch_id))

    async def add_batch(
        self,
        batch_id: str,
        *,
        parts: NewParts | None = None,
        files: NewFiles = (),
        display_name: str | None = None,
        content_type: str | None = None,
    ) -> None:
        """Make a multipart batch of parts, or a simple or sharded one of files; or add to one that is there.

        Raises:
            ValueError: there are both parts and files, or the batch exists and is of the other kind.
        """
        await add_batch(self._entered, NewBatch(batch_id, parts, files, display_name, content_type))

    async def add_sample_batch(self, batch_id: str) -> None:
        """Make a multipart batch of results, pictures and archives, unless it is there already."""
        if batch_id not in self._entered.state.batches:
            await self.add_batch(batch_id, parts=await to_thread.run_sync(sample_parts), display_name="A sample")

    async def remove_batch(self, batch_id: str) -> None:
        """Let a batch be no more, as when its days are over; what had not been indexed is waited for."""
        await self.settled()
        await self._entered.record(BatchRemoved(batch_id))

    async def read_file(self, batch_id: str, name: str, *, part: str | None = None) -> bytes:
        """Return the bytes that a download of a file gives now; of equal names, the first.

        Raises:
            KeyError: there is no such file.
        """
        place = self.places(batch_id, part)[name]
        pieces = [piece async for piece in read_whole(self._entered.shelf, place)]
        return b"".join(pieces)

    def places(self, batch_id: str, part: str | None = None) -> dict[str, Place]:
        """Return where the contents of a batch's or a part's files are; of equal names, the first.

        Raises:
            KeyError: there is no such batch or part.
        """
        return file_places(self._entered.state.batches[batch_id], part)

    async def settled(self) -> None:
        """Wait until everything that was stored or ingested so far is in its batch."""
        if self._workers is not None:
            await self._workers.settled()

    def script_jobs(self, *scripts: JobScript) -> None:
        """Say how the next runs of jobs go, in this order; later ones go as the options say."""
        self._entered.job_scripts.extend(scripts)

    def unplayed_scripts(self) -> list[JobScript]:
        """Return the scripts that no run has taken."""
        return list(self._entered.job_scripts)

    async def jobs_settled(self) -> None:
        """Wait until no job is running; for ever, if one was told to stall."""
        if self._workers is not None:
            await self._workers.runner.settled()

    async def notify(self, url: str, body: dict[str, object]) -> None:
        """Send a notification of any content; its event id and attempt are added."""
        await self._working.notifier.submit(url, body)

    async def notifications_settled(self) -> None:
        """Wait until every notification has been taken or given up."""
        if self._workers is not None:
            await self._workers.notifier.settled()

    @property
    def deliveries(self) -> list[Delivery]:
        """Every attempt to deliver a notification, in the order of their ends."""
        return list(self._working.notifier.deliveries)

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            service = await self._open_service(stack)
            listener = stack.enter_context(self._bind(service.identity.port))
            session = await stack.enter_async_context(aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()))
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            workers = make_workers(service, tasks, session)
            await self._listen(service, make_app(service, workers), listener, stack)
            workers.resume()
            self._service, self._workers = service, workers
            self._exits = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # An error of the caller's passes by: inside the task group it would come out wrapped in an exception group.
        await self._exits.aclose()

    @property
    def _entered(self) -> Service:
        if self._service is None:
            raise RuntimeError("the emulator serves only inside `async with`")
        return self._service

    @property
    def _working(self) -> Workers:
        if self._workers is None:
            raise RuntimeError("the emulator works only inside `async with`")
        return self._workers

    async def _open_service(self, stack: AsyncExitStack) -> Service:
        directory = self.options.directory
        if directory is None:
            store: Store = CountStore() if self.options.store == "count" else MemoryStore()
            return Service(self.options, new_identity(), store, None, self.clock, self.faults, self._traffic)
        journal = Journal(directory)
        identity, events = await to_thread.run_sync(journal.open)
        stack.push_async_callback(_close, journal)
        store = FolderStore(journal.objects)
        service = Service(self.options, identity, store, journal, self.clock, self.faults, self._traffic)
        for event in events:
            service.state.apply(event)
        return service

    async def _listen(
        self, service: Service, app: web.Application, listener: socket.socket, stack: AsyncExitStack
    ) -> None:
        runner = web.AppRunner(
            app,
            access_log=None,
            read_bufsize=_READ_BUFFER_BYTES,
            auto_decompress=False,
            shutdown_timeout=_SHUTDOWN_SECONDS,
        )
        await runner.setup()
        stack.push_async_callback(_clean_up, runner)
        port = listener.getsockname()[1]
        scheme = "https" if self.options.tls else "http"
        self._url = f"{scheme}://{self.options.host}:{port}"
        service.public_url = (self.options.public_url or self._url).rstrip("/")
        await web.SockSite(runner, listener, ssl_context=self.options.tls).start()
        if service.journal is not None and port != service.identity.port:
            service.identity = msgspec.structs.replace(service.identity, port=port)
            await to_thread.run_sync(service.journal.save_identity, service.identity)

    def _bind(self, earlier_port: int) -> socket.socket:
        try:
            return socket.create_server((self.options.host, self.options.port or earlier_port), backlog=_BACKLOG)
        except OSError as error:
            # The port of an earlier process is a wish, the caller's own an order.
            if self.options.port or error.errno != errno.EADDRINUSE:
                raise
            return socket.create_server((self.options.host, 0), backlog=_BACKLOG)


async def _clean_up(runner: web.AppRunner) -> None:
    with anyio.CancelScope(shield=True):
        await runner.cleanup()


async def _close(journal: Journal) -> None:
    with anyio.CancelScope(shield=True):
        await to_thread.run_sync(journal.close)


async def serve(options: EmulatorOptions, on_ready: Callable[[str], None]) -> None:
    """Run an emulator until cancelled; `on_ready` is told its URL once it listens."""
    async with Emulator(options) as emulator:
        on_ready(emulator.url)
        await anyio.sleep_forever()
