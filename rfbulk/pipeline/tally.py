"""The running numbers of an upload: what events and the report are made from."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.core.model import SKIPPED, Refusal, RefusalReason
from rfbulk.core.report import MAX_NAMED, Failure
from rfbulk.events import FileNamed, UploadProgress

if TYPE_CHECKING:
    from rfbulk.events import OnEvent

MAX_SKIPPED_EXAMPLES = 20


@dataclass(slots=True)
class Tally:
    """Counts of one run. Belongs to the event loop; the scan adds to its own few counts from its thread."""

    tell: OnEvent
    started: float
    roots: tuple[bytes, ...]
    content: str = "images"
    images_seen: int = 0
    images_before: int = 0
    bytes_before: int = 0
    images_planned: int = 0
    bytes_planned: int = 0
    shards_planned: int = 0
    images_sent: int = 0
    bytes_sent: int = 0
    shards_sent: int = 0
    shards_in_flight: int = 0
    bytes_in_flight: int = 0
    bytes_on_the_wire: int = 0
    failed: int = 0
    given_up: int = 0
    refused: int = 0
    skipped: int = 0
    changed: int = 0
    is_scanned: bool = False
    last_success: float = 0.0
    retries: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    skipped_examples: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def move(self, count: int) -> None:
        """Count bytes given to a connection. May be called from any thread."""
        with self._lock:
            self.bytes_in_flight += count
            self.bytes_on_the_wire += count

    def land(self, count: int) -> None:
        """Count bytes as no longer in flight: their attempt has ended."""
        with self._lock:
            self.bytes_in_flight -= count

    def name(self, refusal: Refusal, member_name: str = "") -> None:
        """Count a file that is not sent, and name it unless nobody asked for it."""
        if refusal.reason in SKIPPED:
            self.skipped += 1
            if len(self.skipped_examples) < MAX_SKIPPED_EXAMPLES:
                self.skipped_examples.append(self.shown_path(refusal.root, refusal.path))
            return
        if refusal.reason is RefusalReason.CHANGED:
            self.changed += 1
        else:
            self.refused += 1
        self._add(refusal, member_name)

    def name_failed(self, refusal: Refusal, member_name: str) -> None:
        """Count and name an image that was planned and could not be sent or was not taken in."""
        self.failed += 1
        self._add(refusal, member_name)

    def _add(self, refusal: Refusal, member_name: str) -> None:
        path = self.shown_path(refusal.root, refusal.path)
        failure = Failure(path, member_name, refusal.reason, refusal.detail)
        if len(self.failures) < MAX_NAMED:
            self.failures.append(failure)
        self.tell(FileNamed(failure))

    def shown_path(self, root: int, path: bytes) -> str:
        """A file of the source as text. Bytes that are no text are escaped."""
        whole = b"/".join((self.roots[root].rstrip(b"/"), path)) if path else self.roots[root]
        return whole.decode("utf-8", "backslashreplace")

    def progress(self, now: float, concurrency: int) -> UploadProgress:
        """Return the numbers as an event."""
        return UploadProgress(
            seconds=now - self.started,
            scan_finished=self.is_scanned,
            images_planned=self.images_planned,
            images_sent=self.images_sent,
            images_before=self.images_before,
            bytes_planned=self.bytes_planned,
            bytes_sent=self.bytes_sent,
            bytes_before=self.bytes_before,
            bytes_in_flight=self.bytes_in_flight,
            bytes_on_the_wire=self.bytes_on_the_wire,
            shards_planned=self.shards_planned,
            shards_sent=self.shards_sent,
            shards_in_flight=self.shards_in_flight,
            concurrency=concurrency,
            failures=self.failed + self.refused + self.changed,
            skipped=self.skipped,
            retries=dict(self.retries),
            content=self.content,
        )
