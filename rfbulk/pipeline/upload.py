"""An upload from beginning to end: scan and plan, send, decide what is unsure, confirm, report."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import anyio.from_thread

from rfbulk.core.advice import seconds_until, too_many
from rfbulk.core.failpoints import Failpoint
from rfbulk.core.forms import SHARDS, Form
from rfbulk.core.limits import ACCEPTED_IMAGES, ACCEPTED_VIDEOS
from rfbulk.core.pacing import Pace, PaceLimits
from rfbulk.core.transfer import PENDING, Shard, ShardState
from rfbulk.errors import RfbulkError, TransferFailed, UsageError
from rfbulk.events import BatchExpires, Phase, PhaseChanged, TransferBegun, Warned
from rfbulk.pipeline.bookkeeping import build_report
from rfbulk.pipeline.confirming import Baseline, Confirmation, Confirmer, baseline_of
from rfbulk.pipeline.endings import cancel_when_stopped, told, unless_stopped, with_report
from rfbulk.pipeline.gate import Gate
from rfbulk.pipeline.listing import Listings
from rfbulk.pipeline.read_ahead import ReadAhead
from rfbulk.pipeline.scanning import ScanPlan, scan_and_plan
from rfbulk.pipeline.second_tries import SecondTries
from rfbulk.pipeline.sending import Carrier
from rfbulk.pipeline.share import Share
from rfbulk.pipeline.singles import SingleCarrier
from rfbulk.pipeline.tally import Tally
from rfbulk.pipeline.trouble import Look
from rfbulk.pipeline.unsure import UnsureShards

if TYPE_CHECKING:
    from collections.abc import Callable

    from rfbulk.core.model import BatchId, Entry, Refusal
    from rfbulk.core.report import UploadReport
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.pipeline.ports import Ports
    from rfbulk.settings import UploadOptions

TICK_SECONDS = 0.5
TICKS_PER_WINDOW = 2


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What is to be uploaded, and how. `rename` gives a changed file its new name, None leaves changed files alone.

    Setting `stop` ends the upload gently: shards in flight get the grace period, nothing new begins. `most_at_once` is
    what the memory, or a cluster, allows of shards in flight (None: the options), `first_at_once` where to begin.
    """

    batch: BatchId
    options: UploadOptions
    policy: RetryPolicy
    trailer: bytes
    rename: Callable[[Entry], Entry] | None
    stop: anyio.Event = field(default_factory=anyio.Event)
    form: Form = SHARDS
    look: Look | None = None
    most_at_once: int | None = None
    first_at_once: int | None = None


async def upload(ports: Ports, request: UploadRequest) -> UploadReport:
    """Carry an upload out and return its report.

    Raises:
        RfbulkError: the upload could not be finished; `report` on the error tells how far it came.
    """
    return await _Upload(ports, request).run()


class _Upload:
    """The state of one upload. `run` once."""

    def __init__(self, ports: Ports, request: UploadRequest) -> None:
        options = request.options
        self._ports = ports
        self._request = request
        self._tally = Tally(
            ports.tell, ports.clock.monotonic(), ports.source.roots, request.form.media, request.form.has_grants
        )
        most = request.most_at_once or options.most_shards_at_once
        first = min(options.concurrency or request.first_at_once or PaceLimits().first, most)
        fixed = options.concurrency is not None
        limits = PaceLimits(first if fixed else 1, first, first if fixed else most)
        self._gate = Gate(Pace(limits), ports.clock, ports.sender)
        self._planner = request.form.planner(
            max_images=options.shard_images, max_bytes=options.shard_bytes, trailer=request.trailer
        )
        self._told_phase: Phase | None = None
        self._wake = anyio.Event()
        self._scan_begun = anyio.Event()
        self._scan_ended = False
        self._has_hinted = False
        self._listings = Listings(ports, request.batch, request.policy)
        self._confirmer = Confirmer(
            ports,
            self._listings,
            self._tally,
            options.quiet_seconds,
            options.wait_seconds,
            options.verify == "names",
            request.form.has_tars,
            None if options.partition is None else Share(self._listings, ports.checkpoint),
        )
        self._confirmation: Confirmation | None = None

    async def run(self) -> UploadReport:
        self._ports.reach(Failpoint.CHECKPOINT_OPENED)
        tally = self._tally
        where = tuple(tally.shown_path(number, b"") for number in range(len(tally.roots)))
        begun = TransferBegun("upload", self._request.batch, where, tally.content)
        with told(self._ports.tell, self._ports.clock, begun, tally.ending):
            return await with_report(self._run_and_report, self._attach_report)

    async def _run_and_report(self) -> UploadReport:
        await self._run()
        return await self._report()

    async def _attach_report(self, error: RfbulkError) -> None:
        error.report = await self._report()

    async def _run(self) -> None:
        await self._begin()
        baseline = await unless_stopped(self._request.stop, self._look_at_batch)
        if baseline is None:
            return
        if self._request.options.retry_failed:
            baseline = await unless_stopped(self._request.stop, partial(self._second_tries().plan, baseline))
            if baseline is None:
                return
        self._phase("scanning")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._tick)
            await self._send_rounds(baseline)
            tasks.cancel_scope.cancel()
        if self._tally.is_scanned and self._tally.images_seen + self._tally.images_of_others == 0:
            raise self._nothing_to_send()
        if not self._request.stop.is_set():
            await unless_stopped(self._request.stop, lambda: self._confirm(baseline))
        if not self._request.stop.is_set():
            self._phase("done")

    async def _begin(self) -> None:
        checkpoint = self._ports.checkpoint
        await checkpoint.begin_run(keeps_quarantined=self._request.options.retry_failed)
        totals = await checkpoint.totals()
        self._tally.take_stock(totals)

    async def _look_at_batch(self) -> Baseline:
        await self._check_batch(has_sent=self._tally.shards_sent > 0)
        return await baseline_of(self._ports, self._listings)

    async def _check_batch(self, *, has_sent: bool) -> None:
        """A batch that is gone, or that was filled the other way, is found before anything is sent."""
        batch = await self._listings.batch()
        name = self._request.batch
        if batch is None:
            if has_sent:
                raise UsageError(
                    "resume",
                    f"batch {name}",
                    cause="the service does not know it any more; it keeps a batch for 7 days",
                    advice="--restart sends everything again",
                )
            return
        if unfit := self._request.form.unfit(batch):
            raise UsageError("upload into", f"batch {name}", cause=unfit, advice="choose another --batch-id")
        left = seconds_until(batch.expiry_date, self._ports.service.server_now())
        if left is not None:
            self._ports.tell(BatchExpires(name, left))
        if not has_sent and self._request.options.partition is None:
            media = self._request.form.media
            text = f"batch {name} exists already: {media} of the same name in it cannot be told from these"
            self._ports.tell(Warned(text))

    # sending

    def _second_tries(self) -> SecondTries:
        options, form, trailer = self._request.options, self._request.form, self._request.trailer
        planner = partial(form.planner, max_images=options.shard_images, max_bytes=options.shard_bytes, trailer=trailer)
        return SecondTries(self._ports, self._confirmer, self._tally, form, trailer, planner)

    async def _send_rounds(self, baseline: Baseline) -> None:
        options = self._request.options
        form, trailer = self._request.form, self._request.trailer
        unsure = UnsureShards(self._ports, self._confirmer, self._tally, options.on_unsure, form, trailer)
        async with anyio.create_task_group() as tasks:
            if self._request.options.retry_failed:  # what it sends was planned before
                self._scan_ended = True
            else:
                tasks.start_soon(self._scan)
                await self._scan_begun.wait()
            await self._send_pending()
        for _ in range(form.rounds):  # a service that loses it every time is named
            if self._request.stop.is_set() or not await self._ports.checkpoint.in_state(ShardState.UNSURE, limit=1):
                return
            self._phase("deciding-unsure")
            if not await unless_stopped(self._request.stop, lambda: unsure.decide(baseline)):
                return
            await self._send_pending()

    async def _scan(self) -> None:
        rename = self._request.rename

        def on_refusals(refusals: list[Refusal]) -> None:
            anyio.from_thread.run_sync(self._take_refusals, refusals)

        def on_begun() -> None:
            anyio.from_thread.run_sync(self._scan_begun.set)

        plan = ScanPlan(
            self._ports,
            self._planner,
            self._tally,
            rename,
            on_begun,
            self._take_planned,
            on_refusals,
            self._request.options.partition,
        )
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_when_stopped, self._request.stop, tasks.cancel_scope)
            await scan_and_plan(plan)
            tasks.cancel_scope.cancel()
        self._scan_begun.set()  # also if it was stopped before
        if self._tally.is_scanned:
            await self._ports.checkpoint.record_fact("scan_finished", "yes")
            self._ports.reach(Failpoint.SCAN_FINISHED)
        self._scan_ended = True
        self._wake_up()

    async def _send_pending(self) -> None:
        carrier = self._carrier()
        async with anyio.create_task_group() as tasks:
            watch = anyio.CancelScope()
            tasks.start_soon(self._limit_grace, tasks.cancel_scope, watch)
            await self._dispatch(tasks, carrier)
            watch.cancel()

    def _carrier(self) -> Carrier | SingleCarrier:
        request = self._request
        display_name = request.options.batch_name or request.batch
        if self._ports.singles is not None:
            return SingleCarrier(
                ports=self._ports,
                sender=self._ports.singles,
                batch=request.batch,
                display_name=display_name,
                policy=request.policy,
                gate=self._gate,
                tally=self._tally,
            )
        return Carrier(
            ports=self._ports,
            batch=request.batch,
            display_name=display_name,
            policy=request.policy,
            gate=self._gate,
            tally=self._tally,
            planner=self._planner,
            trailer=request.trailer,
            on_planned=self._wake_up,
            form=request.form,
            look=request.look,
        )

    async def _dispatch(self, tasks: anyio.abc.TaskGroup, carrier: Carrier | SingleCarrier) -> None:
        last, ahead = 0, ReadAhead(self._ports.checkpoint, tasks, self._planner.max_images)
        while not self._request.stop.is_set():
            self._wake = anyio.Event()
            nothing_can_follow = self._scan_ended and not self._gate.in_flight  # true before the look, not after it
            shards = await ahead.page_after(last)
            for shard in shards:
                await self._gate.enter()
                if self._request.stop.is_set():
                    self._gate.leave()
                    break
                last = shard.id
                tasks.start_soon(self._carry, carrier, shard)
            if not shards:
                if nothing_can_follow:
                    return
                self._gate.note_idle()
                await self._wake.wait()
        while self._gate.in_flight:
            self._wake = anyio.Event()
            await self._wake.wait()

    async def _carry(self, carrier: Carrier | SingleCarrier, shard: Shard) -> None:
        if not self._tally.shards_in_flight:
            self._phase("sending")
        self._tally.shards_in_flight += 1
        alone = shard.entries[0].name if len(shard.entries) == 1 else ""
        self._tally.board.enter(shard.id, alone, len(shard.entries))
        try:
            await carrier.carry(shard)
        finally:
            self._tally.board.leave(shard.id)
            self._tally.shards_in_flight -= 1
            self._gate.leave()
            self._wake_up()
        self._check_failures()

    async def _limit_grace(self, sending: anyio.CancelScope, watch: anyio.CancelScope) -> None:
        with watch:
            await self._request.stop.wait()
            self._phase("stopping")
            self._wake_up()
            await self._ports.clock.sleep(self._request.options.grace_seconds)
            sending.cancel()

    def _wake_up(self) -> None:
        self._wake.set()

    def _take_planned(self) -> None:
        self._wake_up()
        hint = too_many(self._request.form, self._tally.images_planned)
        if hint and not self._has_hinted:
            self._has_hinted = True
            self._ports.tell(Warned(hint))

    def _take_refusals(self, refusals: list[Refusal]) -> None:
        for refusal in refusals:
            self._tally.name(refusal)
        self._check_failures()

    def _check_failures(self) -> None:
        most = self._request.options.max_failures
        failed = self._tally.failed + self._tally.refused
        if most is not None and failed > most:
            raise TransferFailed(
                "upload to",
                f"batch {self._request.batch}",
                cause=f"{failed} images have failed, more than --max-failures {most}",
                advice="mend them, then run the same again to resume",
            )

    # the rest

    async def _confirm(self, baseline: Baseline) -> None:
        if not self._request.options.wait or not self._tally.shards_sent:
            return
        totals = await self._ports.checkpoint.totals()
        if totals.count(PENDING | {ShardState.UNSURE}):
            return  # what is left must be sent before the service can agree
        self._phase("confirming")
        self._confirmation = await self._confirmer.confirm(baseline)

    async def _tick(self) -> None:
        ticks, bytes_before = 0, 0
        while True:
            await self._ports.clock.sleep(TICK_SECONDS)
            ticks += 1
            self._tell_progress()
            if ticks % TICKS_PER_WINDOW == 0:
                self._gate.measure(self._tally.bytes_on_the_wire - bytes_before)
                bytes_before = self._tally.bytes_on_the_wire

    def _tell_progress(self) -> None:
        self._ports.tell(self._tally.progress(self._ports.clock.monotonic(), self._gate))

    def _phase(self, phase: Phase) -> None:
        """Tell a phase when it is entered: shards come and go within it."""
        if phase != self._told_phase and not (self._told_phase == "stopping" and phase == "sending"):
            self._told_phase = phase
            self._ports.tell(PhaseChanged(phase))

    def _nothing_to_send(self) -> UsageError:
        tally = self._tally
        media = self._request.form.media
        found = f"{tally.refused} {media} that cannot be sent and {tally.skipped} other files"
        accepted = sorted(ACCEPTED_IMAGES if media == "images" else ACCEPTED_VIDEOS)
        return UsageError(
            "upload",
            ", ".join(tally.shown_path(number, b"") for number in range(len(tally.roots))),
            cause=f"no {media[:-1]} to send was found, only {found}"
            if tally.refused or tally.skipped
            else f"it holds no {media[:-1]}",
            advice=f"accepted are {' '.join(accepted)}; look at --include and --exclude",
        )

    async def _report(self) -> UploadReport:
        self._tell_progress()
        report = await build_report(self._ports, self._tally, self._confirmation, self._request.batch)
        form = self._request.form
        report.content, report.is_one_by_one = form.media, not form.has_grants
        return report
