"""One example of each event, for what must do something with all of them."""

from __future__ import annotations

from typing import Final

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.exporting import FailReason
from rfbulk.core.model import RefusalReason
from rfbulk.core.report import Failure
from rfbulk.events import (
    AuditProgress,
    ConfirmProgress,
    Connection,
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
    Warned,
)

CONNECTION: Final = Connection(7, "clip.mp4", 1, 2, 500, 1000, 2.0, 250.0)
UPLOAD: Final = UploadProgress(
    seconds=10.0,
    scan_finished=False,
    images_planned=900,
    images_sent=400,
    images_before=100,
    bytes_planned=90_000,
    bytes_sent=40_000,
    bytes_before=10_000,
    bytes_in_flight=500,
    bytes_on_the_wire=33_000,
    shards_planned=9,
    shards_sent=4,
    shards_in_flight=2,
    concurrency=4,
    failures=3,
    skipped=5,
    retries={"store 503": 6, "connection": 1},
    shards_before=1,
    shards_failed=1,
    shards_unsure=1,
    pace="slowed",
    waits={"turn": 2, "rest": 1},
    rest_seconds=4.5,
    slowest=(CONNECTION,),
    reasons={"unreadable": 2, "too-large": 1},
)
EXPORT: Final = ExportProgress(
    seconds=20.0,
    listing_finished=True,
    files_listed=500,
    files_fetched=200,
    files_here=50,
    bytes_fetched=20_000,
    bytes_received=21_000,
    fetches_in_flight=3,
    concurrency=8,
    failures=2,
    retries={"store 500": 4},
    pace="best",
    waits={"answer": 3},
    rest_seconds=1.5,
    slowest=(CONNECTION,),
    reasons={"gone": 2},
)

EXAMPLES: Final[tuple[Event, ...]] = (
    TransferBegun("upload", "spring", ("/photos",), "images"),
    PhaseChanged("sending"),
    UPLOAD,
    ShardChanged(7, "sending", 500, 30_000, 1, ""),
    ShardSent(7, 500, 30_000, 2, is_verified=True),
    ShardRetried(7, "store 503", "busy", 1.5),
    RequestRetried("ask for a grant", "429", 2.0),
    FileNamed(Failure("/photos/é\n.jpg", "é.jpg", RefusalReason.UNREADABLE, "denied")),
    ConfirmProgress(300, 400, 2),
    JobProgress("j-1", "running", "processing", 1, 2, 40, 9, 1, 4, 0.25, 30.0),
    IngestProgress(3.0, 100, 60, 20, 4, 5, 6, {"api 503": 2}),
    RunStepped("upload"),
    NoticeKept("e-1", "batch spring", "new"),
    FlowEnded("batch spring", "exported"),
    EXPORT,
    FilesFetched(32, 640),
    FetchRetried(3, "a.jpg", "busy", "the store answered 503", 1.5),
    RemoteFileNamed(ExportFailure("crops", "", "b.jpg", FailReason.GONE)),
    AuditProgress(4.0, 100, 90, 80, 70, 2),
    Warned("the batch exists already"),
    TransferEnded("upload", "spring", 12.0, 800, 900, 3, "the line is down"),
)
