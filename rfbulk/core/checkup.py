"""What a look at the surroundings of rfbulk comes to: one finding a thing, in words, with what to do about it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_SKEW_SECONDS: Final = 60.0
"""Signed URLs end by the server's clock, which rfbulk goes by; certificates and logs go by this machine's."""

MIN_FREE_BYTES: Final = 1 << 30
"""A checkpoint takes some hundred bytes an image: those of ten million fit."""

NEEDED_FILES: Final = 512
"""Connections, one open file each, the folders that are being read, and what Python itself holds."""

NETWORK_FILE_SYSTEMS: Final = frozenset(
    {
        *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "beegfs", "gpfs"),
        *("fuse.sshfs", "fuse.s3fs", "fuse.gcsfuse", "fuse.rclone", "fuse.blobfuse2", "fuse.glusterfs"),
    }
)


class Health(StrEnum):
    """How something is."""

    WELL = "well"
    NOTED = "noted"  # neither good nor bad: a thing that may matter
    DOUBTFUL = "doubtful"  # it will work, and something may be amiss
    ILL = "ill"  # nothing will work until it is mended


class Finding(msgspec.Struct, frozen=True):
    """What was found of one thing. `exit_code` is what the command ends with where it is ill."""

    subject: str
    health: Health
    detail: str
    advice: str = ""
    exit_code: int = 0


def exit_code_of(findings: Sequence[Finding]) -> int:
    """Return the code of the first thing that is ill; 0 if none is."""
    return next((each.exit_code for each in findings if each.health is Health.ILL), 0)


def finding_of_skew(seconds: float) -> Finding:
    """Judge how far the server's clock is ahead of ours."""
    shown = f"{abs(seconds):.0f} s {'behind' if seconds > 0 else 'ahead of'} the service's"
    if abs(seconds) <= MAX_SKEW_SECONDS:
        return Finding("clock", Health.WELL, f"within {max(1, round(abs(seconds)))} s of the service's")
    return Finding("clock", Health.DOUBTFUL, shown, "set this machine's clock, as with NTP: certificates go by it")


def finding_of_room(free_bytes: int, shown: str) -> Finding:
    """Judge what is free where checkpoints are."""
    if free_bytes >= MIN_FREE_BYTES:
        return Finding("room for checkpoints", Health.WELL, f"{shown} free")
    advice = "make room: a checkpoint takes some hundred bytes an image"
    return Finding("room for checkpoints", Health.DOUBTFUL, f"{shown} free", advice)


def finding_of_file_system(kind: str, folder: str) -> Finding:
    """Judge where checkpoints are: SQLite's log needs locks and shared memory that network file systems lack."""
    if kind in NETWORK_FILE_SYSTEMS:
        advice = "put it on a disk of this machine: RFBULK_STATE_DIR, or --state-dir"
        return Finding("file system of checkpoints", Health.DOUBTFUL, f"{kind}, at {folder}: over the network", advice)
    return Finding("file system of checkpoints", Health.WELL, kind or "not known")


def finding_of_files(soft: int, hard: int) -> Finding:
    """Judge how many files a process may hold open; a negative number is no limit."""
    if soft < 0 or soft >= NEEDED_FILES:
        return Finding("open files", Health.WELL, "no limit" if soft < 0 else f"up to {soft:,}")
    most = f"up to {hard:,} is allowed" if hard > soft else "an administrator may raise it"
    advice = f"ulimit -n 4096 before large transfers ({most})"
    return Finding("open files", Health.DOUBTFUL, f"up to {soft:,}, and many connections need {NEEDED_FILES:,}", advice)
