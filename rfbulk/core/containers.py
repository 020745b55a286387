"""Whether a file is a video at all, from its first bytes. Pure, and it never raises on what it reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

HEAD_BYTES: Final = 2048
"""Enough for every mark: transport streams repeat theirs every 188 to 204 bytes."""

_BOXES: Final = frozenset((b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"))
_ASF: Final = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_PACKETS: Final = ((0, 188), (4, 192), (0, 204))


def container_of(head: bytes) -> str | None:
    """Return what kind of container begins with these bytes, None if none that is known does.

    | begins with | container |
    | --- | --- |
    | a box of `ftyp`, or of another kind that QuickTime begins with | mp4 (mov, m4v, 3gp, …) |
    | EBML | matroska (mkv, webm) |
    | `RIFF….AVI ` | avi |
    | its own identifier | asf (wmv) |
    | `FLV`, `OggS` | flv, ogg |
    | a pack, system, sequence or picture start code | mpeg |
    | a synchronising byte each 188, 192 or 204 bytes | mpeg-ts |
    """
    return next((name for name, begins in _KINDS if begins(head)), None)


def _is_mp4(head: bytes) -> bool:
    return len(head) >= 8 and head[4:8] in _BOXES and int.from_bytes(head[:4], "big") not in range(2, 8)


def _is_avi(head: bytes) -> bool:
    return head[:4] in {b"RIFF", b"RIFX"} and head[8:11] == b"AVI"


def _is_mpeg(head: bytes) -> bool:
    return head[:3] == b"\0\0\x01" and len(head) > 3 and (head[3] in {0x00, 0xB0, 0xB3, 0xB5} or head[3] >= 0xBA)


def _is_transport_stream(head: bytes) -> bool:
    return any(_has_packets(head, start, size) for start, size in _PACKETS)


def _has_packets(head: bytes, start: int, size: int) -> bool:
    marks = head[start : start + 4 * size : size]
    return len(marks) >= min(4, max(2, len(head) // size)) and set(marks) == {0x47}


_KINDS: Final[tuple[tuple[str, Callable[[bytes], bool]], ...]] = (
    ("mp4", _is_mp4),
    ("matroska", lambda head: head.startswith(b"\x1a\x45\xdf\xa3")),
    ("avi", _is_avi),
    ("asf", lambda head: head.startswith(_ASF)),
    ("flv", lambda head: head.startswith(b"FLV")),
    ("ogg", lambda head: head.startswith(b"OggS")),
    ("mpeg", _is_mpeg),
    ("mpeg-ts", _is_transport_stream),
)
