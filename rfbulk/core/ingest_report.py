"""What a finished (or stopped) ingest has to say for itself."""

from __future__ import annotations

import msgspec

from rfbulk.core.report import Failure


class IngestReport(msgspec.Struct, kw_only=True):
    """The books of an ingest: of references, of a list that the service fetches itself, or of a query.

    Counts are references unless they say otherwise; of lists and queries the service alone knows how many there are.
    `planned` are all that were found, now or in earlier runs; they close as `planned == sent + failed + left`:

    - `sent`: in a request that the service has accepted
    - `failed`: they had been asked for, and are gone from the source before the service had accepted them
    - `left`: neither; the same command again goes on with them

    `requests` were accepted, now or earlier; `duplicated` of them the service had known before. `changed` have a name
    that was sent before, for something else. `refused` could not be referred to, `skipped` are no such files by their
    names. `indexed` is what the service counts, `failed_files` are the first hundred that it says it could not take in,
    and why.
    """

    batch_id: str
    kind: str
    workspace: str = ""
    planned: int = 0
    sent: int = 0
    failed: int = 0
    left: int = 0
    refused: int = 0
    skipped: int = 0
    changed: int = 0
    already_sent: int = 0
    requests: int = 0
    duplicated: int = 0
    ingest_ids: list[str] = []
    shards: int = 0
    retries: dict[str, int] = {}
    indexed: int | None = None
    is_confirmed: bool = False
    ingest_failed: bool = False
    ingest_detail: str = ""
    failed_files: list[tuple[str, str]] = []
    wall_seconds: float = 0.0
    failures: list[Failure] = []
    checkpoint: str = ""

    @property
    def closes(self) -> bool:
        """Whether the books close. If they do not, rfbulk has a defect."""
        return self.planned == self.sent + self.failed + self.left

    @property
    def has_failures(self) -> bool:
        """Whether anything that was asked for has not been accepted exactly once."""
        return bool(self.failed or self.left or self.refused or self.changed)
