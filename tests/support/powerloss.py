"""What a disk holds after the power failed: what a process wrote and did not sync may be there, or not, or in part.

A write is sure to last once its file was synced, a name once its folder was. Sectors of 512 bytes are written whole.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tests.support.strace import Op

SECTOR_BYTES = 512
Mode = Literal["kept", "lost", "torn"]
"""What becomes of what was not synced: all of it is there, nothing is, or chance decides about each sector."""


@dataclass(eq=False, slots=True)
class _File:
    """A file, whatever it is called: what is in it, and what of that is sure to last."""

    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        _put(self.content, offset, data)
        self.pending.append((offset, data))

    def truncate(self, size: int) -> None:
        """A cut lasts at once: else what it cut off could come back behind what is written next."""
        if size > len(self.content):
            self.write(len(self.content), bytes(size - len(self.content)))
        self.content = self.content[:size]
        self.durable = self.durable[:size]
        self.pending = [(start, data[: size - start]) for start, data in self.pending if start < size]

    def sync(self) -> None:
        self.durable = bytes(self.content)
        self.pending.clear()

    def after(self, mode: Mode, chance: random.Random) -> bytes:
        if mode == "kept":
            return bytes(self.content)
        found = bytearray(self.durable)
        for offset, data in self.pending if mode == "torn" else ():
            for start, sector in _sectors(offset, data):
                if chance.random() < 0.5:
                    _put(found, start, sector)
        return bytes(found)


def _put(content: bytearray, offset: int, data: bytes) -> None:
    content.extend(bytes(max(0, offset - len(content))))
    content[offset : offset + len(data)] = data


def _sectors(offset: int, data: bytes) -> Iterator[tuple[int, bytes]]:
    while data:
        length = SECTOR_BYTES - offset % SECTOR_BYTES
        yield offset, data[:length]
        offset, data = offset + length, data[length:]


class Disk:
    """Files below some folders, as a process sees them and as a power failure would leave them."""

    def __init__(self) -> None:
        self.names: dict[str, _File] = {}
        self._durable: dict[str, _File] = {}
        self._moves: list[tuple[str, _File | None]] = []

    @staticmethod
    def of(roots: Iterable[Path]) -> Disk:
        """A disk with what is there now, all of it durable."""
        disk = Disk()
        for root in roots:
            for path in (each for each in root.rglob("*") if each.is_file()):
                file = disk.names[os.path.realpath(path)] = _File(bytearray(path.read_bytes()))
                file.sync()
        disk._durable = dict(disk.names)
        return disk

    def apply(self, ops: Iterable[Op]) -> None:
        """Do what a process did."""
        for op in ops:
            self._apply(op)

    def _apply(self, op: Op) -> None:
        match op.call:
            case "create" if op.path not in self.names:
                self._name(op.path, _File())
            case "write":
                file = self._file(op.path)
                file.write(len(file.content) if op.offset is None else op.offset, op.data)
            case "truncate":
                self._file(op.path).truncate(op.offset or 0)
            case "rename" | "link" | "unlink":
                self._move(op)
            case "sync":
                self._file(op.path).sync()
            case "sync-folder":
                self._sync_names(op.path)
            case "sync-all":
                self._sync_all()

    def _move(self, op: Op) -> None:
        file = self.names.get(op.path)
        if file is not None and op.other:
            self._name(op.other, file)
        if file is not None and op.call != "link":
            self._name(op.path, None)

    def _sync_all(self) -> None:
        for file in self.names.values():
            file.sync()
        self._sync_names(None)

    def _file(self, path: str) -> _File:
        return self.names.get(path) or _File()  # one without a name any more is nobody's concern

    def _name(self, path: str, file: _File | None) -> None:
        _set(self.names, path, file)
        self._moves.append((path, file))

    def _sync_names(self, folder: str | None) -> None:
        """Let the names in a folder last, None: all. Nothing is promised for the names in other ones."""
        left = []
        for path, file in self._moves:
            if folder is None or os.path.dirname(path) == folder:
                _set(self._durable, path, file)
            else:
                left.append((path, file))
        self._moves = left

    def after(self, mode: Mode, chance: random.Random) -> dict[str, tuple[_File, bytes]]:
        """What is there after the power has failed: each name, its file, and what is in that."""
        names = dict(self.names) if mode == "kept" else dict(self._durable)
        if mode == "torn":
            for path, file in self._moves[: chance.randrange(len(self._moves) + 1)]:
                _set(names, path, file)
        return {path: (file, file.after(mode, chance)) for path, file in names.items()}

    def write_to(self, root: Path, folder: Path, mode: Mode, chance: random.Random) -> None:
        """Write what is there afterwards into a new folder, which stands for `root`."""
        for path, (_, content) in self.after(mode, chance).items():
            place = folder / os.path.relpath(path, os.path.realpath(root))
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def cut_power(self, roots: Iterable[Path], mode: Mode, chance: random.Random) -> int:
        """Make the real folders what they are afterwards, in place: inodes and times stay, as they may.

        Returns how many files are other than the process saw them last.
        """
        after = self.after(mode, chance)
        now = {id(file): path for path, file in self.names.items()}
        changed = 0
        for path, (file, content) in after.items():
            there = Path(path)
            if self.names.get(path) is not file and id(file) in now:  # its earlier name is back
                there.unlink(missing_ok=True)
                os.link(now[id(file)], there)
                changed += 1
            changed += _make(there, content)
        for each in [each for root in roots for each in root.rglob("*") if each.is_file()]:
            if os.path.realpath(each) not in after:
                each.unlink()
                changed += not each.name.endswith(("-shm", ".lock"))
        return changed


def _set(names: dict[str, _File], path: str, file: _File | None) -> None:
    if file is None:
        names.pop(path, None)
    else:
        names[path] = file


def _make(path: Path, content: bytes) -> bool:
    """Give a file this content and leave its time alone, since that may have lasted. False if it had it."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return True
    if path.read_bytes() == content:
        return False
    status = path.stat()
    with path.open("r+b") as file:
        file.write(content)
        file.truncate()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    return True
