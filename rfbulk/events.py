"""What a transfer reports while it works: typed events to one callable.

Progress bars, logs and JSON lines are printers of the same events. The callable runs in the event loop between two
pieces of work: it must return at once and not raise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.report import Failure

Phase: TypeAlias = Literal[
    "scanning", "sending", "deciding-unsure", "confirming", "listing", "fetching", "merging", "done", "stopping"
]


@dataclass(frozen=True, slots=True)
class PhaseChanged:
    """A transfer entered a phase.

    Scanning and sending overlap, and so do listing and fetching: the latter begins with the first shard, or file.
    """

    phase: Phase


@dataclass(frozen=True, slots=True)
class UploadProgress:
    """Where the upload stands, told about twice a second.

    `*_before` count what earlier runs had sent, so that rates speak of this run alone. `scan_finished` tells whether
    the planned numbers are final. `bytes_on_the_wire` counts every byte given to a connection, retries included.
    """

    seconds: float
    scan_finished: bool
    images_planned: int
    images_sent: int
    images_before: int
    bytes_planned: int
    bytes_sent: int
    bytes_before: int
    bytes_in_flight: int
    bytes_on_the_wire: int
    shards_planned: int
    shards_sent: int
    shards_in_flight: int
    concurrency: int
    failures: int
    skipped: int
    retries: dict[str, int] = field(default_factory=dict)
    content: str = "images"
    """What "images" are here: images or videos."""


@dataclass(frozen=True, slots=True)
class ShardSent:
    """A shard is stored, and its hash was compared (`is_verified`) or the store told none."""

    shard: int
    images: int
    bytes: int
    attempts: int
    is_verified: bool


@dataclass(frozen=True, slots=True)
class ShardRetried:
    """An attempt did not succeed and another follows after `delay` seconds."""

    shard: int
    cause: str
    detail: str
    delay: float


@dataclass(frozen=True, slots=True)
class RequestRetried:
    """A call of the API did not succeed and another follows after `delay` seconds."""

    operation: str
    cause: str
    delay: float


@dataclass(frozen=True, slots=True)
class FileNamed:
    """A file is named instead of sent. Skipped files (no images) are only counted."""

    failure: Failure


@dataclass(frozen=True, slots=True)
class ConfirmProgress:
    """What the service counts, of what was sent."""

    counted: int
    expected: int
    shards_pending: int | None


@dataclass(frozen=True, slots=True)
class JobProgress:
    """How far a job of the service is. Task counts and `progress` (0 to 1) are of the stage that it is in."""

    job_id: str
    state: str
    stage: str
    stage_number: int
    stages: int
    tasks: int
    tasks_done: int
    tasks_failed: int
    tasks_running: int
    progress: float
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """Where an export stands, told about twice a second. Files are remote files; sizes are not known before they come.

    `files_here` counts those of earlier runs that are here as they were left. `listing_finished` tells whether
    `files_listed` is final. `bytes_received` counts every byte, retries included.
    """

    seconds: float
    listing_finished: bool
    files_listed: int
    files_fetched: int
    files_here: int
    bytes_fetched: int
    bytes_received: int
    fetches_in_flight: int
    concurrency: int
    failures: int
    retries: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FilesFetched:
    """Some remote files are here, whole. One event a group, however small its files."""

    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class FetchRetried:
    """Attempts at some remote files did not succeed and others follow after `delay` seconds. `name` is the first."""

    files: int
    name: str
    cause: str
    detail: str
    delay: float


@dataclass(frozen=True, slots=True)
class RemoteFileNamed:
    """A remote file is named instead of fetched."""

    failure: ExportFailure


@dataclass(frozen=True, slots=True)
class IngestProgress:
    """Where an ingest of references stands. `accepted` are in requests that the service has taken, now or earlier."""

    seconds: float
    found: int
    accepted: int
    accepted_before: int
    requests: int
    duplicated: int
    failures: int


@dataclass(frozen=True, slots=True)
class RunStepped:
    """A run has come to a step: `upload`, `start`, `wait`, `export` or `done`."""

    step: str


@dataclass(frozen=True, slots=True)
class NoticeKept:
    """A notification was received and is on disk. `delivery` is `new`, `repeated` or `conflicting`."""

    event_id: str
    subject: str
    delivery: str


@dataclass(frozen=True, slots=True)
class FlowEnded:
    """What a standing flow has come to, in words."""

    subject: str
    outcome: str


@dataclass(frozen=True, slots=True)
class Warned:
    """Something that the operator should know and that stops nothing."""

    text: str


Event: TypeAlias = (
    PhaseChanged
    | UploadProgress
    | ShardSent
    | ShardRetried
    | RequestRetried
    | FileNamed
    | ConfirmProgress
    | JobProgress
    | IngestProgress
    | RunStepped
    | NoticeKept
    | FlowEnded
    | ExportProgress
    | FilesFetched
    | FetchRetried
    | RemoteFileNamed
    | Warned
)
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Take an event and do nothing: what a caller that gave no callable gets."""
