"""What tests of whole uploads say to each other: hashes of folders, and options that suit small ones."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

from rfbulk import UploadOptions


def hashes_of(folder: Path) -> Counter[str]:
    """Hash every file of a folder."""
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.rglob("*") if path.is_file())


def quick(**changes: object) -> UploadOptions:
    """Upload options for small folders: small shards, short waits."""
    return UploadOptions(**({"shard_images": 50, "quiet_seconds": 0.2, "wait_seconds": 20.0} | changes))  # type: ignore[arg-type]  # each test's own
