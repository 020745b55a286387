"""What is known of a transfer: the latest event of each kind, the rate over the last seconds, and how it may go on."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from rfbulk.core.forecast import History
from rfbulk.events import (
    AuditProgress,
    ConfirmProgress,
    Event,
    ExportProgress,
    IngestProgress,
    JobProgress,
    Phase,
    PhaseChanged,
    RunStepped,
    TransferBegun,
    UploadProgress,
)

if TYPE_CHECKING:
    from rfbulk.core.forecast import Forecast

WINDOW_SECONDS: Final = 10.0
"""How far back "now" reaches in a rate: shorter jumps with every shard, longer hides a stall."""

PHASES: Final[dict[Phase, str]] = {
    "scanning": "scanning",
    "sending": "sending",
    "deciding-unsure": "looking up what may have arrived",
    "confirming": "waiting for the service to index",
    "listing": "listing",
    "fetching": "fetching",
    "merging": "merging results",
    "stopping": "stopping",
    "done": "done",
}

AWAITED: Final = {
    "upload": "looking at the batch",
    "start": "starting the job",
    "wait": "waiting for the job",
    "export": "looking for the results",
}
"""What a step of a run does before it tells more of itself."""

VISIBLE: Final[frozenset[type]] = frozenset(
    {
        UploadProgress,
        ExportProgress,
        PhaseChanged,
        ConfirmProgress,
        JobProgress,
        IngestProgress,
        AuditProgress,
        RunStepped,
        TransferBegun,
    }
)
"""Events that change what a view shows. The next of them tells what all others came to."""


class State:
    """What is known of the transfer that is under way. A new one that begins wipes the last one's numbers away."""

    def __init__(self) -> None:
        self.step = ""
        self.phase: Phase = "scanning"
        self.begun: TransferBegun | None = None
        self.progress: UploadProgress | None = None
        self.confirm: ConfirmProgress | None = None
        self.job: JobProgress | None = None
        self.export: ExportProgress | None = None
        self.ingest: IngestProgress | None = None
        self.audit: AuditProgress | None = None
        self._window: deque[tuple[float, int]] = deque()
        self._history = History()

    def take(self, event: Event) -> None:
        """Take note of an event."""
        match event:
            case UploadProgress():
                self.progress = event
                self._note(event.seconds, event.bytes_on_the_wire, self.bytes_done - event.bytes_before)
            case ExportProgress():
                self.export = event
                self._note(event.seconds, event.bytes_received, event.files_fetched)
            case PhaseChanged():
                self.phase, self.job = event.phase, None
            case TransferBegun():
                self._begin(event)
            case ConfirmProgress():
                self.confirm = event
            case JobProgress():
                self.job = event
            case IngestProgress():
                self.ingest = event
                self._note(event.seconds, 0, event.accepted - event.accepted_before)
            case AuditProgress():
                self.audit = event
            case RunStepped():
                self._forget()
                self.step = event.step
            case _:
                pass

    def _begin(self, event: TransferBegun) -> None:
        self._forget()
        self.begun = event

    def _forget(self) -> None:
        self.begun = self.progress = self.confirm = self.job = self.export = self.ingest = self.audit = None
        self._window.clear()
        self._history = History()

    def _note(self, seconds: float, moved: int, done: float) -> None:
        if not self._window:  # a run begins with nothing, whatever earlier ones did
            self._history.note(0.0, 0.0)
            self._window.append((0.0, 0))
        self._history.note(seconds, done)
        self._window.append((seconds, moved))
        while len(self._window) > 1 and seconds - self._window[0][0] > WINDOW_SECONDS:
            self._window.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds."""
        if len(self._window) < 2:
            return 0.0
        (began, first), (ended, last) = self._window[0], self._window[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    @property
    def doing(self) -> str:
        """What goes on, in words."""
        return AWAITED.get(self.step, PHASES[self.phase]) if self.begun is None else PHASES[self.phase]

    @property
    def average(self) -> float:
        """Bytes per second over this run."""
        if self.export is not None:
            moved, seconds = self.export.bytes_received, self.export.seconds
        elif self.progress is not None:
            moved, seconds = self.progress.bytes_on_the_wire, self.progress.seconds
        else:
            return 0.0
        return moved / seconds if seconds > 0 else 0.0

    @property
    def bytes_done(self) -> int:
        """Image bytes that are through, those in flight taken in. In flight are tars, larger than what they hold."""
        progress = self.progress
        if progress is None:
            return 0
        return min(progress.bytes_planned, progress.bytes_sent + progress.bytes_in_flight)

    @property
    def is_counted(self) -> bool:
        """Whether it is known how much there is to do."""
        if self.export is not None:
            return self.export.listing_finished
        return self.progress is not None and self.progress.scan_finished

    @property
    def forecast(self) -> Forecast | None:
        """How long what is known to be left takes, None while that cannot be known."""
        if self.export is not None:
            export = self.export
            left = export.files_listed - export.files_fetched - export.files_here - export.failures
            return self._history.forecast(left, export.rest_seconds)
        if self.ingest is not None:
            return self._history.forecast(self.ingest.found - self.ingest.accepted - self.ingest.failures)
        if self.progress is not None:
            return self._history.forecast(self.progress.bytes_planned - self.bytes_done, self.progress.rest_seconds)
        return None
