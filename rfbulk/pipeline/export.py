"""An export from beginning to end: parts, pages, what is here already, fetching, report."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.abc

from rfbulk.core.exporting import Part, unknown_parts
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchKind
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.errors import RfbulkError, TransferFailed, UsageError
from rfbulk.events import Phase, PhaseChanged, TransferBegun, Warned
from rfbulk.pipeline.endings import cancel_when_stopped, told, unless_stopped, with_report
from rfbulk.pipeline.export_bookkeeping import build_export_report
from rfbulk.pipeline.export_tally import ExportLoad, ExportTally
from rfbulk.pipeline.fetching import Fetcher
from rfbulk.pipeline.fresh_urls import FileListing, FreshUrls, Wanted
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.grouping import Groups
from rfbulk.pipeline.listing_files import FileLister
from rfbulk.pipeline.recording import Recorder

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportReport
    from rfbulk.core.model import BatchId
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.pipeline.export_ports import ExportPorts
    from rfbulk.settings import ExportOptions

TICK_SECONDS = 0.25
TICKS_PER_PROGRESS = 2
TICKS_PER_WINDOW = 4
FIRST_WINDOWS = frozenset({1, 2})
"""Ticks that end a window of their own: a machine that is slower than its line is found out in the first quarter of a
second, before eight threads have spent seconds of waiting for one interpreter."""

FIRST_LEVEL = 8
"""Connections to begin with: each spends most of its time waiting for answers."""

LEAST_ARCHIVES = 2
"""Archives to begin with where there is one core: one is received while another is unpacked. Where there are more, as
many as cores: a further one would only wait for its turn. A line that is slower than the cores soon gets more."""

FLUSH_SECONDS = 10.0
"""What a cancelled export gets to record what has landed. What it does not record is known again by its content."""

MULTIPART = "multipart-batch"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported, and where to. `reserved` are paths in the target that no remote file may take.

    Setting `stop` ends the export gently: fetches in flight get the grace period, nothing new begins. `most_at_once`
    is what a cluster allows of groups in flight (None: the options), `first_at_once` where to begin.
    """

    batch: BatchId
    options: ExportOptions
    policy: RetryPolicy
    target: bytes
    staging: bytes
    reserved: tuple[str, ...] = ()
    stop: anyio.Event = field(default_factory=anyio.Event)
    most_at_once: int | None = None
    first_at_once: int | None = None


async def export(ports: ExportPorts, request: ExportRequest) -> ExportReport:
    """Carry an export out and return its report.

    Raises:
        RfbulkError: the export could not be finished; `export_report` on the error tells how far it came.
    """
    return await _Export(ports, request).run()


class _Export:
    """The state of one export. `run` once."""

    def __init__(self, ports: ExportPorts, request: ExportRequest) -> None:
        options = request.options
        self._ports = ports
        self._request = request
        self._parts: list[Part] = []
        self._tally = ExportTally(ports.tell, ports.clock.monotonic())
        most = request.most_at_once or options.most_fetches_at_once
        first = options.concurrency or min(request.first_at_once or FIRST_LEVEL, most)
        fixed = options.concurrency is not None
        limits = PaceLimits(first if fixed else 1, first, first if fixed else most)
        self._gate = Gate(Pace(limits), ports.clock, ExportLoad(self._tally, ports.receiver, ports.cores))
        self._listing = FileListing(ports, request.batch, request.policy, self._gate, self._tally)
        self._recorder = Recorder(ports, self._tally)
        self._fetcher = Fetcher(
            ports=ports,
            target=request.target,
            staging=request.staging,
            overwrite=options.overwrite,
            policy=request.policy,
            gate=self._gate,
            tally=self._tally,
            fresh_urls=FreshUrls(self._listing),
            recorder=self._recorder,
        )
        self._groups: Groups | None = None
        self._lister = FileLister(ports, self._listing, self._tally, options.unpack, self._check_failures)

    async def run(self) -> ExportReport:
        self._ports.reach(Failpoint.CHECKPOINT_OPENED)
        target = self._request.target.decode("utf-8", "backslashreplace")
        begun = TransferBegun("export", self._request.batch, (target,), "files")
        with told(self._ports.tell, self._ports.clock, begun, self._tally.ending):
            return await with_report(self._run_and_report, self._attach_report)

    async def _run_and_report(self) -> ExportReport:
        await self._run()
        return await self._report()

    async def _attach_report(self, error: RfbulkError) -> None:
        error.export_report = await self._report()

    async def _run(self) -> None:
        self._phase("listing")
        await self._ports.checkpoint.begin_run(self._request.reserved)
        names = await unless_stopped(self._request.stop, self._part_names)
        if names is None:
            return
        self._parts = await self._ports.checkpoint.parts(names)
        overwrite = self._request.options.overwrite
        self._tally.listed = await self._ports.checkpoint.begin_parts(self._parts, overwrite=overwrite)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tick)
                tasks.start_soon(self._recorder.run)
                await self._land_what_is_staged()
                await self._fetch_all()
                tasks.cancel_scope.cancel()
        except BaseException:
            with anyio.move_on_after(FLUSH_SECONDS, shield=True), suppress(RfbulkError):
                await self._recorder.flush()
            raise
        await self._recorder.flush()
        if self._request.stop.is_set():
            return
        if not self._tally.listed:
            self._ports.tell(Warned(f"batch {self._request.batch} lists no file: is it ready?"))
        self._phase("done")

    # what is asked for

    async def _part_names(self) -> list[str]:
        """Return the parts to be exported, none for a batch that has none."""
        batch, wanted = self._request.batch, self._request.options.parts
        found = await self._listing.persist(lambda: self._ports.service.batch(batch))
        if found is None:
            raise UsageError("export", f"batch {batch}", cause="there is no such batch", advice="`rfbulk batch list`")
        if found.batch_type != MULTIPART:
            if wanted:
                raise UsageError("export", f"batch {batch}", cause="it has no parts", advice="leave --part out")
            return []
        parts = await self._listing.persist(lambda: self._ports.service.parts(batch))
        names = [part.part_name for part in parts]
        unknown = unknown_parts(wanted, names)
        if unknown or not names:
            raise UsageError(
                "export",
                f"batch {batch}",
                cause=f"it has no part {', '.join(map(repr, unknown))}" if unknown else "it has no parts yet",
                advice=f"its parts are {', '.join(names)}" if names else "is it ready?",
            )
        return list(dict.fromkeys(wanted)) or names

    # fetching

    async def _land_what_is_staged(self) -> None:
        """Archives that an earlier run left whole in staging land now; what is lost of them is fetched again."""
        checkpoint = self._ports.checkpoint
        staged = await checkpoint.landing(self._parts)
        for element, members in zip(staged, await checkpoint.members(staged), strict=True):
            if await self._fetcher.land(element, members) is not None:
                await checkpoint.unstage(element)

    async def _fetch_all(self) -> None:
        groups = self._groups = Groups(self._gate, len(self._parts))
        async with anyio.create_task_group() as tasks:
            watch = anyio.CancelScope()
            tasks.start_soon(self._limit_grace, tasks.cancel_scope, watch)
            async with anyio.create_task_group() as work:
                work.start_soon(self._list, groups)
                await self._dispatch(work, groups)
            watch.cancel()

    async def _list(self, groups: Groups) -> None:
        stop = self._request.stop
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(cancel_when_stopped, stop, tasks.cancel_scope)
                await self._lister.list_parts(self._parts, groups)
                tasks.cancel_scope.cancel()
        finally:
            groups.close()
        if not stop.is_set():
            self._tally.is_listed = True
            await self._ports.checkpoint.record_fact("listing_finished", "yes")
            self._ports.reach(Failpoint.LISTING_FINISHED)

    async def _dispatch(self, tasks: anyio.abc.TaskGroup, groups: Groups) -> None:
        has_begun = False
        while not self._request.stop.is_set():
            group = await groups.take()
            if group is None:
                return
            if not has_begun and group[0].element.kind is not FetchKind.PLAIN:
                self._gate.pace.begin_at(max(LEAST_ARCHIVES, self._ports.cores))
            has_begun = True
            await self._gate.enter()
            if self._request.stop.is_set():
                self._gate.leave()
                return
            tasks.start_soon(self._carry, group, groups)

    async def _carry(self, group: list[Wanted], groups: Groups) -> None:
        if not self._tally.in_flight and not self._tally.fetched:
            self._phase("fetching")
        self._tally.in_flight += 1
        try:
            await self._fetcher.carry(group)
        finally:
            self._tally.in_flight -= 1
            self._gate.leave()
            groups.look_again()
        self._check_failures()

    async def _limit_grace(self, fetching: anyio.CancelScope, watch: anyio.CancelScope) -> None:
        with watch:
            await self._request.stop.wait()
            self._phase("stopping")
            await self._ports.clock.sleep(self._request.options.grace_seconds)
            fetching.cancel()

    def _check_failures(self) -> None:
        most, failed = self._request.options.max_failures, self._tally.failed
        if most is not None and failed > most:
            raise TransferFailed(
                "export",
                f"batch {self._request.batch}",
                cause=f"{failed} files have failed, more than --max-failures {most}",
                advice="look at them, then run the same again to resume",
            )

    # the rest

    async def _tick(self) -> None:
        ticks, bytes_before = 0, 0
        while True:
            await self._ports.clock.sleep(TICK_SECONDS)
            ticks += 1
            if ticks % TICKS_PER_PROGRESS == 0:
                self._tell_progress()
            if ticks % TICKS_PER_WINDOW == 0 or ticks in FIRST_WINDOWS:
                self._gate.measure(self._tally.bytes_received - bytes_before)
                bytes_before = self._tally.bytes_received

    def _tell_progress(self) -> None:
        queued = self._groups.waiting if self._groups else 0
        self._ports.tell(self._tally.progress(self._ports.clock.monotonic(), self._gate, queued))

    def _phase(self, phase: Phase) -> None:
        self._ports.tell(PhaseChanged(phase))

    async def _report(self) -> ExportReport:
        self._tell_progress()
        request = self._request
        return await build_export_report(self._ports, self._tally, request.batch, request.target, self._parts)
