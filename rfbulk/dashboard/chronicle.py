"""What is remembered of a command's events, in memory that does not grow with how much is moved or how long it takes.

Pure: the moment of each event is given. The page and the report are drawn from it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rfbulk.core.forecast import History, time_left
from rfbulk.core.report import UploadReport
from rfbulk.core.run_report import RunReport
from rfbulk.dashboard.cells import Place, ShardMap
from rfbulk.dashboard.series import Series
from rfbulk.events import (
    ConfirmProgress,
    Event,
    ExportProgress,
    FetchRetried,
    FileNamed,
    FlowEnded,
    IngestProgress,
    JobProgress,
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
    Warned,
)

if TYPE_CHECKING:
    from typing import TypeAlias

    Progress: TypeAlias = UploadProgress | ExportProgress | IngestProgress

MOST_FAILURES: Final = 500
MOST_TROUBLES: Final = 100
MOST_KINDS: Final = 60
"""Different causes, reasons, jobs or stages that are told apart; what comes beyond counts as `other`."""

MOST_PHASES: Final = 100
MOST_TRANSFERS: Final = 50
WINDOW_SECONDS: Final = 10.0
"""How far back "now" reaches in a rate, as on the terminal."""

_PLACES: Final[dict[str, Place]] = {
    "granted": Place.SENDING,
    "sending": Place.SENDING,
    "retrying": Place.RETRYING,
    "planned": Place.PLANNED,
    "left": Place.PLANNED,
    "sent": Place.SENT,
    "unsure": Place.UNSURE,
    "failed": Place.FAILED,
}


class Named(msgspec.Struct, frozen=True, gc=False):
    """A file that is not where it was to go, and why."""

    path: str
    reason: str
    detail: str


class Trouble(msgspec.Struct, frozen=True, gc=False):
    """Something that went wrong and is tried again after `delay` seconds, or a warning (`delay` is None)."""

    seconds: float
    subject: str
    cause: str
    detail: str = ""
    delay: float | None = None


class Span(msgspec.Struct, gc=False):
    """A phase, or a step of a run: when it began."""

    name: str
    began: float


class Transfer(msgspec.Struct):
    """One transfer of a command. `ended` is None while it lasts."""

    kind: str
    batch: str
    where: tuple[str, ...]
    began: float
    ended: float | None = None
    done: int = 0
    total: int = 0
    failures: int = 0
    error: str = ""


class Ending(msgspec.Struct, frozen=True):
    """How the command ended: its exit code, that in words, and the error if there was one."""

    exit_code: int
    words: str
    error: str = ""


class Moved(msgspec.Struct):
    """What a progress had counted when it was last told: bytes, items, retries, failures."""

    bytes: int = 0
    items: int = 0
    retries: int = 0
    failures: int = 0


class Chronicle:
    """Takes note of events, in the order in which they come. `revision` rises with every change."""

    def __init__(self) -> None:
        self.revision = 0
        self.now = 0.0
        self.phases: list[Span] = []
        self.steps: list[Span] = []
        self.transfers: list[Transfer] = []
        self.series = Series()
        self.map = ShardMap()
        self.progress: Progress | None = None
        self.confirm: ConfirmProgress | None = None
        self.jobs: dict[str, dict[int, JobProgress]] = {}
        self.named: list[Named] = []
        self.reasons: Counter[str] = Counter()
        self.troubles: deque[Trouble] = deque(maxlen=MOST_TROUBLES)
        self.warnings: deque[str] = deque(maxlen=MOST_TROUBLES)
        self.ending: Ending | None = None
        self.reports: list[Any] = []
        self.is_stopping = False
        self._retries_before: Counter[str] = Counter()
        self._moved = Moved()
        self._sampled = 0.0
        self._window: deque[tuple[float, int]] = deque()
        self._history = History()
        self._takers: dict[type[Event], Callable[[Any], None]] = {
            UploadProgress: self._upload,
            ExportProgress: self._export,
            IngestProgress: self._ingest,
            ShardChanged: self._shard_changed,
            ShardSent: self._shard_sent,
            ShardRetried: self._shard_retried,
            FetchRetried: self._fetch_retried,
            RequestRetried: self._request_retried,
            FileNamed: self._file_named,
            RemoteFileNamed: self._remote_file_named,
            PhaseChanged: self._phase_changed,
            TransferBegun: self._transfer_begun,
            TransferEnded: self._transfer_ended,
            ConfirmProgress: self._confirm,
            JobProgress: self._job,
            RunStepped: self._run_stepped,
            FlowEnded: self._flow_ended,
            Warned: self._warned,
        }

    def take(self, event: Event, now: float) -> None:
        """Take note of an event at `now`, in seconds since the command began."""
        taker = self._takers.get(type(event))
        if taker is not None:
            self.now = now
            self.revision += 1
            taker(event)

    def end(self, ending: Ending, now: float) -> None:
        """The command is over."""
        self.ending, self.now = ending, now
        self.revision += 1

    def report(self, report: Any) -> None:
        """Keep what a transfer returned."""
        self.reports.append(report)
        self.revision += 1
        uploaded = report.upload if isinstance(report, RunReport) else report
        if isinstance(uploaded, UploadReport) and uploaded.is_confirmed:
            self.map.confirm()

    def seed(self, places: dict[int, Place | None]) -> None:
        """Learn where earlier runs left their shards, None: split into others."""
        self.map.seed(places)
        self.revision += 1

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds."""
        if len(self._window) < 2:
            return 0.0
        (began, first), (ended, last) = self._window[0], self._window[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    @property
    def time_left(self) -> str:
        """How long what is known to be left takes and how sure that is, in words; empty while nobody knows."""
        match self.progress:
            case UploadProgress() as progress if self.ending is None:
                forecast = self._history.forecast(progress.bytes_planned - through(progress), progress.rest_seconds)
                return time_left(forecast, is_final=progress.scan_finished)
            case ExportProgress() as progress if self.ending is None:
                done = progress.files_fetched + progress.files_here + progress.failures
                forecast = self._history.forecast(progress.files_listed - done, progress.rest_seconds)
                return time_left(forecast, is_final=progress.listing_finished)
            case _:
                return ""

    @property
    def retries(self) -> Counter[str]:
        """How often what was tried again, by cause, over all transfers of the command."""
        progress = self.progress
        return self._retries_before + Counter(progress.retries if progress is not None else {})

    # progress

    def _upload(self, event: UploadProgress) -> None:
        self.map.reach(event.shards_planned)
        moved = Moved(event.bytes_on_the_wire, event.images_sent - event.images_before)
        self._sample(event, moved, event.shards_in_flight)
        self._history.note(event.seconds, through(event) - event.bytes_before)

    def _export(self, event: ExportProgress) -> None:
        self._sample(event, Moved(event.bytes_received, event.files_fetched), event.fetches_in_flight)
        self._history.note(event.seconds, event.files_fetched)

    def _ingest(self, event: IngestProgress) -> None:
        self._sample(event, Moved(0, event.accepted - event.accepted_before), 0)

    def _sample(self, event: Progress, moved: Moved, at_once: int) -> None:
        moved.retries, moved.failures = sum(event.retries.values()), event.failures
        last = self._moved
        self.series.spread(self._sampled, self.now, moved.bytes - last.bytes, moved.items - last.items)
        bucket = self.series.at(self.now)
        bucket.retries += max(0, moved.retries - last.retries)
        bucket.failures += max(0, moved.failures - last.failures)
        bucket.at_once += at_once
        bucket.samples += 1
        bucket.most_at_once = max(bucket.most_at_once, at_once)
        self.progress, self._moved, self._sampled = event, moved, self.now
        self._window.append((event.seconds, moved.bytes))
        while len(self._window) > 1 and event.seconds - self._window[0][0] > WINDOW_SECONDS:
            self._window.popleft()

    def _confirm(self, event: ConfirmProgress) -> None:
        self.confirm = event

    def _job(self, event: JobProgress) -> None:
        if event.job_id not in self.jobs and len(self.jobs) >= MOST_KINDS:
            return
        stages = self.jobs.setdefault(event.job_id, {})
        if event.stage_number in stages or len(stages) < MOST_KINDS:
            stages[event.stage_number] = event

    # shards

    def _shard_changed(self, event: ShardChanged) -> None:
        if event.state == "split":
            self.map.drop(event.shard)
        else:
            self.map.put(event.shard, _PLACES[event.state])

    def _shard_sent(self, event: ShardSent) -> None:
        self.map.put(event.shard, Place.SENT)

    # troubles

    def _shard_retried(self, event: ShardRetried) -> None:
        self.troubles.append(Trouble(self.now, f"shard {event.shard}", event.cause, event.detail, event.delay))

    def _fetch_retried(self, event: FetchRetried) -> None:
        more = f" and {event.files - 1:,} more" if event.files > 1 else ""
        self.troubles.append(Trouble(self.now, event.name + more, event.cause, event.detail, event.delay))

    def _request_retried(self, event: RequestRetried) -> None:
        self.troubles.append(Trouble(self.now, event.operation.removesuffix(" for"), event.cause, "", event.delay))

    def _warned(self, event: Warned) -> None:
        self.warnings.append(event.text)
        self.troubles.append(Trouble(self.now, "warning", event.text))

    def _file_named(self, event: FileNamed) -> None:
        failure = event.failure
        self._name(failure.path or failure.name, failure.reason, failure.detail)

    def _remote_file_named(self, event: RemoteFileNamed) -> None:
        failure = event.failure
        where = "/".join(filter(None, (failure.part, failure.shard, failure.name)))
        self._name(where, failure.reason, failure.detail)

    def _name(self, path: str, reason: str, detail: str) -> None:
        self.reasons[reason if reason in self.reasons or len(self.reasons) < MOST_KINDS else "other"] += 1
        if len(self.named) < MOST_FAILURES:
            self.named.append(Named(path, str(reason), detail))

    # where it stands

    def _phase_changed(self, event: PhaseChanged) -> None:
        if event.phase == "stopping":
            self.is_stopping = True
        is_same = bool(self.phases) and self.phases[-1].name == event.phase
        if not is_same and len(self.phases) < MOST_PHASES:
            self.phases.append(Span(event.phase, self.now))

    def _run_stepped(self, event: RunStepped) -> None:
        self.steps.append(Span(event.step, self.now))

    def _flow_ended(self, event: FlowEnded) -> None:
        self.troubles.append(Trouble(self.now, event.subject, event.outcome))

    def _transfer_begun(self, event: TransferBegun) -> None:
        self._retries_before = self.retries
        self.progress, self.confirm, self._moved, self._sampled = None, None, Moved(), self.now
        self._window.clear()
        self._history = History()
        if event.kind == "upload":
            self.map = ShardMap()
        if len(self.transfers) < MOST_TRANSFERS:
            self.transfers.append(Transfer(event.kind, event.batch_id, event.where, self.now))

    def _transfer_ended(self, event: TransferEnded) -> None:
        transfer = next((each for each in reversed(self.transfers) if each.batch == event.batch_id), None)
        if transfer is not None:
            transfer.ended, transfer.error = self.now, event.error
            transfer.done, transfer.total, transfer.failures = event.done, event.total, event.failures
        confirm = self.confirm
        if event.kind == "upload" and not event.error and confirm is not None and confirm.counted >= confirm.expected:
            self.map.confirm()


def through(progress: UploadProgress) -> int:
    """Image bytes that are through, those in flight taken in. In flight are tars, larger than what they hold."""
    return min(progress.bytes_planned, progress.bytes_sent + progress.bytes_in_flight)
