"""An ingest without upload from beginning to end: look at the batch, ask, wait until all is in, report."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeVar, assert_never

import anyio

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.ingest_report import IngestReport
from rfbulk.core.ingest_wire import IngestBody, IngestKind, Telling, list_body, query_body
from rfbulk.core.readiness import BatchState, Expected
from rfbulk.core.references import MediaKind, Reference, derived_ingest_id, mark_of
from rfbulk.core.secrets import SignedUrl
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import PhaseChanged, TransferBegun, Warned
from rfbulk.pipeline.asking import Asker, AskForReferences
from rfbulk.pipeline.endings import told, unless_stopped, with_report
from rfbulk.pipeline.ingest_tally import IngestTally
from rfbulk.pipeline.retrying import persist
from rfbulk.pipeline.watching import BatchPorts, watch_batch

if TYPE_CHECKING:
    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.pipeline.ingest_ports import IngestPorts, ReferenceSource
    from rfbulk.settings import IngestOptions

T = TypeVar("T")

PATIENCE: Final = 40
"""Quiet periods without any change, and with nothing pending, until what is not counted is taken for lost: ten minutes.
Of videos the service lists no shards that could tell."""

LEAST_QUIET_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class References:
    """References of our own: each is known by its name, and asked for once."""

    media: MediaKind
    source: ReferenceSource


@dataclass(frozen=True, slots=True)
class ReferenceList:
    """A list elsewhere, which the service fetches itself: what it names, the service alone knows."""

    media: MediaKind
    url: SignedUrl


@dataclass(frozen=True, slots=True)
class Query:
    """What the platform finds among its own assets."""

    text: str
    media: MediaKind = "images"


@dataclass(frozen=True, slots=True)
class IngestRequest:
    """What a batch is to be filled with, and how. Setting `stop` ends it; a request under way is made again later."""

    batch: BatchId
    what: References | ReferenceList | Query
    options: IngestOptions
    policy: RetryPolicy
    stop: anyio.Event = field(default_factory=anyio.Event)


def kind_of(what: References | ReferenceList | Query) -> IngestKind:
    """Return what an ingest is, in a word."""
    return "query" if isinstance(what, Query) else what.media


async def ingest(ports: IngestPorts, request: IngestRequest) -> IngestReport:
    """Carry an ingest out and return its report.

    Raises:
        RfbulkError: it could not be finished; `ingest_report` on the error tells how far it came.
    """
    return await _Ingest(ports, request).run()


class _Ingest:
    """The state of one ingest. `run` once."""

    def __init__(self, ports: IngestPorts, request: IngestRequest) -> None:
        options = request.options
        self._ports = ports
        self._request = request
        self._display_name = options.batch_name or request.batch
        self._telling = Telling(options.notifications_url, options.notification_categories)
        self._tally = IngestTally(ports.tell, ports.clock.monotonic())
        self._asker = Asker(
            ports, request.batch, self._display_name, self._telling, options.ingest_id, request.policy, self._tally
        )
        self._asking: AskForReferences | None = None
        self._baseline = 0
        self._state: BatchState | None = None

    async def run(self) -> IngestReport:
        self._ports.reach(Failpoint.CHECKPOINT_OPENED)
        what = self._request.what
        begun = TransferBegun("ingest", self._request.batch, (kind_of(what),), what.media)
        with told(self._ports.tell, self._ports.clock, begun, self._tally.ending):
            return await with_report(self._run_and_report, self._attach_report)

    async def _run_and_report(self) -> IngestReport:
        await self._run()
        return await self._report()

    async def _attach_report(self, error: RfbulkError) -> None:
        error.ingest_report = await self._report()

    async def _run(self) -> None:
        self._tally.before = (await self._ports.checkpoint.totals()).accepted
        await unless_stopped(self._request.stop, self._work)

    async def _work(self) -> None:
        await self._check_batch()
        self._ports.tell(PhaseChanged("sending"))
        await self._asker.begin()
        await self._ask()
        await self._ports.checkpoint.record_fact("scan_finished", "yes")
        self._ports.reach(Failpoint.INGEST_SENT)
        if self._request.options.wait:
            await self._confirm()

    async def _check_batch(self) -> None:
        """A batch that is gone, or that holds something else, is found before anything is asked for."""
        name, media = self._request.batch, self._request.what.media
        batch = await self._persist(lambda: self._ports.service.batch(name))
        totals = await self._ports.checkpoint.totals()
        if batch is None and totals.requests:
            if isinstance(self._request.what, Query):
                return  # its batch comes into being when it is filled
            raise UsageError(
                "resume",
                f"batch {name}",
                cause="the service does not know it any more; it keeps a batch for 7 days",
                advice="choose another --batch-id, or --restart with another --ingest-id",
            )
        if batch is not None and media == "images" and batch.batch_type == "simple-batch":
            raise self._unfit("it was filled by single uploads, which the service does not mix with others")
        if batch is not None and batch.content_type not in {"", media}:
            raise self._unfit(f"it holds {batch.content_type}, and these are {media}")
        recorded = await self._ports.checkpoint.fact("baseline")
        if recorded is None:
            recorded = str(await self._persist(lambda: self._ports.service.count(name)) or 0)
            await self._ports.checkpoint.record_fact("baseline", recorded)
        self._baseline = int(recorded)

    def _unfit(self, cause: str) -> UsageError:
        return UsageError("fill", f"batch {self._request.batch}", cause=cause, advice="choose another --batch-id")

    async def _ask(self) -> None:
        what = self._request.what
        match what:
            case References():
                self._asking = AskForReferences(self._asker, what.source, what.media)
                await self._asking.ask_for_all()
                if not self._tally.found and not self._tally.refused:
                    cause = "there is no reference to ask for"
                    raise UsageError(
                        "fill",
                        f"batch {self._request.batch}",
                        cause=cause,
                        advice="look at the source, and at --include and --exclude",
                    )
            case ReferenceList():
                url = what.url.reveal()
                await self._ask_once(mark_of(url), lambda name: list_body(what.media, url, name, self._telling))
            case Query():
                display_name = self._display_name
                await self._ask_once(what.text, lambda name: query_body(what.text, display_name, name, self._telling))
            case _:  # pragma: no cover
                assert_never(what)

    async def _ask_once(self, mark: str, body_of: Callable[[str], IngestBody]) -> None:
        name = derived_ingest_id(self._request.batch, kind_of(self._request.what), [Reference("", mark)])
        await self._asker.ask_once(name, body_of)
        if self._tally.duplicated:
            text = "the service has accepted an ingest of this name before; another --ingest-id asks for it anew"
            self._ports.tell(Warned(text))
        self._ports.tell(self._tally.progress(self._ports.clock.monotonic()))

    # the rest

    async def _confirm(self) -> None:
        options, policy = self._request.options, self._request.policy
        ports = self._ports
        watching = BatchPorts(ports.staging, ports.clock, policy, ports.tell, await self._expecting(), ports.bell)
        self._state = await watch_batch(
            watching,
            self._request.batch,
            seconds=options.wait_seconds,
            quiet_seconds=options.quiet_seconds,
            patience_seconds=max(options.quiet_seconds, LEAST_QUIET_SECONDS) * PATIENCE,
        )
        if self._state.is_ready:
            await ports.checkpoint.record_fact("confirmed", "yes")
            ports.reach(Failpoint.INGEST_CONFIRMED)
            ports.tell(PhaseChanged("done"))

    async def _expecting(self) -> Callable[[], Awaitable[Expected]]:
        """What a list or a query brings nobody knows: something more than was there, and then no more."""
        totals = await self._ports.checkpoint.totals()
        files = max(totals.accepted, self._baseline + totals.accepted - totals.from_before)

        async def known() -> Expected:
            return Expected(files)

        async def unknown() -> Expected:
            if not self._baseline:
                return Expected()
            count = await self._persist(lambda: self._ports.service.count(self._request.batch))
            return Expected(is_filling=(count or 0) <= self._baseline)

        return known if isinstance(self._request.what, References) else unknown

    async def _persist(self, call: Callable[[], Awaitable[T]]) -> T:
        return await persist(call, policy=self._request.policy, clock=self._ports.clock, tell=self._ports.tell)

    async def _report(self) -> IngestReport:
        totals, tally = await self._ports.checkpoint.totals(), self._tally
        left = totals.pending + (self._asking.gathered if self._asking else 0)
        report = IngestReport(
            batch_id=self._request.batch,
            kind=kind_of(self._request.what),
            planned=totals.accepted + totals.lost + left,
            sent=totals.accepted,
            failed=totals.lost,
            left=left,
            refused=tally.refused,
            skipped=tally.skipped,
            changed=tally.changed,
            already_sent=tally.before,
            requests=totals.requests,
            duplicated=totals.duplicated,
            ingest_ids=totals.ingest_ids,
            shards=totals.shards,
            retries=dict(tally.retries),
            wall_seconds=self._ports.clock.monotonic() - tally.started,
            failures=tally.failures,
        )
        _add_confirmation(report, self._state, self._baseline)
        return report


def _add_confirmation(report: IngestReport, state: BatchState | None, baseline: int) -> None:
    if state is None:
        return
    report.indexed = max(0, state.count - baseline)
    report.is_confirmed = state.is_ready
    report.ingest_failed = not state.is_ready
    report.failed_files = list(state.failed_files)
    missing = 0 if state.expected is None else state.expected - state.count
    told = [f"{missing:,} of them are not counted"] if missing > 0 else []
    reasons = told + [f"{name}: {why}" for name, why in (*state.failed, *state.failed_files)]
    report.ingest_detail = "; ".join(reasons[:10])
