"""The running numbers of an export: what events and the report are made from."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.events import ExportProgress, RemoteFileNamed

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportFailure
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Load


@dataclass(slots=True)
class ExportTally:
    """Counts of one run. Belongs to the event loop, but for `receive`."""

    tell: OnEvent
    started: float
    listed: int = 0
    fetched: int = 0
    here: int = 0
    bytes_fetched: int = 0
    bytes_received: int = 0
    bytes_of_large: int = 0
    in_flight: int = 0
    failed: int = 0
    given_up: int = 0
    is_listed: bool = False
    last_success: float = 0.0
    retries: Counter[str] = field(default_factory=Counter)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def receive(self, count: int, *, is_large: bool) -> None:
        """Count bytes that came, of small files or of large ones. May be called from any thread."""
        with self._lock:
            self.bytes_received += count
            if is_large:
                self.bytes_of_large += count

    def name(self, failure: ExportFailure) -> None:
        """Count and name a remote file that has failed."""
        self.failed += 1
        self.tell(RemoteFileNamed(failure))

    def progress(self, now: float, concurrency: int) -> ExportProgress:
        """Return the numbers as an event."""
        return ExportProgress(
            seconds=now - self.started,
            listing_finished=self.is_listed,
            files_listed=self.listed,
            files_fetched=self.fetched,
            files_here=self.here,
            bytes_fetched=self.bytes_fetched,
            bytes_received=self.bytes_received,
            fetches_in_flight=self.in_flight,
            concurrency=concurrency,
            failures=self.failed,
            retries=dict(self.retries),
        )


class ExportLoad:
    """What an export costs those that receive.

    Small files are the work of interpreters, each of which does one thing at a time. The bytes of large ones are
    received, hashed, inflated and written outside of them, so that every core counts as one.
    """

    def __init__(self, tally: ExportTally, receiver: Load, cores: int) -> None:
        self._tally = tally
        self._receiver = receiver
        self._cores = cores

    @property
    def interpreters(self) -> int:
        """How many there are as it were: at least as many as cores while most bytes are of large files."""
        is_mostly_large = 2 * self._tally.bytes_of_large > self._tally.bytes_received
        own = self._receiver.interpreters
        return max(own, self._cores) if is_mostly_large else own

    def cpu_seconds(self) -> float:
        """Processor time of all that receives."""
        return self._receiver.cpu_seconds()
