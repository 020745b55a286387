"""What a finished (or stopped) export has to say for itself."""

from __future__ import annotations

from typing import Final

import msgspec

from rfbulk.core.exporting import ElementState, FailReason

MAX_NAMED: Final = 1000
"""Files of each kind that a report in memory names; a report file names all."""


class ExportFailure(msgspec.Struct, frozen=True):
    """One remote file that is not here, and why."""

    part: str
    shard: str
    name: str
    reason: FailReason
    detail: str = ""


class KeptApart(msgspec.Struct, frozen=True):
    """A file that landed under another name than its own, since that was taken. `path` is relative to the target."""

    part: str
    name: str
    path: str


class RefusedMember(msgspec.Struct, frozen=True):
    """A member of an archive that was left out, and why."""

    part: str
    archive: str
    member: str
    reason: str


class BadLine(msgspec.Struct, frozen=True):
    """A line of a results file that could not be merged. `file` is relative to the target, lines count from 1."""

    file: str
    line: int
    reason: str


class Merged(msgspec.Struct, kw_only=True):
    """What was merged into one file. The first thousand of `bad` lines are named in `bad_lines`."""

    path: str
    files: int = 0
    rows: int = 0
    bad: int = 0
    bad_lines: list[BadLine] = []


class ExportReport(msgspec.Struct, kw_only=True):
    """The books of an export.

    Counts are remote files unless they say otherwise. `listed` are all of the parts that were asked for, listed now or
    by earlier runs; they close as `listed == fetched + already_here + failed + left`:

    - `fetched`: by this run, whole; `unverified` of them and of those before by nothing but their own word
    - `already_here`: by earlier runs, and as they were left
    - `failed`: named with the reason in `failures`; the next run tries them again
    - `left`: neither; the same command again goes on with them

    `restored` were fetched before, and again since they had been deleted or changed here; what had been written into
    the `changed_here` of them is gone. `files` and `bytes` count
    what is on disk, members of archives one by one. Lists name the first thousand.
    """

    batch_id: str
    target: str
    workspace: str = ""
    parts: list[str] = []
    listed: int = 0
    fetched: int = 0
    already_here: int = 0
    failed: int = 0
    left: int = 0
    files: int = 0
    bytes: int = 0
    bytes_fetched: int = 0
    bytes_received: int = 0
    restored: int = 0
    changed_here: int = 0
    unverified: int = 0
    kept_apart: int = 0
    refused_members: int = 0
    failures: list[ExportFailure] = []
    restored_files: list[str] = []
    unverified_files: list[str] = []
    kept_apart_files: list[KeptApart] = []
    refused_member_files: list[RefusedMember] = []
    retries: dict[str, int] = {}
    merged: Merged | None = None
    manifest: str = ""
    wall_seconds: float = 0.0
    checkpoint: str = ""

    @property
    def closes(self) -> bool:
        """Whether the books close. If they do not, rfbulk has a defect."""
        return self.listed == self.fetched + self.already_here + self.failed + self.left

    @property
    def has_failures(self) -> bool:
        """Whether anything that was asked for is not here."""
        bad_lines = self.merged.bad if self.merged is not None else 0
        return bool(self.failed or self.left or self.refused_members or bad_lines)


class ExportTotals(msgspec.Struct, frozen=True):
    """What a checkpoint counts of the parts that were asked for. `here` were fetched by earlier runs."""

    states: dict[ElementState, int]
    here: int
    bytes: int
    files: int
    restored: int
    changed_here: int
    unverified: int
    kept_apart: int
    refused_members: int

    def count(self, states: frozenset[ElementState]) -> int:
        """Remote files in these states."""
        return sum(self.states.get(state, 0) for state in states)
