"""Printers of events: a live view on a terminal, a plain line every 30 seconds elsewhere, JSON lines in a log file."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import IO, TYPE_CHECKING, Final, Protocol

import click
import msgspec

from rfbulk.cli.export_progress import line_of_export
from rfbulk.cli.printing import duration, number, plain, size
from rfbulk.errors import UsageError
from rfbulk.events import (
    ConfirmProgress,
    Event,
    ExportProgress,
    FetchRetried,
    FileNamed,
    FilesFetched,
    IngestProgress,
    JobProgress,
    OnEvent,
    Phase,
    PhaseChanged,
    RemoteFileNamed,
    RequestRetried,
    ShardRetried,
    UploadProgress,
    Warned,
)

if TYPE_CHECKING:
    from rfbulk.cli.options import Globals

PLAIN_SECONDS: Final = 30.0
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


class View(Protocol):
    """Something that shows where an upload stands."""

    def show(self, state: State) -> None:
        """Show it, now or at the next good moment."""

    def say(self, text: str) -> None:
        """Print a line beside it."""


class State:
    """What is known of the transfer: the latest event of each kind, and the rate over the last seconds."""

    def __init__(self) -> None:
        self.phase: Phase = "scanning"
        self.progress: UploadProgress | None = None
        self.confirm: ConfirmProgress | None = None
        self.job: JobProgress | None = None
        self.export: ExportProgress | None = None
        self.ingest: IngestProgress | None = None
        self._history: deque[tuple[float, int]] = deque()

    def take(self, event: Event) -> None:
        """Take note of an event."""
        if isinstance(event, PhaseChanged):
            self.phase, self.job = event.phase, None
        elif isinstance(event, ConfirmProgress):
            self.confirm = event
        elif isinstance(event, JobProgress):
            self.job = event
        elif isinstance(event, UploadProgress):
            self.progress = event
            self._note(event.seconds, event.bytes_on_the_wire)
        elif isinstance(event, IngestProgress):
            self.ingest = event
        elif isinstance(event, ExportProgress):
            self.export = event
            self._note(event.seconds, event.bytes_received)

    def _note(self, seconds: float, moved: int) -> None:
        self._history.append((seconds, moved))
        while len(self._history) > 1 and seconds - self._history[0][0] > WINDOW_SECONDS:
            self._history.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second over the last seconds."""
        if len(self._history) < 2:
            return 0.0
        (began, first), (ended, last) = self._history[0], self._history[-1]
        return (last - first) / (ended - began) if ended > began else 0.0

    @property
    def bytes_done(self) -> int:
        """Image bytes that are through, those in flight taken in. In flight are tars, larger than what they hold."""
        progress = self.progress
        if progress is None:
            return 0
        return min(progress.bytes_planned, progress.bytes_sent + progress.bytes_in_flight)

    @property
    def seconds_left(self) -> float | None:
        """An estimate from this run's average, None while the total is unknown or nothing has been sent."""
        progress = self.progress
        if progress is None or not progress.scan_finished:
            return None
        done = self.bytes_done - progress.bytes_before
        if done <= 0 or progress.seconds <= 0:
            return None
        return (progress.bytes_planned - self.bytes_done) * progress.seconds / done


def line_of_job(job: JobProgress) -> str:
    """Return how far a job is, on one line."""
    if not job.stage:
        return f"job {job.job_id}: {job.state}"
    pieces = [
        f"{job.tasks_done:,} of {job.tasks:,} tasks",
        f"{job.tasks_running:,} running",
        f"{job.progress:.0%}",
    ]
    if job.tasks_failed:
        pieces.insert(1, f"{job.tasks_failed:,} failed")
    if job.seconds_left is not None:
        pieces.append(f"{duration(job.seconds_left)} left in this stage")
    where = f"{plain(job.stage)} ({job.stage_number} of {job.stages})"
    return f"job {job.job_id}: {job.state}, {where}: {', '.join(pieces)}"


def line_of_ingest(progress: IngestProgress) -> str:
    """Return how far an ingest of references is."""
    pieces = [number(progress.requests, "request")]
    if progress.found:  # of lists and queries the service alone knows how many there are
        pieces.insert(0, f"{progress.accepted:,} of {progress.found:,} references accepted")
    if progress.failures:
        pieces.append(f"{progress.failures:,} failures")
    return ", ".join(pieces)


def line_of(state: State) -> str:
    """Return where the transfer stands, on one line."""
    if state.job is not None:
        return line_of_job(state.job)
    if state.phase == "confirming" and state.confirm is not None:
        return f"{PHASES['confirming']}: {state.confirm.counted:,} of {state.confirm.expected:,} counted"
    if state.export is not None:
        return f"{PHASES[state.phase]}: {line_of_export(state.export, state.rate)}"
    if state.ingest is not None:
        return f"{PHASES[state.phase]}: {line_of_ingest(state.ingest)}"
    progress = state.progress
    if progress is None:
        return PHASES[state.phase]
    more = "" if progress.scan_finished else "+"
    pieces = [
        f"{progress.images_sent:,} of {progress.images_planned:,}{more} {progress.content}",
        f"{size(state.bytes_done)} of {size(progress.bytes_planned)}{more}",
        f"{progress.shards_sent:,} of {progress.shards_planned:,}{more} shards",
        f"{size(state.rate)}/s",
    ]
    if state.seconds_left is not None:
        pieces.append(f"{duration(state.seconds_left)} left")
    pieces.append(f"{progress.shards_in_flight} at once")
    if progress.images_before:
        pieces.append(f"{progress.images_before:,} by earlier runs")
    if progress.retries:
        pieces.append(f"{sum(progress.retries.values()):,} retries")
    if progress.failures:
        pieces.append(f"{progress.failures:,} failures")
    return f"{PHASES[state.phase]}: {', '.join(pieces)}"


class PlainView:
    """A line on stderr every half minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = now()

    def show(self, state: State) -> None:
        """Print the line if it is time."""
        if self._now() - self._last >= PLAIN_SECONDS:
            self._last = self._now()
            self.say(line_of(state))

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)


class SilentView:
    """Shows nothing; warnings are still said."""

    def show(self, state: State) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)


@contextmanager
def progress_printer(options: Globals) -> Iterator[OnEvent]:
    """Yield a callable that prints events as the options and the terminal ask for it.

    Raises:
        UsageError: the log file cannot be opened.
    """
    state = State()
    with ExitStack() as stack:
        view = stack.enter_context(_view(options))
        log = stack.enter_context(_open_log(options)) if options.log_file else None

        def on_event(event: Event) -> None:
            state.take(event)
            if log is not None:
                _log(log, event)
            text = _remark(event, options.verbose)
            if text:
                view.say(text)
            if not isinstance(event, FilesFetched):  # many a second: the next progress tells of them together
                view.show(state)

        yield on_event


@contextmanager
def _view(options: Globals) -> Iterator[View]:
    if options.quiet:
        yield SilentView()
    elif not sys.stderr.isatty():
        yield PlainView()
    else:
        from rfbulk.cli.live import LiveView  # noqa: PLC0415 - rich costs 60 ms and is only for terminals

        with LiveView() as view:
            yield view


@contextmanager
def _open_log(options: Globals) -> Iterator[IO[bytes]]:
    if options.log_file is None:
        raise AssertionError("opened only where there is one")
    try:
        file = options.log_file.open("ab")
    except OSError as error:
        raise UsageError("open", f"the log file {options.log_file}", cause=str(error.strerror)) from None
    with file:
        yield file


def _log(log: IO[bytes], event: Event) -> None:
    values = {"time": time.time(), "event": type(event).__name__} | msgspec.to_builtins(event)
    log.write(msgspec.json.encode(values) + b"\n")
    if not isinstance(event, FileNamed | FilesFetched | RemoteFileNamed):
        log.flush()


def _remark(event: Event, verbosity: int) -> str:
    if event == PhaseChanged("stopping"):
        return "stopping: what is in flight may finish; once more stops at once"
    if isinstance(event, Warned):
        return f"warning: {plain(event.text)}"
    if not verbosity:
        return ""
    if isinstance(event, ShardRetried):
        return f"shard {event.shard}: {event.cause}, again in {event.delay:.1f} s ({plain(event.detail)})"
    if isinstance(event, RequestRetried):
        return f"{event.operation}: {plain(event.cause)}, again in {event.delay:.1f} s"
    if isinstance(event, FileNamed):
        return f"{event.failure.reason}: {plain(event.failure.path)}"
    if isinstance(event, FetchRetried):
        files = plain(event.name) + (f" and {event.files - 1:,} more" if event.files > 1 else "")
        return f"{files}: {event.cause}, again in {event.delay:.1f} s ({plain(event.detail)})"
    if isinstance(event, RemoteFileNamed):
        return f"{event.failure.reason}: {plain(event.failure.name)}"
    return ""
