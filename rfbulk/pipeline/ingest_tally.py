"""The running numbers of an ingest: what events and the report are made from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.core.report import MAX_NAMED, Failure
from rfbulk.events import FileNamed, IngestProgress

if TYPE_CHECKING:
    from rfbulk.core.ingest_wire import IngestAnswer
    from rfbulk.events import OnEvent


@dataclass(slots=True)
class IngestTally:
    """Counts of one run."""

    tell: OnEvent
    started: float
    before: int = 0
    found: int = 0
    accepted: int = 0
    requests: int = 0
    duplicated: int = 0
    refused: int = 0
    skipped: int = 0
    changed: int = 0
    retries: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)

    def name(self, failure: Failure) -> None:
        """Name a reference that is not asked for."""
        if len(self.failures) < MAX_NAMED:
            self.failures.append(failure)
        self.tell(FileNamed(failure))

    def take(self, answer: IngestAnswer, references: int) -> None:
        """Count a request that was accepted, and what it asked for."""
        self.requests += 1
        self.duplicated += answer.duplicated
        self.accepted += references

    def ending(self) -> tuple[int, int, int]:
        """References that are accepted, of how many, and failures."""
        accepted = self.before + self.accepted
        return accepted, max(self.found, accepted), self.refused + self.changed

    def progress(self, now: float) -> IngestProgress:
        """Return the numbers as an event."""
        return IngestProgress(
            seconds=now - self.started,
            found=self.found,
            accepted=self.before + self.accepted,
            accepted_before=self.before,
            requests=self.requests,
            duplicated=self.duplicated,
            failures=self.refused + self.changed,
            retries=dict(self.retries),
        )
