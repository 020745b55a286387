"""The running numbers of an export: what events and the report are made from."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.events import ExportProgress, RemoteFileNamed
from rfbulk.pipeline.board import Board

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportFailure
    from rfbulk.events import OnEvent, Wait
    from rfbulk.pipeline.gate import Gate
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
    reasons: Counter[str] = field(default_factory=Counter)
    board: Board = field(default_factory=Board)
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
        self.reasons[failure.reason] += 1
        self.tell(RemoteFileNamed(failure))

    def ending(self) -> tuple[int, int, int]:
        """Files that are here, of how many, and failures."""
        return self.fetched + self.here, self.listed, self.failed

    def waits(self, gate: Gate, queued: int) -> dict[Wait, int]:
        """How many wait, and what for. `queued` are files that have no place."""
        waits = self.board.waits()
        waits["turn"] = queued
        if not queued and not self.is_listed:
            waits["source"] = gate.pace.level - gate.in_flight
        return {wait: count for wait, count in waits.items() if count > 0}

    def progress(self, now: float, gate: Gate, queued: int = 0) -> ExportProgress:
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
            concurrency=gate.pace.level,
            failures=self.failed,
            retries=dict(self.retries),
            pace=gate.pace.why,
            waits=self.waits(gate, queued),
            rest_seconds=gate.rest_seconds,
            slowest=self.board.slowest(now),
            reasons=dict(self.reasons),
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
