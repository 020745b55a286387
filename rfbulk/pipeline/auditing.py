"""An audit of a batch: three accounts gathered at the same time, then held against each other name by name."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import anyio
import anyio.to_thread

from rfbulk.core.auditing import (
    MAX_NAMED,
    Books,
    Difference,
    DifferenceKind,
    Doubt,
    Group,
    SentFile,
    Terms,
    VerifyReport,
    judge,
)
from rfbulk.core.confirming import RowKind, row_kind
from rfbulk.errors import UsageError
from rfbulk.events import AuditProgress
from rfbulk.pipeline.paging import first_page, walk_pages_ahead
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.core.wire import BatchMetadata, Page, RemoteFile, ShardStatus
    from rfbulk.pipeline.audit_ports import Account, AuditPorts

T = TypeVar("T")
MAX_WALKS = 4
"""Parts that are listed at once. A part is listed page by page: each page's token leads to the next."""

LOOKS_AT_ONCE = 500
TICK_SECONDS = 0.5
MULTIPART = "multipart-batch"


@dataclass(frozen=True, slots=True)
class AuditRequest:
    """What is to be audited, under which terms."""

    batch: BatchId
    terms: Terms
    policy: RetryPolicy


async def audit(ports: AuditPorts, request: AuditRequest) -> VerifyReport:
    """Carry an audit out and return its report.

    Raises:
        UsageError: the service does not know the batch.
        RfbulkError: an account cannot be read.
    """
    return await _Audit(ports, request).run()


@dataclass(slots=True)
class _Audit:
    """The state of one audit. `run` once."""

    ports: AuditPorts
    request: AuditRequest
    books: Books = field(default_factory=Books)
    differences: list[Difference] = field(default_factory=list)
    shards: dict[str, int] = field(default_factory=dict)
    listed: int = 0
    sent: int = 0
    found: int = 0
    compared: int = 0
    naming: threading.Lock = field(default_factory=threading.Lock)
    began: float = 0.0

    async def run(self) -> VerifyReport:
        self.began = self.ports.clock.monotonic()
        batch = await self._persist(lambda: self.ports.service.batch(self.request.batch))
        if batch is None:
            raise _unknown(self.request.batch)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            counted = await self._gather(batch)
            await self._compare()
            tasks.cancel_scope.cancel()
        if counted is not None and counted != self.listed:
            why = f"the service counts {counted:,} files and lists {self.listed:,}"
            self._name([Difference(DifferenceKind.MISCOUNTED, self.request.batch, "", why)])
        self._tell()
        return VerifyReport(
            batch_id=self.request.batch,
            content=batch.content_type or "images",
            counted=counted,
            shards=self.shards,
            books=self.books,
            differences=self.differences,
            wall_seconds=self.ports.clock.monotonic() - self.began,
        )

    async def _gather(self, batch: BatchMetadata) -> int | None:
        """Let all accounts come in at once: the line, the state folder and the source hold up nobody but themselves."""
        counted: list[int | None] = []

        async def list_all() -> None:
            parts: list[str | None] = [None]
            if batch.batch_type == MULTIPART:
                found = await self._persist(lambda: self.ports.service.parts(self.request.batch))
                parts = [part.part_name for part in found]
            counted.append(await self._list(parts))

        async def read_sent() -> None:
            if batch.batch_type != MULTIPART:
                await self._list_shards()
            for account in self.ports.sent:
                accounts.start_soon(self._enter, account, self._note_sent)

        async with anyio.create_task_group() as accounts:
            accounts.start_soon(list_all)
            accounts.start_soon(read_sent)
            for account in self.ports.sources:
                accounts.start_soon(self._enter, account, self._note_found)
        return counted[0]

    # what the service says

    async def _list(self, parts: Sequence[str | None]) -> int | None:
        """List all parts, several at once, and return what the service counts of them together."""
        room = anyio.CapacityLimiter(MAX_WALKS)
        counts: list[int | None] = []

        async def walk(part: str | None) -> None:
            async with room:
                await self._list_part(part)
                counts.append(await self._persist(lambda: self.ports.service.count(self.request.batch, part)))

        async with anyio.create_task_group() as walks:
            for part in parts:
                walks.start_soon(walk, part)
        known = [count for count in counts if count is not None]
        return sum(known) if len(known) == len(counts) else None

    async def _list_part(self, part: str | None) -> None:
        size: int | None = None

        async def page_at(token: str | None) -> Page[RemoteFile]:
            nonlocal size
            if token is None:
                page, size = await first_page(self._persist, partial(self._files_page, part, None))
                return page
            return await self._persist(partial(self._files_page, part, token, size))

        async def take(_token: str | None, page: Page[RemoteFile]) -> None:
            names = [file.file_name for file in page.items]
            await anyio.to_thread.run_sync(self.ports.book.add_listed, names)
            self.listed += len(names)

        await walk_pages_ahead("list files of", f"batch {self.request.batch}", page_at, take)

    async def _files_page(self, part: str | None, token: str | None, size: int | None) -> Page[RemoteFile]:
        return await self.ports.service.files_page(self.request.batch, part, token, size)

    async def _list_shards(self) -> None:
        async def page_at(token: str | None) -> Page[ShardStatus]:
            return await self._persist(lambda: self.ports.service.shards_page(self.request.batch, token))

        async def take(_token: str | None, page: Page[ShardStatus]) -> None:
            for row in page.items:
                kind = row_kind(row.status_type)
                self.shards[kind] = self.shards.get(kind, 0) + 1
                if kind is RowKind.PENDING:
                    self.ports.pending.add(row.shard_id)
                if kind is RowKind.ERROR:
                    why = row.metadata or row.status_name or "the service gives no reason"
                    self._name([Difference(DifferenceKind.FAILED_SHARD, row.shard_id, "", why)])

        await walk_pages_ahead("list shards of", f"batch {self.request.batch}", page_at, take)

    # what is known here

    async def _enter(self, account: Account, note: Callable[[int], None]) -> None:
        stop = threading.Event()

        def work() -> None:
            account.enter(stop.is_set, note, self._name)

        try:
            await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
        finally:
            stop.set()

    def _note_sent(self, count: int) -> None:
        self.sent += count

    def _note_found(self, count: int) -> None:
        self.found += count

    # holding them against each other

    async def _compare(self) -> None:
        chunks = self.ports.book.chunks(self.request.terms.sources)
        while (doubts := await anyio.to_thread.run_sync(self._judge_next, chunks)) is not None:
            for start in range(0, len(doubts), LOOKS_AT_ONCE):
                some = doubts[start : start + LOOKS_AT_ONCE]
                said = await anyio.to_thread.run_sync(self.ports.look, some, abandon_on_cancel=True)
                self._name([each for each in said if each is not None])

    def _judge_next(self, chunks: Iterator[tuple[Books, list[Group]]]) -> list[SentFile] | None:
        """Judge some names, in a thread, and return the files that are to be looked at; None where all are judged."""
        chunk = next(chunks, None)
        if chunk is None:
            return None
        plain, groups = chunk
        self.books.agree_as(plain)
        doubts: list[SentFile] = []
        named: list[Difference] = []
        for group in groups:
            for said in judge(group, self.request.terms, self.books):
                if isinstance(said, Doubt):
                    doubts.append(said.file)
                else:
                    named.append(said)
        self._name(named)
        self.compared = self.books.listed
        return doubts

    def _name(self, differences: Sequence[Difference]) -> None:
        """Take note of what differs. For any thread."""
        if not differences:
            return
        with self.naming:
            for each in differences:
                self.books.count(each)
            self.differences += differences[: max(0, MAX_NAMED - len(self.differences))]
            self.ports.write(differences)

    # telling

    async def _tick(self) -> None:
        while True:
            await self.ports.clock.sleep(TICK_SECONDS)
            self._tell()

    def _tell(self) -> None:
        seconds = self.ports.clock.monotonic() - self.began
        differences = sum(self.books.differences.values())
        self.ports.tell(AuditProgress(seconds, self.listed, self.sent, self.found, self.compared, differences))

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await persist(call, policy=self.request.policy, clock=self.ports.clock, tell=self.ports.tell)


def _unknown(batch: str) -> UsageError:
    return UsageError(
        "verify",
        f"batch {batch}",
        cause="the service does not know it; it keeps a batch for 7 days",
        advice="`rfbulk batch list` shows all",
    )
