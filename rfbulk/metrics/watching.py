"""From events to metrics."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, get_args

from prometheus_client import REGISTRY

from rfbulk import __version__
from rfbulk.core.forecast import History
from rfbulk.events import (
    Advised,
    AuditProgress,
    BatchExpires,
    ConfirmProgress,
    Event,
    ExportProgress,
    FetchRetried,
    FileNamed,
    FilesFetched,
    FlowEnded,
    IngestProgress,
    JobProgress,
    NoticeKept,
    PhaseChanged,
    RemoteFileNamed,
    RequestRetried,
    RunStepped,
    ShardChanged,
    ShardRetried,
    ShardSent,
    TransferBegun,
    TransferEnded,
    UploadProgress,
    Wait,
    Warned,
)
from rfbulk.metrics.families import Families

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Counter, Gauge

    from rfbulk.events import OnEvent

MOST_LABELS: Final = 64
"""Values that one label may take; what comes beyond them is counted as `other`."""

MOST_UNDERWAY: Final = 4096
"""Shards whose beginnings are remembered: far more than are ever under way."""


class Metrics:
    """Metrics of all transfers of a process, in one registry (the library's own one by default).

    It is an `on_event` for one transfer after the other. Of transfers that go on at the same time, each takes one of
    its own by `watch()`: counters add up over all of them, gauges tell of whichever told something last.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._families = Families(registry)
        self._families.info.info({"version": __version__})
        self._monotonic, self._now = monotonic, now
        self._labels: dict[int, set[str]] = {}
        self._first = self.watch()

    def __call__(self, event: Event) -> None:
        """Take note of an event."""
        self._first(event)

    def watch(self) -> OnEvent:
        """Return an `on_event` for a transfer that goes on beside others."""
        return _Watch(self._families, self._bounded, self._monotonic, self._now).take

    def _bounded(self, counter: Counter, value: str) -> Counter:
        """The counter of a label's value, as long as there are few of them."""
        known = self._labels.setdefault(id(counter), set())
        if value not in known and len(known) >= MOST_LABELS:
            return counter.labels("other")
        known.add(value)
        return counter.labels(value)


class _Watch:
    """What one transfer adds. Events that tell sums are compared with what they told before."""

    def __init__(
        self,
        families: Families,
        bounded: Callable[[Counter, str], Counter],
        monotonic: Callable[[], float],
        now: Callable[[], float],
    ) -> None:
        self._families, self._bounded = families, bounded
        self._monotonic, self._now = monotonic, now
        self._began: OrderedDict[int, float] = OrderedDict()
        self._takers: dict[type, Callable[..., None]] = {
            TransferBegun: self._begin,
            TransferEnded: self._end,
            PhaseChanged: lambda event: families.phase.state(event.phase),
            UploadProgress: self._upload,
            ShardChanged: self._shard,
            ShardSent: self._sent,
            ShardRetried: lambda event: families.retry_delay.observe(event.delay),
            FetchRetried: lambda event: families.retry_delay.observe(event.delay),
            RequestRetried: self._request,
            FileNamed: lambda event: bounded(families.upload_failures, event.failure.reason).inc(),
            RemoteFileNamed: lambda event: bounded(families.export_failures, event.failure.reason).inc(),
            ExportProgress: self._export,
            FilesFetched: self._fetched,
            ConfirmProgress: self._confirm,
            JobProgress: self._job,
            IngestProgress: self._ingest,
            AuditProgress: self._audit,
            NoticeKept: lambda event: bounded(families.notices, event.delivery).inc(),
            FlowEnded: lambda _event: families.flows.inc(),
            BatchExpires: lambda event: families.expires.set(event.seconds + now()),
            Advised: lambda _event: None,  # words
            Warned: lambda _event: families.warnings.inc(),
            RunStepped: lambda _event: None,  # its transfers tell of themselves
        }
        self._start_over()

    def take(self, event: Event) -> None:
        """Take note of an event."""
        self._takers[type(event)](event)

    def _start_over(self) -> None:
        self._moved = 0
        self._retries: Mapping[str, int] = {}
        self._history = History()
        self._history.note(0.0, 0.0)
        self._began.clear()

    def _begin(self, event: TransferBegun) -> None:
        self._start_over()
        self._families.begun.labels(event.kind).inc()

    def _end(self, event: TransferEnded) -> None:
        outcome = "error" if event.error else "complete" if event.done >= event.total else "incomplete"
        self._families.ended.labels(event.kind, outcome).inc()
        for gauge in (self._families.upload_in_flight, self._families.export_in_flight):
            gauge.set(0)

    # uploads

    def _upload(self, event: UploadProgress) -> None:
        families = self._families
        families.upload_bytes.inc(self._more(event.bytes_on_the_wire))
        self._add_retries(families.upload_retries, event.retries)
        families.upload_planned_images.set(event.images_planned)
        families.upload_planned_bytes.set(event.bytes_planned)
        families.upload_done_images.set(event.images_sent)
        families.upload_done_bytes.set(event.bytes_sent)
        families.upload_scanned.set(event.scan_finished)
        families.upload_in_flight.set(event.shards_in_flight)
        families.upload_bytes_in_flight.set(event.bytes_in_flight)
        families.upload_concurrency.set(event.concurrency)
        families.upload_rest.set(event.rest_seconds)
        _set_waits(families.upload_waiting, event.waits)
        done = min(event.bytes_planned, event.bytes_sent + event.bytes_in_flight)
        left = self._left(event.seconds, done - event.bytes_before, event.bytes_planned - done, event.rest_seconds)
        families.upload_left.set(left)

    def _shard(self, event: ShardChanged) -> None:
        self._families.upload_changes.labels(event.state).inc()
        began = self._began.pop(event.shard, None)
        if event.state == "sending":
            self._began[event.shard] = self._monotonic()
            if len(self._began) > MOST_UNDERWAY:
                self._began.popitem(last=False)
        elif event.state == "sent" and began is not None:
            self._families.upload_shard_seconds.observe(self._monotonic() - began)

    def _sent(self, event: ShardSent) -> None:
        self._families.upload_images.inc(event.images)
        self._families.upload_shards.inc()
        self._families.upload_success.set(self._now())

    def _request(self, event: RequestRetried) -> None:
        self._families.requests_retried.inc()
        self._families.retry_delay.observe(event.delay)

    # exports

    def _export(self, event: ExportProgress) -> None:
        families = self._families
        families.export_bytes.inc(self._more(event.bytes_received))
        self._add_retries(families.export_retries, event.retries)
        families.export_listed.set(event.files_listed)
        families.export_done.set(event.files_fetched + event.files_here)
        families.export_all_listed.set(event.listing_finished)
        families.export_in_flight.set(event.fetches_in_flight)
        families.export_concurrency.set(event.concurrency)
        families.export_rest.set(event.rest_seconds)
        _set_waits(families.export_waiting, event.waits)
        to_do = event.files_listed - event.files_fetched - event.files_here - event.failures
        families.export_left.set(self._left(event.seconds, event.files_fetched, to_do, event.rest_seconds))

    def _fetched(self, event: FilesFetched) -> None:
        self._families.export_files.inc(event.files)
        self._families.export_success.set(self._now())

    # the rest

    def _confirm(self, event: ConfirmProgress) -> None:
        self._families.counted.set(event.counted)
        self._families.expected.set(event.expected)
        self._families.pending.set(event.shards_pending or 0)

    def _job(self, event: JobProgress) -> None:
        numbers = {"all": event.tasks, "done": event.tasks_done, "failed": event.tasks_failed}
        for state, number in (numbers | {"running": event.tasks_running}).items():
            self._families.job_tasks.labels(state).set(number)
        self._families.job_progress.set(event.progress)

    def _ingest(self, event: IngestProgress) -> None:
        self._families.ingest_found.set(event.found)
        self._families.ingest_references.set(event.accepted)
        self._families.ingest_requests.set(event.requests)
        self._families.ingest_failures.set(event.failures)

    def _audit(self, event: AuditProgress) -> None:
        self._families.audit_listed.set(event.listed)
        self._families.audit_differences.set(event.differences)

    def _more(self, moved: int) -> int:
        """What a sum has grown by; a transfer whose beginning was not told begins where its sum falls."""
        before, self._moved = self._moved, moved
        return moved - before if moved >= before else moved

    def _add_retries(self, counter: Counter, retries: Mapping[str, int]) -> None:
        for cause, count in retries.items():
            more = count - self._retries.get(cause, 0)
            if more > 0:
                self._bounded(counter, cause).inc(more)
        self._retries = dict(retries)

    def _left(self, seconds: float, done: float, left: float, rest_seconds: float) -> float:
        self._history.note(seconds, done)
        forecast = self._history.forecast(left, rest_seconds)
        return float("nan") if forecast is None else forecast.seconds


def _set_waits(gauge: Gauge, waits: Mapping[Wait, int]) -> None:
    for wait in get_args(Wait):
        gauge.labels(wait).set(waits.get(wait, 0))
