"""Which images travel together: ordered entries into shards, limited by count and by the tar's exact length."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rfbulk.core.limits import MAX_IMAGES_PER_SHARD
from rfbulk.core.tarlayout import END, TRAILER_NAME, member_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from rfbulk.core.model import Entry

DEFAULT_SHARD_BYTES: Final = 64 << 20
"""What is sent again when a connection breaks: a few seconds of an ordinary line, and 500 images of 130 KB."""


class Planner:
    """Cuts a stream of entries into shards, in the order in which they come.

    A shard holds at most `max_images` entries and its tar, with its end and its trailer, at most `max_bytes`; an
    entry that alone is larger than that travels alone. `max_bytes` may be lowered at any time, once a grant tells
    the service's own limit.
    """

    def __init__(
        self, *, max_images: int = MAX_IMAGES_PER_SHARD, max_bytes: int = DEFAULT_SHARD_BYTES, trailer: bytes = b""
    ) -> None:
        self.max_images = max_images
        self.max_bytes = max_bytes
        self._fixed_bytes = fixed_bytes(trailer)
        self._entries: list[Entry] = []
        self._tar_bytes = self._fixed_bytes

    def add(self, entries: Iterable[Entry]) -> list[tuple[tuple[Entry, ...], int]]:
        """Take further entries and return the shards that became full: entries and exact tar length."""
        full: list[tuple[tuple[Entry, ...], int]] = []
        for entry in entries:
            size = member_bytes(entry.name, entry.size)
            crowded = len(self._entries) >= self.max_images or self._tar_bytes + size > self.max_bytes
            if self._entries and crowded:
                full.append(self._cut())
            self._entries.append(entry)
            self._tar_bytes += size
        if len(self._entries) >= self.max_images:
            full.append(self._cut())
        return full

    def rest(self) -> list[tuple[tuple[Entry, ...], int]]:
        """Return what is left as a last shard, or nothing."""
        return [self._cut()] if self._entries else []

    def _cut(self) -> tuple[tuple[Entry, ...], int]:
        shard = tuple(self._entries), self._tar_bytes
        self._entries = []
        self._tar_bytes = self._fixed_bytes
        return shard


class SinglePlanner:
    """Lets each entry travel alone, as it is."""

    max_images = 1

    def __init__(self, *, max_bytes: int = DEFAULT_SHARD_BYTES) -> None:
        self.max_bytes = max_bytes

    def add(self, entries: Iterable[Entry]) -> list[tuple[tuple[Entry, ...], int]]:
        """Take further entries and return a shard of each."""
        return [((entry,), entry.size) for entry in entries]

    def rest(self) -> list[tuple[tuple[Entry, ...], int]]:
        """Return nothing: nothing is left."""
        return []


def fixed_bytes(trailer: bytes) -> int:
    """Bytes of a tar that are there whatever its images: its end, and its trailer if there is one."""
    return len(END) + (member_bytes(TRAILER_NAME, len(trailer)) if trailer else 0)


def halves(entries: Sequence[Entry]) -> tuple[tuple[Entry, ...], tuple[Entry, ...]]:
    """Cut the entries of a shard that is too large into two of about the same number of bytes, neither empty."""
    total = sum(entry.size for entry in entries)
    so_far, cut = 0, 1
    for cut, entry in enumerate(entries[:-1], start=1):  # noqa: B007 - the place of the cut is the result
        so_far += entry.size
        if so_far * 2 >= total:
            break
    return tuple(entries[:cut]), tuple(entries[cut:])
