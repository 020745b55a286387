"""What a transfer reports while it works: typed events to one callable.

Progress bars, logs and JSON lines are printers of the same events. The callable runs in the event loop between two
pieces of work: it must return at once and not raise.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import msgspec

from rfbulk.core.export_report import ExportFailure
from rfbulk.core.pacing import Why
from rfbulk.core.report import Failure

Phase: TypeAlias = Literal[
    "scanning", "sending", "deciding-unsure", "confirming", "listing", "fetching", "merging", "done", "stopping"
]
ShardChange: TypeAlias = Literal[
    "granted", "sending", "retrying", "planned", "sent", "unsure", "split", "failed", "left"
]
Wait: TypeAlias = Literal["source", "turn", "grant", "rest", "retry", "answer"]


class TransferBegun(msgspec.Struct, frozen=True):
    """A transfer has begun: what follows until its end is of it. `kind` is `upload`, `export` or `ingest`.

    `where` is the source's folders, the target of an export, or what an ingest is made of. `content` says of what.
    """

    kind: str
    batch_id: str
    where: tuple[str, ...] = ()
    content: str = "images"


class TransferEnded(msgspec.Struct, frozen=True):
    """A transfer has ended. `error` says by what, empty where it came to its end; `done` of `total` are through."""

    kind: str
    batch_id: str
    seconds: float
    done: int
    total: int
    failures: int
    error: str = ""


class Connection(msgspec.Struct, frozen=True):
    """One shard, or group of files, whose bytes are being moved: those of the present attempt.

    `name` is that of the file where it travels alone, or of the first of a group of `files`; a shard of many has none,
    but its number. `of_bytes` is 0 where nobody knows how many there are. `rate` is bytes a second over the attempt.
    """

    number: int
    name: str
    files: int
    attempt: int
    bytes: int
    of_bytes: int
    seconds: float
    rate: float


class PhaseChanged(msgspec.Struct, frozen=True):
    """A transfer entered a phase.

    Scanning and sending overlap, and so do listing and fetching: the latter begins with the first shard, or file.
    """

    phase: Phase


class UploadProgress(msgspec.Struct, frozen=True):
    """Where the upload stands, told about twice a second.

    `*_before` count what earlier runs had sent, so that rates speak of this run alone. `scan_finished` tells whether
    the planned numbers are final. `bytes_on_the_wire` counts every byte given to a connection, retries included.

    `pace` says why `concurrency` is what it is:

    ========= ===============================================================
    fixed     it was asked for
    starting  it is the first, and nothing has been measured yet
    climbing  more at once brought more
    best      more at once brought nothing
    most      the options, or the memory, allow no more
    processor the processor is what is slow, not the line
    slowed    the service, or the line, showed that it is overloaded
    ========= ===============================================================

    `waits` counts shards by what they wait for; what moves bytes is not among them, and none means no key:

    ====== ==================================================================
    source places that are free, since the scan has found nothing for them yet
    turn   planned shards that have no place
    grant  those that have asked for a grant
    rest   those that keep the rest that the service asked for: `rest_seconds` of it are left
    retry  those between two attempts
    answer those of which all is sent
    ====== ==================================================================

    `slowest` are the slowest connections, the slowest first. `reasons` counts the failures by reason.
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
    retries: dict[str, int] = msgspec.field(default_factory=dict)
    content: str = "images"
    """What "images" are here: images or videos."""
    shards_before: int = 0
    shards_failed: int = 0
    shards_unsure: int = 0
    pace: Why = "starting"
    waits: dict[Wait, int] = msgspec.field(default_factory=dict)
    rest_seconds: float = 0.0
    slowest: tuple[Connection, ...] = ()
    reasons: dict[str, int] = msgspec.field(default_factory=dict)


class ShardChanged(msgspec.Struct, frozen=True):
    """A shard has come to another state, and the checkpoint knows it. Told by uploads in shards and of videos.

    ======== =====================================================================
    granted  there is a URL to send it to
    sending  an attempt begins: `attempt` counts those under this grant
    retrying an attempt did not succeed, and another follows after a wait
    planned  it has no grant any more, or is to be sent again
    sent     it is stored
    unsure   it may have arrived: decided at the end
    split    its members go on in other shards, or none of them is left
    failed   it is refused for good
    left     its retry budget is used up: the next run goes on with it
    ======== =====================================================================

    Images that are posted one by one are told of only where something is amiss. `detail` says what.
    """

    shard: int
    state: ShardChange
    images: int
    bytes: int
    attempt: int = 0
    detail: str = ""


class ShardSent(msgspec.Struct, frozen=True):
    """A shard is stored, and its hash was compared (`is_verified`) or the store told none."""

    shard: int
    images: int
    bytes: int
    attempts: int
    is_verified: bool


class ShardRetried(msgspec.Struct, frozen=True):
    """An attempt did not succeed and another follows after `delay` seconds."""

    shard: int
    cause: str
    detail: str
    delay: float


class RequestRetried(msgspec.Struct, frozen=True):
    """A call of the API did not succeed and another follows after `delay` seconds."""

    operation: str
    cause: str
    delay: float


class FileNamed(msgspec.Struct, frozen=True):
    """A file is named instead of sent. Skipped files (no images) are only counted."""

    failure: Failure


class ConfirmProgress(msgspec.Struct, frozen=True):
    """What the service counts, of what was sent."""

    counted: int
    expected: int
    shards_pending: int | None


class JobProgress(msgspec.Struct, frozen=True):
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


class ExportProgress(msgspec.Struct, frozen=True):
    """Where an export stands, told about twice a second. Files are remote files; sizes are not known before they come.

    `files_here` counts those of earlier runs that are here as they were left. `listing_finished` tells whether
    `files_listed` is final. `bytes_received` counts every byte, retries included. What more there is, is as in
    UploadProgress, for groups of files: `source` are free places that the listing has found nothing for, `turn` counts
    files, `grant` those that need a fresh URL, `answer` those that have been asked for and of which nothing has come.
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
    retries: dict[str, int] = msgspec.field(default_factory=dict)
    pace: Why = "starting"
    waits: dict[Wait, int] = msgspec.field(default_factory=dict)
    rest_seconds: float = 0.0
    slowest: tuple[Connection, ...] = ()
    reasons: dict[str, int] = msgspec.field(default_factory=dict)


class FilesFetched(msgspec.Struct, frozen=True):
    """Some remote files are here, whole. One event a group, however small its files."""

    files: int
    bytes: int


class FetchRetried(msgspec.Struct, frozen=True):
    """Attempts at some remote files did not succeed and others follow after `delay` seconds. `name` is the first."""

    files: int
    name: str
    cause: str
    detail: str
    delay: float


class RemoteFileNamed(msgspec.Struct, frozen=True):
    """A remote file is named instead of fetched."""

    failure: ExportFailure


class IngestProgress(msgspec.Struct, frozen=True):
    """Where an ingest of references stands. `accepted` are in requests that the service has taken, now or earlier."""

    seconds: float
    found: int
    accepted: int
    accepted_before: int
    requests: int
    duplicated: int
    failures: int
    retries: dict[str, int] = msgspec.field(default_factory=dict)


class RunStepped(msgspec.Struct, frozen=True):
    """A run has come to a step: `upload`, `start`, `wait`, `export` or `done`."""

    step: str


class NoticeKept(msgspec.Struct, frozen=True):
    """A notification was received and is on disk. `delivery` is `new`, `repeated` or `conflicting`."""

    event_id: str
    subject: str
    delivery: str


class FlowEnded(msgspec.Struct, frozen=True):
    """What a standing flow has come to, in words."""

    subject: str
    outcome: str


class AuditProgress(msgspec.Struct, frozen=True):
    """Where an audit stands, told about twice a second: names that are listed, sent, and in the source.

    `compared` counts listed names that were held against the rest, which begins once all are known.
    """

    seconds: float
    listed: int
    sent: int
    found: int
    compared: int
    differences: int


class BatchExpires(msgspec.Struct, frozen=True):
    """The batch is there already, and expires in so many seconds. A new one is kept for seven days."""

    batch_id: str
    seconds: float


class Advised(msgspec.Struct, frozen=True):
    """What a large upload will take, in one paragraph: told once at the most, as soon as it can be known."""

    text: str


class Warned(msgspec.Struct, frozen=True):
    """Something that the operator should know and that stops nothing."""

    text: str


Event: TypeAlias = (
    PhaseChanged
    | TransferBegun
    | TransferEnded
    | UploadProgress
    | ShardChanged
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
    | AuditProgress
    | BatchExpires
    | Advised
    | Warned
)
OnEvent: TypeAlias = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Take an event and do nothing: what a caller that gave no callable gets."""
