"""What an export needs of the outside, and all that it knows of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from rfbulk.pipeline.ports import Load

if TYPE_CHECKING:
    from rfbulk.core.export_report import ExportFailure, ExportTotals, KeptApart, RefusedMember
    from rfbulk.core.exporting import Element, FailReason, Listed, MemberFile, Part, Presence
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.fetching import FetchJob, FetchResult, Fingerprint, Landed, Move
    from rfbulk.core.model import BatchId
    from rfbulk.core.wire import BatchMetadata, BatchPart, Page, RemoteFile
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock


class ExportService(Protocol):
    """The data staging API. Each call is one attempt."""

    async def batch(self, batch: BatchId) -> BatchMetadata | None:
        """Describe the batch, None if there is none."""

    async def parts(self, batch: BatchId) -> tuple[BatchPart, ...]:
        """List the parts of a multipart batch."""

    async def files_page(
        self, batch: BatchId, part: str | None = None, token: str | None = None, page_size: int | None = None
    ) -> Page[RemoteFile]:
        """List one page of files."""


class Receiver(Load, Protocol):
    """Makes one attempt to fetch each remote file of a group, and lands what is whole."""

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        """Fetch them in their order, telling `on_bytes` what came. Failures are results, not exceptions."""

    async def land(self, moves: Sequence[Move]) -> list[Landed]:
        """Move members of archives to their places."""

    async def sync(self) -> None:
        """Return once all that has landed is durable."""

    async def discard(self) -> None:
        """Remove what is left in staging."""


class Target(Protocol):
    """The folder of the export. Its methods block: they are called in threads."""

    def look(self, files: Sequence[tuple[str, Fingerprint]]) -> list[Presence]:
        """Tell of each file, by its path, whether it is still as it was left."""


class ExportCheckpoint(Protocol):
    """The durable record. Each change is durable when its call returns."""

    async def record_fact(self, name: str, value: str) -> None: ...  # noqa: D102 - as in edge.export_checkpoint
    async def begin_run(self, reserved: Sequence[str] = ()) -> int: ...  # noqa: D102
    async def begin_parts(self, parts: Sequence[Part], *, overwrite: bool) -> int: ...  # noqa: D102
    async def parts(self, names: Sequence[str]) -> list[Part]: ...  # noqa: D102
    async def take_page(self, part: Part, listed: Sequence[Listed]) -> tuple[list[Element], int]: ...  # noqa: D102
    async def end_part(self, part: Part) -> int: ...  # noqa: D102
    async def record_fetched(self, fetched: Sequence[tuple[Element, FetchResult]]) -> None: ...  # noqa: D102
    async def record_failed(self, failed: Sequence[tuple[Element, FailReason, str]]) -> None: ...  # noqa: D102
    async def restore(self, lost: Sequence[tuple[Element, Presence]]) -> None: ...  # noqa: D102
    async def choose_other(self, element: Element) -> str: ...  # noqa: D102
    async def plan_members(self, element: Element, result: FetchResult) -> list[MemberFile]: ...  # noqa: D102
    async def members(self, elements: Sequence[Element]) -> list[list[MemberFile]]: ...  # noqa: D102
    async def choose_others(self, element: Element, members: Sequence[MemberFile]) -> list[MemberFile]: ...  # noqa: D102
    async def record_landed(self, element: Element, fingerprints: Mapping[int, Fingerprint]) -> None: ...  # noqa: D102
    async def unstage(self, element: Element) -> None: ...  # noqa: D102
    async def landing(self, parts: Sequence[Part]) -> list[Element]: ...  # noqa: D102
    async def totals(self, parts: Sequence[Part]) -> ExportTotals: ...  # noqa: D102
    async def failures(self, parts: Sequence[Part], limit: int) -> list[ExportFailure]: ...  # noqa: D102
    async def restored(self, parts: Sequence[Part], limit: int) -> list[str]: ...  # noqa: D102
    async def unverified(self, parts: Sequence[Part], limit: int) -> list[str]: ...  # noqa: D102
    async def kept_apart(self, parts: Sequence[Part], limit: int) -> list[KeptApart]: ...  # noqa: D102
    async def refused_members(self, parts: Sequence[Part], limit: int) -> list[RefusedMember]: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class ExportPorts:
    """Everything outside that an export needs. `cores` is how many processors it may use."""

    service: ExportService
    receiver: Receiver
    target: Target
    checkpoint: ExportCheckpoint
    clock: Clock
    tell: OnEvent
    reach: Callable[[Failpoint], None]
    cores: int = 1
