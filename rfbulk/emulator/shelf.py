"""Everything that can be downloaded, wherever its bytes are: in the store, in somebody's file, or made on demand.

A key says where: `made-…` bytes follow from the key alone, linked keys lead to files of this machine, the rest is
stored. Contents that were changed on purpose are changed in whatever way they are read.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from rfbulk.emulator.bodies import Checksums, new_checksums
from rfbulk.emulator.storage import MemoryStore, Store, file_pieces, read_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

PIECE_BYTES = 1024 * 1024
_MADE = "made-"
_NOISE_BYTES = 1024 * 1024
_MARK_BYTES = 16
# Hashing this much takes a tenth of a millisecond: less than a thread costs.
_HASHED_AT_ONCE = 64 * 1024
_MOST_SUMS = 200_000
_BYTES = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where a file's bytes are."""

    key: str
    offset: int
    size: int


@cache
def _noise() -> memoryview:
    noise = random.Random(0).randbytes(_NOISE_BYTES)  # noqa: S311 - filling, not secrets
    return memoryview(noise + noise)


def made_key(size: int, seed: int, generation: int) -> str:
    """Return the key of `size` bytes that follow from `seed` and are never kept."""
    return f"{_MADE}{seed}-{size}.{generation}"


def _made_bytes(key: str, offset: int, size: int) -> bytes:
    """Return noise that begins with a mark of its own, so that no two keys' contents are alike."""
    seed, whole = (int(text) for text in key.removeprefix(_MADE).partition(".")[0].split("-"))
    mark = seed.to_bytes(_MARK_BYTES // 2, "big") + whole.to_bytes(_MARK_BYTES // 2, "big")
    head = mark[offset : offset + size]
    left = size - len(head)
    start = (seed * 7919 + offset + len(head)) % _NOISE_BYTES
    return head + bytes(_noise()[start : start + left])


@dataclass(slots=True)
class Shelf:
    """Reads contents by key. `links` is the state's own; `changed` counts how often a place was changed on purpose."""

    store: Store
    links: Mapping[str, str]
    changed: Counter[Place] = field(default_factory=Counter)
    _made: MemoryStore = field(default_factory=MemoryStore)
    _sums: dict[tuple[Place, int], Checksums] = field(default_factory=dict)

    async def put(self, key: str, chunks: AsyncIterator[bytes]) -> None:
        """Keep what the chunks hold; a store that keeps nothing leaves it to memory."""
        writer = await (self.store if self.store.keeps else self._made).open_writer(key)
        try:
            async for chunk in chunks:
                await writer.write(chunk)
            await writer.commit()
        finally:
            await writer.abort()

    async def read(self, place: Place) -> bytes | None:
        """Return a piece of a content (no more than `PIECE_BYTES`), or None if it is not to be had."""
        if place.key.startswith(_MADE):
            return _made_bytes(place.key, place.offset, place.size)
        if place.key in self.links:
            return await to_thread.run_sync(_read_link, Path(self.links[place.key]), place.offset, place.size)
        return await self._holder(place.key).read(place.key, place.offset, place.size)

    def path(self, key: str) -> Path | None:
        """Return the file in which a content is, if it is in one."""
        if key in self.links:
            return Path(self.links[key])
        return None if key.startswith(_MADE) else self._holder(key).path(key)

    async def sums(self, place: Place, *, with_md5: bool) -> Checksums | None:
        """Return the checksums of a content, or None if it is not to be had. They are computed once."""
        version = self.version(place)
        known = self._sums.get((place, version))
        if known is not None and (known.md5 is not None or not with_md5):
            return known
        is_quick = place.size <= _HASHED_AT_ONCE and self.path(place.key) is None
        sums = self._sum(place, with_md5) if is_quick else await to_thread.run_sync(self._sum, place, with_md5)
        if sums is not None:
            if len(self._sums) >= _MOST_SUMS:
                self._sums.clear()
            self._sums[place, version] = sums
        return sums

    def version(self, place: Place) -> int:
        """Return how often a content was changed; unlike the counter itself, leave no trace of asking."""
        return self.changed.get(place, 0)

    def alter(self, place: Place, piece: bytes) -> bytes:
        """Return a piece as the changes to its content have left it."""
        version = self.version(place)
        return piece.translate(bytes((byte + version) % _BYTES for byte in range(_BYTES))) if version else piece

    def _sum(self, place: Place, with_md5: bool) -> Checksums | None:
        sums = new_checksums(with_md5=with_md5)
        try:
            for piece in self.pieces(place):
                sums.update(piece)
        except KeyError:
            return None
        return sums

    def pieces(self, place: Place) -> Iterator[bytes | memoryview]:
        """Go through a content as it is now, in a thread.

        Raises:
            KeyError: it is not to be had.
        """
        version = self.version(place)
        for piece in self._unchanged(place):
            yield self.alter(place, bytes(piece)) if version else piece

    def _unchanged(self, place: Place) -> Iterator[bytes | memoryview]:
        if place.key.startswith(_MADE):
            for at in range(0, place.size, PIECE_BYTES):
                yield _made_bytes(place.key, place.offset + at, min(PIECE_BYTES, place.size - at))
        elif place.key in self.links:
            yield from file_pieces(Path(self.links[place.key]), place.offset, place.size)
        else:
            yield from self._holder(place.key).pieces(place.key, place.offset, place.size)

    def _holder(self, key: str) -> Store:
        return self._made if self._made.holds(key) else self.store


async def read_whole(shelf: Shelf, place: Place) -> AsyncIterator[bytes]:
    """Go through a content piece by piece, as it is now.

    Raises:
        KeyError: it is not to be had.
    """
    for at in range(0, place.size, PIECE_BYTES):
        piece = await shelf.read(Place(place.key, place.offset + at, min(PIECE_BYTES, place.size - at)))
        if piece is None:
            raise KeyError(place.key)
        yield shelf.alter(place, piece)


def _read_link(path: Path, offset: int, size: int) -> bytes | None:
    try:
        return read_file(path, offset, size)
    except KeyError:
        return None
