"""Where objects' bytes go: memory, a folder, or nowhere.

Objects stream in chunk by chunk and appear whole or not at all. Disks are only touched in threads.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Protocol

from anyio import to_thread

from rfbulk.emulator.tarscan import Scan, TarScanner

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

# One thread hop writes this much.
_WRITE_BYTES = 1024 * 1024
_READ_BYTES = 1024 * 1024


class ObjectWriter(Protocol):
    """Takes one object's bytes. Ends with `commit` or `abort`; aborting leaves nothing behind."""

    async def write(self, chunk: bytes) -> None:
        """Take the next bytes."""
        ...

    async def commit(self) -> Scan | None:
        """Let the object appear; return what its tar holds if that cannot be read again later."""
        ...

    async def abort(self) -> None:
        """Forget the object. After `commit`, do nothing."""
        ...


class Store(Protocol):
    """Keeps objects by key."""

    keeps: bool

    async def open_writer(self, key: str) -> ObjectWriter:
        """Begin an object."""
        ...

    async def scan(self, key: str) -> Scan:
        """Read an object as a shard's tar."""
        ...

    async def read(self, key: str, offset: int, size: int) -> bytes | None:
        """Return `size` bytes of an object from `offset`, or None if it is not kept."""
        ...

    def pieces(self, key: str, offset: int, size: int) -> Iterator[bytes | memoryview]:
        """Go through `size` bytes of an object from `offset`, in a thread.

        Raises:
            KeyError: it is not kept.
        """
        ...

    def path(self, key: str) -> Path | None:
        """Return the file that an object is, if it is one."""
        ...

    async def sha256(self, key: str) -> bytes:
        """Return the hash of a whole object, or nothing if it is not kept."""
        ...

    async def remove(self, key: str) -> None:
        """Forget an object."""
        ...


def read_file(path: Path, offset: int, size: int) -> bytes:
    """Return a piece of a file; in a thread.

    Raises:
        KeyError: there is no such file.
    """
    try:
        with path.open("rb", buffering=0) as file:
            return os.pread(file.fileno(), size, offset)
    except OSError:
        raise KeyError(str(path)) from None


def file_pieces(path: Path, offset: int, size: int) -> Iterator[bytes]:
    """Go through a piece of a file; in a thread.

    Raises:
        KeyError: there is no such file.
    """
    for at in range(offset, offset + size, _READ_BYTES):
        yield read_file(path, at, min(_READ_BYTES, offset + size - at))


def _scan_chunks(read: Callable[[], bytes]) -> Scan:
    scanner = TarScanner(hashing=True)
    while chunk := read():
        scanner.feed(chunk)
    return scanner.finish()


@dataclass(slots=True)
class CountStore:
    """Reads tars as they stream by and keeps nothing of them but their members' names and sizes."""

    keeps: bool = False

    async def open_writer(self, key: str) -> ObjectWriter:  # noqa: ARG002 - nothing is kept under it
        """Begin an object."""
        return _CountWriter()

    async def scan(self, key: str) -> Scan:  # noqa: ARG002 - the protocol's parameter
        """Say that a scan is impossible: the writer gave it."""
        return Scan(failure="the contents were not kept")

    async def read(self, key: str, offset: int, size: int) -> bytes | None:  # noqa: ARG002 - the protocol's parameters
        """Have nothing to return."""
        return None

    def pieces(self, key: str, offset: int, size: int) -> Iterator[bytes | memoryview]:  # noqa: ARG002 - the protocol's
        """Have nothing to go through."""
        raise KeyError(key)

    def path(self, key: str) -> Path | None:  # noqa: ARG002 - the protocol's parameter
        """Have no files."""
        return None

    async def sha256(self, key: str) -> bytes:  # noqa: ARG002 - the protocol's parameter
        """Have nothing to return."""
        return b""

    async def remove(self, key: str) -> None:
        """Have nothing to forget."""


@dataclass(slots=True)
class _CountWriter:
    scanner: TarScanner = field(default_factory=lambda: TarScanner(hashing=False))

    async def write(self, chunk: bytes) -> None:
        self.scanner.feed(chunk)

    async def commit(self) -> Scan | None:
        return self.scanner.finish()

    async def abort(self) -> None:
        """Have nothing to undo."""


@dataclass(slots=True)
class MemoryStore:
    """Keeps each object as one block of bytes."""

    keeps: bool = True
    _objects: dict[str, bytearray] = field(default_factory=dict)

    async def open_writer(self, key: str) -> ObjectWriter:
        """Begin an object."""
        return _MemoryWriter(self._objects, key)

    def holds(self, key: str) -> bool:
        """Tell whether an object of this key is here."""
        return key in self._objects

    async def scan(self, key: str) -> Scan:
        """Read an object as a shard's tar, in a thread."""
        return await to_thread.run_sync(self._scan, key)

    async def read(self, key: str, offset: int, size: int) -> bytes | None:
        """Return a piece of an object."""
        body = self._objects.get(key)
        return None if body is None else bytes(memoryview(body)[offset : offset + size])

    def pieces(self, key: str, offset: int, size: int) -> Iterator[bytes | memoryview]:
        """Go through a piece of an object."""
        body = memoryview(self._objects[key])[offset : offset + size]
        for at in range(0, len(body), _READ_BYTES):
            yield body[at : at + _READ_BYTES]

    def path(self, key: str) -> Path | None:  # noqa: ARG002 - the protocol's parameter
        """Have no files."""
        return None

    async def sha256(self, key: str) -> bytes:
        """Return the hash of an object."""
        return await to_thread.run_sync(lambda: hashlib.sha256(self._objects[key]).digest())

    async def remove(self, key: str) -> None:
        """Forget an object."""
        self._objects.pop(key, None)

    def _scan(self, key: str) -> Scan:
        body = memoryview(self._objects[key])
        starts = iter(range(0, len(body), _READ_BYTES))
        return _scan_chunks(
            lambda: bytes(body[at : at + _READ_BYTES]) if (at := next(starts, None)) is not None else b""
        )


@dataclass(slots=True)
class _MemoryWriter:
    objects: dict[str, bytearray]
    key: str
    body: bytearray = field(default_factory=bytearray)

    async def write(self, chunk: bytes) -> None:
        self.body += chunk

    async def commit(self) -> Scan | None:
        self.objects[self.key] = self.body
        return None

    async def abort(self) -> None:
        self.body = bytearray()


@dataclass(slots=True)
class FolderStore:
    """Keeps each object as a file. It comes in under another name and appears by a rename."""

    directory: Path
    keeps: bool = True

    async def open_writer(self, key: str) -> ObjectWriter:
        """Begin an object."""
        return await to_thread.run_sync(self._open_writer, key)

    async def scan(self, key: str) -> Scan:
        """Read an object as a shard's tar, in a thread."""
        return await to_thread.run_sync(self._scan, key)

    async def read(self, key: str, offset: int, size: int) -> bytes | None:
        """Return a piece of an object."""
        return await to_thread.run_sync(self._read, key, offset, size)

    def pieces(self, key: str, offset: int, size: int) -> Iterator[bytes | memoryview]:
        """Go through a piece of an object."""
        return file_pieces(self.directory / key, offset, size)

    def path(self, key: str) -> Path | None:
        """Return the object's file."""
        return self.directory / key

    async def sha256(self, key: str) -> bytes:
        """Return the hash of an object."""
        return await to_thread.run_sync(self._sha256, key)

    async def remove(self, key: str) -> None:
        """Forget an object."""
        await to_thread.run_sync(lambda: (self.directory / key).unlink(missing_ok=True))

    def _open_writer(self, key: str) -> ObjectWriter:
        partial = self.directory / f"{key}.part"
        return _FolderWriter(partial, self.directory / key, partial.open("wb", buffering=0))

    def _scan(self, key: str) -> Scan:
        with (self.directory / key).open("rb", buffering=0) as file:
            return _scan_chunks(lambda: file.read(_READ_BYTES))

    def _read(self, key: str, offset: int, size: int) -> bytes | None:
        try:
            return read_file(self.directory / key, offset, size)
        except KeyError:
            return None

    def _sha256(self, key: str) -> bytes:
        with (self.directory / key).open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()


@dataclass(slots=True)
class _FolderWriter:
    partial: Path
    final: Path
    file: BinaryIO
    held: list[bytes] = field(default_factory=list)
    held_bytes: int = 0

    async def write(self, chunk: bytes) -> None:
        self.held.append(chunk)
        self.held_bytes += len(chunk)
        if self.held_bytes >= _WRITE_BYTES:
            await to_thread.run_sync(self._flush)

    async def commit(self) -> Scan | None:
        await to_thread.run_sync(self._commit)
        return None

    async def abort(self) -> None:
        await to_thread.run_sync(self._abort)

    def _flush(self) -> None:
        for chunk in self.held:
            rest = memoryview(chunk)
            while rest:
                rest = rest[self.file.write(rest) :]
        self.held, self.held_bytes = [], 0

    def _commit(self) -> None:
        self._flush()
        self.file.close()
        self.partial.rename(self.final)

    def _abort(self) -> None:
        self.file.close()
        self.partial.unlink(missing_ok=True)
