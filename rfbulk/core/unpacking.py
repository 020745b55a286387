"""What may be unpacked, and how much of it. The archive's own words are never taken for a limit."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Final

from rfbulk.core.fetching import UnpackLimits
from rfbulk.core.landing import UnsafeName, safe_path
from rfbulk.core.tarstream import ArchiveFault, ArchiveUnsafe, MemberKind, TarMember

PIECE_BYTES: Final = 512 << 10
"""The most that is inflated at once, whatever a chunk expands to. In smaller pieces zlib takes half as long again."""

_GZIP: Final = 16 + zlib.MAX_WBITS
_MAGIC: Final = b"\x1f\x8b"
_ROOTS: Final = frozenset({"", ".", "./"})


class MemberRefused(ValueError):
    """A member that is left out. Its text says why."""


class Admission:
    """Decides which members of one archive are unpacked, and where they want to land."""

    def __init__(self, limits: UnpackLimits) -> None:
        self._limits = limits
        self._bytes = 0
        self._name_bytes = 0

    def admit(self, member: TarMember) -> str | None:
        """Return the safe path of a file that is to be unpacked, None for a folder: those are made as files need them.

        Raises:
            MemberRefused: it is left out.
            ArchiveUnsafe: the archive is beyond its limits with this member.
        """
        self._count(member)
        if member.kind is MemberKind.FOLDER and member.name in _ROOTS:
            return None
        if member.kind not in (MemberKind.FILE, MemberKind.FOLDER):
            raise MemberRefused(f"it is {member.kind.value}")
        try:
            path = safe_path(member.name)
        except UnsafeName as unsafe:
            raise MemberRefused(str(unsafe)) from None
        return path if member.kind is MemberKind.FILE else None

    def _count(self, member: TarMember) -> None:
        limits = self._limits
        self._bytes += member.size
        self._name_bytes += len(member.name)
        if self._bytes > limits.most_bytes:
            raise ArchiveUnsafe(f"the archive unpacks to more than {limits.most_bytes:,} bytes")
        if self._name_bytes > limits.most_name_bytes:
            raise ArchiveUnsafe(f"the names in the archive have more than {limits.most_name_bytes:,} characters")


def gunzip(chunks: Iterable[bytes | memoryview], limits: UnpackLimits) -> Iterator[bytes]:
    """Inflate what one or more gzip members hold, each checked to its end by its own CRC and length.

    Zeros behind a member are padding, as for every gunzip; anything else that is no further member is not.

    Raises:
        ArchiveFault: it is damaged or cut short, or something follows its end.
        ArchiveUnsafe: it expands beyond the ratio.
    """
    inflater, in_bytes, out_bytes = zlib.decompressobj(_GZIP), 0, 0
    for chunk in chunks:
        in_bytes += len(chunk)
        data: bytes | memoryview = chunk
        while True:
            if inflater.eof:
                data = bytes(data).lstrip(b"\x00")
                if not data:
                    break
                inflater = zlib.decompressobj(_GZIP)
            piece = _inflated(inflater, data)
            out_bytes += len(piece)
            if out_bytes > limits.ratio_from_bytes and out_bytes > limits.most_ratio * in_bytes:
                raise ArchiveUnsafe(f"the archive expands to more than {limits.most_ratio} times its size")
            if piece:
                yield piece
            data = inflater.unused_data or inflater.unconsumed_tail
            if not data and (inflater.eof or len(piece) < PIECE_BYTES):
                break
    if not inflater.eof:
        raise ArchiveFault("the gzip is cut short")


def is_gzip(beginning: bytes) -> bool:
    """Tell from its first two bytes whether an archive is packed, whatever its name says."""
    return beginning == _MAGIC


def _inflated(inflater: zlib._Decompress, data: bytes | memoryview) -> bytes:
    try:
        return inflater.decompress(data, PIECE_BYTES)
    except zlib.error:
        raise ArchiveFault("the gzip is damaged") from None
