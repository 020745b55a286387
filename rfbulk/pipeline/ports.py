"""What the pipeline needs of the outside, and all that it knows of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.model import BatchId, Entry, Grant, Refusal, RefusalReason, ShardJob, ShardResult
    from rfbulk.core.report import Totals
    from rfbulk.core.transfer import Shard, ShardState
    from rfbulk.core.wire import BatchMetadata, Page, RemoteFile, ShardStatus
    from rfbulk.events import OnEvent


class Clock(Protocol):
    """Time, so that tests can own it."""

    def monotonic(self) -> float:
        """Seconds that never jump."""

    def cpu_seconds(self) -> float:
        """Seconds of CPU that this process has used."""

    async def sleep(self, seconds: float) -> None:
        """Wait."""

    def jitter(self) -> float:
        """A random number from 0 to 1."""


class Service(Protocol):
    """The data staging API. Each call is one attempt."""

    async def request_shard_grant(self, batch: BatchId, display_name: str) -> Grant:
        """Register a new shard and return the permission to send it."""

    async def request_video_grant(self, batch: BatchId, name: str, display_name: str) -> Grant:
        """Return the permission to send one video, which will have this name."""

    async def batch(self, batch: BatchId) -> BatchMetadata | None:
        """Describe the batch, None if there is none."""

    async def count(self, batch: BatchId, part: str | None = None) -> int | None:
        """Count what the batch holds, None if there is no batch."""

    async def shards_page(
        self, batch: BatchId, token: str | None = None, page_size: int | None = None
    ) -> Page[ShardStatus]:
        """List one page of shard statuses."""

    async def files_page(
        self, batch: BatchId, part: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[RemoteFile]:
        """List one page of files."""

    def server_now(self) -> float:
        """Seconds since the epoch by the server's clock."""


class Load(Protocol):
    """What the work costs those that do it."""

    @property
    def interpreters(self) -> int:
        """How many interpreters share it."""

    def cpu_seconds(self) -> float:
        """Processor time that they have used, all together."""


class ShardSender(Load, Protocol):
    """Makes one attempt to read, pack and PUT a shard."""

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Send it, telling `on_bytes` what was given to the connection. Failures are results, not exceptions."""


class SingleSender(Load, Protocol):
    """Makes one attempt to post one image."""

    async def post(
        self, shard: Shard, batch: BatchId, display_name: str, on_bytes: Callable[[int], None]
    ) -> ShardResult:
        """Send it, telling `on_bytes` what was given to the connection. Failures of it are results."""


class Known(Protocol):
    """What earlier runs have planned."""

    def sort_out(self, entries: list[Entry]) -> SortedEntries:
        """Tell new entries and changed ones from known ones, group by group in the order of the scan."""


class SortedEntries(Protocol):
    """Entries told apart."""

    new: list[Entry]
    changed: list[Entry]


class Group(Protocol):
    """What the scan found next."""

    entries: list[Entry]
    refusals: list[Refusal]


class Source(Protocol):
    """Where the images are. Its methods block: they are called in threads."""

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The absolute folders in which entries' paths begin."""

    def scan(self) -> Iterator[Group]:
        """Walk the source, group by group."""

    def refresh(self, entry: Entry) -> Entry | tuple[RefusalReason, str]:
        """Look at a file again: what it is now, or why it cannot be sent any more."""


class Checkpoint(Protocol):
    """The durable record. Each change is durable when its call returns."""

    async def fact(self, name: str) -> str | None: ...  # noqa: D102 - as in edge.checkpoint
    async def record_fact(self, name: str, value: str) -> None: ...  # noqa: D102
    async def plan_shards(self, shards: Sequence[tuple[tuple[Entry, ...], int]]) -> None: ...  # noqa: D102
    async def pending_after(self, number: int, limit: int) -> list[Shard]: ...  # noqa: D102
    async def in_state(self, state: ShardState, after: int = 0, limit: int = 100) -> list[Shard]: ...  # noqa: D102
    async def update(self, shard: Shard) -> None: ...  # noqa: D102
    async def repack(  # noqa: D102
        self,
        shard: Shard,
        failures: Sequence[tuple[Entry, RefusalReason, str]],
        others: Sequence[tuple[tuple[Entry, ...], int]],
    ) -> None: ...
    async def split(self, shard: Shard, parts: Sequence[tuple[tuple[Entry, ...], int]]) -> None: ...  # noqa: D102
    async def fail_entries(self, shard: Shard, failures: Sequence[tuple[Entry, RefusalReason, str]]) -> None: ...  # noqa: D102
    async def mark_indexed(self, numbers: Sequence[int] | None) -> None: ...  # noqa: D102
    async def end_doubts(self) -> None: ...  # noqa: D102
    async def match_rows(self, shard_ids: Sequence[str]) -> dict[str, int]: ...  # noqa: D102
    async def forget_matches(self) -> None: ...  # noqa: D102
    async def begin_look_up(self, shards: Sequence[int] | None) -> None: ...  # noqa: D102
    async def mark_listed(self, names: Sequence[str]) -> None: ...  # noqa: D102
    async def absent(self) -> dict[int, set[str]]: ...  # noqa: D102
    async def doubled(self, limit: int) -> list[str]: ...  # noqa: D102
    async def shard(self, number: int) -> Shard: ...  # noqa: D102
    async def begin_run(self, *, keeps_quarantined: bool = False) -> None: ...  # noqa: D102
    async def quarantined_after(self, key: tuple[int, bytes, str], limit: int) -> list[tuple[Refusal, str]]: ...  # noqa: D102
    async def plan_quarantined(  # noqa: D102
        self,
        shards: Sequence[tuple[tuple[Entry, ...], int]],
        entries: Sequence[Entry],
        still: Sequence[tuple[Entry, RefusalReason, str]],
    ) -> None: ...
    async def failed_shards(self) -> list[int]: ...  # noqa: D102
    async def settle(self, shard: Shard, others: Sequence[tuple[tuple[Entry, ...], int]]) -> None: ...  # noqa: D102
    async def totals(self) -> Totals: ...  # noqa: D102
    async def failures(self, limit: int = -1) -> list[tuple[Refusal, str, bool]]: ...  # noqa: D102
    async def failure_counts(self) -> tuple[int, int]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Ports:
    """Everything outside that an upload needs. `singles` sends where each image has a request of its own."""

    service: Service
    sender: ShardSender
    source: Source
    checkpoint: Checkpoint
    known: Callable[[], AbstractContextManager[Known]]
    clock: Clock
    tell: OnEvent
    reach: Callable[[Failpoint], None]
    singles: SingleSender | None = None
