"""The running numbers of an upload: what events and the report are made from."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.core.model import SKIPPED, Refusal, RefusalReason
from rfbulk.core.report import MAX_NAMED, Failure
from rfbulk.core.transfer import ARRIVED, ShardState
from rfbulk.events import FileNamed, ShardChanged, ShardSent, UploadProgress
from rfbulk.pipeline.board import Board

if TYPE_CHECKING:
    from rfbulk.core.report import Totals
    from rfbulk.core.transfer import Shard
    from rfbulk.events import OnEvent, ShardChange, Wait
    from rfbulk.pipeline.gate import Gate

MAX_SKIPPED_EXAMPLES = 20


@dataclass(slots=True)
class Tally:
    """Counts of one run. Belongs to the event loop; the scan adds to its own few counts from its thread."""

    tell: OnEvent
    started: float
    roots: tuple[bytes, ...]
    content: str = "images"
    has_grants: bool = True
    images_seen: int = 0
    images_of_others: int = 0
    images_before: int = 0
    bytes_before: int = 0
    images_planned: int = 0
    bytes_planned: int = 0
    shards_planned: int = 0
    shards_before: int = 0
    shards_failed: int = 0
    shards_unsure: int = 0
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
    reasons: Counter[str] = field(default_factory=Counter)
    skipped_examples: list[str] = field(default_factory=list)
    board: Board = field(default_factory=Board)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take_stock(self, totals: Totals) -> None:
        """Begin with what earlier runs have planned and sent."""
        self.images_before, self.bytes_before = totals.count(ARRIVED), totals.bytes(ARRIVED)
        live = frozenset(ShardState) - {ShardState.SPLIT}
        self.images_planned, self.bytes_planned = totals.count(live), totals.bytes(live)
        self.shards_planned = totals.shard_count(live)
        self.images_sent, self.bytes_sent = self.images_before, self.bytes_before
        self.shards_before = self.shards_sent = totals.shard_count(ARRIVED)
        self.shards_failed = totals.shards.get(ShardState.FAILED, 0)
        self.shards_unsure = totals.shards.get(ShardState.UNSURE, 0)

    def move(self, count: int) -> None:
        """Count bytes given to a connection. May be called from any thread."""
        with self._lock:
            self.bytes_in_flight += count
            self.bytes_on_the_wire += count

    def land(self, count: int) -> None:
        """Count bytes as no longer in flight: their attempt has ended."""
        with self._lock:
            self.bytes_in_flight -= count

    def change(self, shard: Shard, state: ShardChange, detail: str = "") -> None:
        """Tell that a shard has come to another state."""
        self.tell(ShardChanged(shard.id, state, len(shard.entries), shard.tar_bytes, shard.attempts, detail))

    def send(self, shard: Shard, now: float, *, is_verified: bool) -> None:
        """Count a shard as sent, and tell it."""
        self.images_sent += len(shard.entries)
        self.bytes_sent += shard.image_bytes
        self.shards_sent += 1
        self.last_success = now
        if self.has_grants:
            self.change(shard, "sent")
        self.tell(ShardSent(shard.id, len(shard.entries), shard.tar_bytes, shard.attempts, is_verified))

    def retry(self, shard: Shard, cause: str) -> None:
        """Tell that an attempt at a shard did not succeed, and that another follows after a wait."""
        self.board.at(shard.id).doing = "retry"
        self.change(shard, "retrying", cause)

    def leave_unsure(self, shard: Shard, detail: str) -> None:
        """Count a shard of which nobody knows whether it has arrived, and tell it."""
        self.retries["unsure"] += 1
        self.shards_unsure += 1
        self.change(shard, "unsure", detail)

    def fail(self, shard: Shard, reason: RefusalReason, detail: str) -> None:
        """Count a shard as failed, and name its members."""
        self.shards_failed += 1
        self.change(shard, "failed", detail)
        for entry in shard.entries:
            self.name_failed(Refusal(entry.root, entry.path, reason, detail), entry.name)

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
        self.reasons[refusal.reason] += 1
        failure = Failure(path, member_name, refusal.reason, refusal.detail)
        if len(self.failures) < MAX_NAMED:
            self.failures.append(failure)
        self.tell(FileNamed(failure))

    def shown_path(self, root: int, path: bytes) -> str:
        """A file of the source as text. Bytes that are no text are escaped."""
        whole = b"/".join((self.roots[root].rstrip(b"/"), path)) if path else self.roots[root]
        return whole.decode("utf-8", "backslashreplace")

    def waits(self, gate: Gate) -> dict[Wait, int]:
        """How many shards wait, and what for."""
        waits = self.board.waits()
        ended = self.shards_sent + self.shards_failed + self.shards_unsure + self.given_up
        waits["turn"] = self.shards_planned - ended - self.shards_in_flight
        if waits["turn"] <= 0 and not self.is_scanned:
            waits["source"] = gate.pace.level - gate.in_flight
        return {wait: count for wait, count in waits.items() if count > 0}

    def ending(self) -> tuple[int, int, int]:
        """Images that are sent, of how many, and failures."""
        return self.images_sent, self.images_planned, self.failed + self.refused + self.changed

    def progress(self, now: float, gate: Gate) -> UploadProgress:
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
            concurrency=gate.pace.level,
            failures=self.failed + self.refused + self.changed,
            skipped=self.skipped,
            retries=dict(self.retries),
            content=self.content,
            shards_before=self.shards_before,
            shards_failed=self.shards_failed,
            shards_unsure=self.shards_unsure,
            pace=gate.pace.why,
            waits=self.waits(gate),
            rest_seconds=gate.rest_seconds,
            slowest=self.board.slowest(now),
            reasons=dict(self.reasons),
        )
