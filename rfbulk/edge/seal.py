"""Whether a checkpoint is, byte by byte, what was left of it: SQLite takes a flipped bit for what was written.

The file changes only while its log is folded into it. Before that its seal is lifted, behind it is put on anew, and
each is durable before the next. The log guards itself by a chain of checksums, but reads as ended where it breaks:
SQLite syncs each commit before it begins the next, so that of two commits behind a break one had been durable.

| seal | file | it is |
| --- | --- | --- |
| there | as it says | as it was left |
| there | other | damaged |
| none | | left in the middle of a fold: SQLite must look at its structure |

| log | it is |
| --- | --- |
| whole, or broken within its last commit | as a death or a power cut leaves it; damage there nobody can tell |
| broken before its last commit | damaged |
| its head is broken, and commits follow | damaged |
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from rfbulk.core.checksums import crc32c

if TYPE_CHECKING:
    from collections.abc import Iterator

SUFFIX: Final = ".seal"
_PIECE_BYTES: Final = 1 << 20
_HEAD_BYTES: Final = 32
_FRAME_HEAD_BYTES: Final = 24


class SealBroken(ValueError):
    """The file is not as it was left."""


def seal_of(path: Path) -> Path:
    """Return where the seal of a checkpoint is."""
    return path.with_suffix(SUFFIX)


def is_sealed(path: Path) -> bool:
    """Tell whether a file is as it was left; False where nobody can tell.

    Raises:
        SealBroken: it is not.
    """
    try:
        said = seal_of(path).read_bytes()
    except FileNotFoundError:
        return False
    if said != _text_for(path):
        raise SealBroken
    return True


def lift(path: Path) -> None:
    """Take the seal off a file that is about to change."""
    with contextlib.suppress(FileNotFoundError):
        seal_of(path).unlink()
        sync_folder(path.parent)


def put_on(path: Path) -> None:
    """Seal a file as it is now. Whatever it holds must be durable."""
    _write(path, _text_for(path))


def spoil(path: Path) -> None:
    """Have a file told as damaged from now on."""
    _write(path, b"rfbulk seal: damaged\n")


def _write(path: Path, text: bytes) -> None:
    new = path.with_suffix(f"{SUFFIX}-new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    new.replace(seal_of(path))
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as what they name. Windows has no way to ask for that, and no need."""
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def is_log_damaged(log: Path, frames: int) -> bool:
    """Tell whether a log, of which SQLite takes so many `frames`, holds more that had been durable."""
    with log.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES:
            return False
        if not _is_head_whole(head):
            return bool(file.read(_FRAME_HEAD_BYTES))  # a head is synced before the first frame is written
        heads = _frame_heads(file, int.from_bytes(head[8:12], "big"), frames)
        commits = sum(frame[8:16] == head[16:24] and frame[4:8] != bytes(4) for frame in heads)
    return commits > 1


def _is_head_whole(head: bytes) -> bool:
    """As SQLite checks it: sums over the words of the first 24 bytes, in the order of bytes that the magic tells."""
    order: Literal["big", "little"] = "big" if head[3] & 1 else "little"
    first = second = 0
    for at in range(0, 24, 8):
        first = (first + int.from_bytes(head[at : at + 4], order) + second) & 0xFFFFFFFF
        second = (second + int.from_bytes(head[at + 4 : at + 8], order) + first) & 0xFFFFFFFF
    sums = first.to_bytes(4, "big") + second.to_bytes(4, "big")
    return head[:3] == b"\x37\x7f\x06" and sums == head[24:32]


def _frame_heads(file: BinaryIO, page_bytes: int, first: int) -> Iterator[bytes]:
    step = _FRAME_HEAD_BYTES + page_bytes
    size = file.seek(0, os.SEEK_END)
    for number in range(first, (size - _HEAD_BYTES) // step):
        file.seek(_HEAD_BYTES + number * step)
        yield file.read(_FRAME_HEAD_BYTES)


def _text_for(path: Path) -> bytes:
    size = crc = 0
    with path.open("rb") as file:
        while piece := file.read(_PIECE_BYTES):
            size += len(piece)
            crc = crc32c(piece, crc)
    return f"rfbulk seal: {size} bytes, crc32c {crc:08x}\n".encode()
