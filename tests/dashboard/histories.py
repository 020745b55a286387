"""Histories of commands, as events with the moments at which they come."""

from __future__ import annotations

from msgspec.structs import replace

from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure
from rfbulk.dashboard.chronicle import Chronicle
from rfbulk.dashboard.picture import About
from rfbulk.events import (
    Connection,
    Event,
    ExportProgress,
    FileNamed,
    PhaseChanged,
    ShardChanged,
    ShardRetried,
    TransferBegun,
    UploadProgress,
)

MIB = 1 << 20
EVIL = "<img src=x onerror=alert(1)>\x1b[31m\u202egnp.jpg"
ABOUT = About(
    command="upload images",
    line="rfbulk upload images photos -b spring",
    version="1.2.3",
    began=1_800_000_000.0,
    folder="/home/me",
    settings=(("--batch-id", "spring"), ("--report", "fates.jsonl")),
)
SENDING = UploadProgress(
    seconds=10.0,
    scan_finished=True,
    images_planned=1000,
    images_sent=300,
    images_before=100,
    bytes_planned=1000 * MIB,
    bytes_sent=300 * MIB,
    bytes_before=100 * MIB,
    bytes_in_flight=8 * MIB,
    bytes_on_the_wire=220 * MIB,
    shards_planned=10,
    shards_sent=3,
    shards_in_flight=2,
    concurrency=2,
    failures=1,
    skipped=0,
    retries={"store 503": 4},
    waits={"turn": 5, "retry": 1},
    slowest=(Connection(4, "", 50, 1, 2 * MIB, 50 * MIB, 3.0, 700_000.0),),
)
FETCHING = ExportProgress(5.0, True, 100, 40, 10, 40 * MIB, 42 * MIB, 8, 8, 2, {"timeout": 1})


def named(number: int, reason: RefusalReason = RefusalReason.EMPTY, path: str = "") -> FileNamed:
    return FileNamed(Failure(path or f"/photos/{number}.jpg", "", reason, ""))


def upload() -> list[tuple[float, Event]]:
    """An upload that was resumed, in which a file is named and a shard is tried again."""
    return [
        (0.1, TransferBegun("upload", "spring", ("/photos",))),
        (0.2, PhaseChanged("scanning")),
        (0.3, PhaseChanged("sending")),
        (0.4, named(1, path=EVIL)),
        (0.5, replace(SENDING, seconds=0.5, images_sent=100, bytes_sent=100 * MIB, bytes_on_the_wire=0, retries={})),
        (1.0, ShardChanged(2, "granted", 100, 100)),
        (1.1, ShardChanged(2, "sending", 100, 100, 1)),
        (2.0, ShardRetried(2, "store 503", "the store answered 503", 0.5)),
        (2.0, ShardChanged(2, "retrying", 100, 100, 1)),
        (3.0, ShardChanged(2, "sent", 100, 100, 2)),
        (3.5, ShardChanged(3, "failed", 100, 100, 1, "the store answered 400")),
        (4.0, ShardChanged(4, "sending", 100, 100, 1)),
        (10.0, SENDING),
    ]


def told(history: list[tuple[float, Event]]) -> Chronicle:
    """A chronicle that has been told a history."""
    chronicle = Chronicle()
    for now, event in history:
        chronicle.take(event, now)
    return chronicle
