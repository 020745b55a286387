"""The audit of a batch: checkpoints, sources and the service's listing joined to the pipeline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from rfbulk.client.audit_origins import Origin, VerifyOptions, open_origin, origins_of
from rfbulk.client.context import Context, entered_in_thread, state_dir
from rfbulk.client.sources import Source, each_of, in_own_thread
from rfbulk.core.auditing import Difference, SentFile, Terms
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.edge.audit_accounts import ReferencesAccount, SourceAccount
from rfbulk.edge.audit_book import AuditBook, open_audit_book
from rfbulk.edge.bucket_source import BucketSource
from rfbulk.edge.difference_file import DifferenceFile
from rfbulk.edge.locks import FileLock
from rfbulk.errors import UsageError
from rfbulk.pipeline.audit_ports import AuditPorts
from rfbulk.pipeline.auditing import AuditRequest, audit

if TYPE_CHECKING:
    from rfbulk.core.auditing import VerifyReport
    from rfbulk.core.model import BatchId
    from rfbulk.events import OnEvent

__all__ = ["VerifyOptions", "verify"]


async def verify(
    context: Context,
    batch_id: str,
    source: Source | Sequence[Source] | None,
    *,
    options: VerifyOptions | None,
    on_event: OnEvent,
) -> VerifyReport:
    """As `Client.verify` promises."""
    options = options or VerifyOptions()
    batch = checked_batch_id(batch_id)
    workspace = await context.persist(context.api.workspace, tell=on_event)
    given = [] if source is None else each_of(source)
    origins = await anyio.to_thread.run_sync(origins_of, context, workspace, batch, given)
    if not origins:
        raise _nothing_known(batch)
    metadata = await context.persist(lambda: context.api.batch(batch), tell=on_event)
    content = "images" if metadata is None else metadata.content_type
    async with entered_in_thread(_desk(context, origins, options)) as desk:
        opening = partial(desk.open_sources, origins, context, options, content)
        await in_own_thread(opening)
        report = await _audit(context, batch, origins, desk, on_event)
        report.workspace = workspace
        report.checkpoints = tuple(path.stem for each in origins if each.is_audited for path in each.checkpoints)
        report.sources = tuple(source for each in origins if each.is_audited for source in each.sources)
        report.notes = _notes(origins, desk, options)
        if desk.file is not None:
            await anyio.to_thread.run_sync(desk.file.finish, report)
    return report


async def _audit(
    context: Context, batch: BatchId, origins: Sequence[Origin], desk: _Desk, on_event: OnEvent
) -> VerifyReport:
    terms = Terms(
        audited=frozenset(each.number for each in origins if each.is_audited),
        sources=frozenset(desk.sources),
        roots=tuple(desk.roots(each.number) for each in origins),
        is_open=any(each.kind == "open" for each in origins),
    )
    pending: set[str] = set()
    ports = AuditPorts(
        service=context.api,
        book=desk.book,
        sent=[account for each in origins for account in each.sent(desk.book, pending)],
        pending=pending,
        sources=list(desk.sources.values()),
        look=desk.look,
        write=desk.write,
        clock=context.clock,
        tell=on_event,
    )
    return await audit(ports, AuditRequest(batch, terms, context.settings.retry))


@dataclass(slots=True)
class _Desk:
    """What an audit works with on this machine. Its methods block."""

    book: AuditBook
    file: DifferenceFile | None
    sources: dict[int, SourceAccount | ReferencesAccount] = field(default_factory=dict)

    def open_sources(self, origins: Sequence[Origin], context: Context, options: VerifyOptions, content: str) -> None:
        """Look at the sources that are compared."""
        for origin in origins:
            if not (options.look_at_sources and origin.is_audited):
                continue
            opened = open_origin(origin, context, options, content, self.book)
            if opened is not None:
                self.sources[origin.number] = opened

    def roots(self, number: int) -> tuple[bytes, ...]:
        """Where the paths of an origin begin, as far as it was looked at."""
        source = self.sources.get(number)
        return source.source.roots if isinstance(source, SourceAccount) else ()

    def look(self, files: Sequence[SentFile]) -> list[Difference | None]:
        """Look at files that their source's scan has not met."""
        return [self.sources[each.origin].look(each) for each in files]

    def write(self, differences: Sequence[Difference]) -> None:
        """Write differences into the report file, if there is one."""
        if self.file is not None:
            self.file.write(differences)

    def close(self) -> None:
        """Let nothing wait for a bucket any more."""
        for account in self.sources.values():
            source = (
                account.source if isinstance(account, SourceAccount) else getattr(account.references, "source", None)
            )
            if isinstance(source, BucketSource):
                source.close()


@contextmanager
def _desk(context: Context, origins: Sequence[Origin], options: VerifyOptions) -> Iterator[_Desk]:
    """Hold all checkpoints against other processes while they are compared, and make room for it."""
    with ExitStack() as stack:
        for origin in origins:
            for path in origin.checkpoints if origin.is_audited else ():
                lock = FileLock(path.with_suffix(".lock"))
                lock.acquire()
                stack.callback(lock.release)
        book = stack.enter_context(open_audit_book(state_dir(context.settings) / "audits"))
        file = None
        if options.report_file is not None:
            file = stack.enter_context(closing(DifferenceFile(options.report_file)))
        yield stack.enter_context(closing(_Desk(book, file)))


def _notes(origins: Sequence[Origin], desk: _Desk, options: VerifyOptions) -> list[str]:
    audited = [each for each in origins if each.is_audited]
    notes = []
    if not any(each.checkpoints for each in audited):
        notes.append("nothing was sent from here: the source was compared with the listing, by names alone")
    if any(each.kind == "open" for each in origins):
        notes.append("a query or a list elsewhere fills this batch: its names are not known here")
    if not options.look_at_sources:
        notes.append("the source was not looked at: what was sent was compared with the listing")
    accounts = [each for each in desk.sources.values() if isinstance(each, SourceAccount)]
    if any(not each.is_scanned for each in accounts):
        notes.append("a list that came by standard input is gone: what it had named was looked at, and nothing else")
    return notes


def _nothing_known(batch: str) -> UsageError:
    return UsageError(
        "verify",
        f"batch {batch}",
        cause="nothing was sent into it from here",
        advice="name its source, to compare that with what the service lists",
    )
