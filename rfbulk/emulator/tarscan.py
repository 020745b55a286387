"""Read a shard's tar as the service would: strictly, as a stream, in one pass.

Bytes are pushed in as they come; contents are hashed or skipped, never kept. It never raises on what it
reads: a bad archive is the scan's `failure`, a bad member one of its `failed` files.

Accepted are ustar, pax (`path`, `size`, `mtime`) and GNU long names. Links, devices and folders fail as files;
any other kind makes the archive malformed.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import msgspec

from rfbulk.emulator import tarhead
from rfbulk.emulator.tarhead import BLOCK, NO_EXTENSION, Extension, Head, MalformedTarError

if TYPE_CHECKING:
    from collections.abc import Sequence

# The service's documented limits.
MAX_IMAGES = 500
MAX_IMAGE_BYTES = 20_971_520
IMAGE_EXTENSIONS = frozenset({"bmp", "dib", "jpeg", "jpg", "jpe", "jp2", "png", "webp"})
CONFIG_NAME = "notification_config.json"

# Names and pax records are short; a longer head is an attack or an error.
_MAX_META_BYTES = 1024 * 1024
_ZERO_BLOCK = bytes(BLOCK)
_END_BLOCKS = 2


class Member(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One image of a shard: its name, length, where its bytes begin in the tar, and their sha256 (or nothing)."""

    name: str
    size: int
    offset: int
    sha256: bytes


@dataclass(frozen=True, slots=True)
class Scan:
    """What a tar holds. With a `failure`, nothing of it counts. `config` is the configuration at its end."""

    members: Sequence[Member] = ()
    failed: Sequence[tuple[str, str]] = ()
    failure: str | None = None
    config: bytes | None = None

    @property
    def accepted(self) -> int:
        """How many files the archive brought, good or bad."""
        return 0 if self.failure else len(self.members) + len(self.failed)


def refusal(name: str, size: int) -> str | None:
    """Say why the service would not take an image of this name and size, or None."""
    if "/" in name or "\\" in name or name in {"", ".", ".."} or "\0" in name:
        return "the name is not a plain file name"
    stem, _, extension = name.rpartition(".")
    if not stem or extension.lower() not in IMAGE_EXTENSIONS:
        return "unsupported format"
    if size == 0:
        return "the file is empty"
    if size > MAX_IMAGE_BYTES:
        return f"larger than {MAX_IMAGE_BYTES} bytes"
    return None


class _Hash(Protocol):
    def update(self, data: memoryview, /) -> None: ...

    def digest(self) -> bytes: ...


@dataclass(slots=True)
class _OpenMember:
    name: str
    size: int
    offset: int
    left: int
    hash: _Hash


@dataclass(slots=True)
class TarScanner:
    """Takes a tar chunk by chunk; `finish` tells what was in it. Without `hashing`, contents are only skipped."""

    hashing: bool = True
    _members: list[Member] = field(default_factory=list)
    _failed: list[tuple[str, str]] = field(default_factory=list)
    _failure: str | None = None
    _position: int = 0
    _skip: int = 0
    _held: bytearray = field(default_factory=bytearray)
    _need: int = BLOCK
    _meta: Head | None = None
    _open: _OpenMember | None = None
    _next: Extension = NO_EXTENSION
    _global: Extension = NO_EXTENSION
    _zero_blocks: int = 0
    _config_is_last: bool = False
    _config_bytes: int = 0
    _config: bytes | None = None

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes; once the archive has failed, they are ignored."""
        view = memoryview(chunk)
        at = 0
        try:
            while at < len(view) and self._failure is None:
                at += self._step(view, at)
        except MalformedTarError as error:
            self._failure = str(error)

    def finish(self) -> Scan:
        """Return what the archive held, now that all of it has been fed."""
        failure = self._failure or self._final_failure()
        if failure:
            return Scan(failure=failure, config=self._config)
        return Scan(tuple(self._members), tuple(self._failed), config=self._config)

    def _final_failure(self) -> str | None:
        if self._zero_blocks < _END_BLOCKS or self._held:
            return "malformed archive: it ends before its two blocks of zeros"
        if not self._members and not self._failed:
            return "the archive holds no images"
        return None

    def _step(self, view: memoryview, at: int) -> int:
        available = len(view) - at
        if self._skip:
            taken = min(self._skip, available)
            self._skip -= taken
            self._position += taken
            return taken
        if self._open is not None:
            return self._read_content(self._open, view[at:])
        if not self._held and available >= self._need:
            taken = self._need
            self._position += taken
            self._take(bytes(view[at : at + taken]))
            return taken
        return self._hold(view, at)

    def _hold(self, view: memoryview, at: int) -> int:
        taken = min(self._need - len(self._held), len(view) - at)
        self._held += view[at : at + taken]
        self._position += taken
        if len(self._held) == self._need:
            block = bytes(self._held)
            self._held.clear()
            self._take(block)
        return taken

    def _read_content(self, member: _OpenMember, rest: memoryview) -> int:
        taken = min(member.left, len(rest))
        member.hash.update(rest[:taken])
        member.left -= taken
        self._position += taken
        if member.left == 0:
            self._open = None
            self._add(Member(member.name, member.size, member.offset, member.hash.digest()))
            self._skip = -member.size % BLOCK
        return taken

    def _take(self, block: bytes) -> None:
        if self._config_bytes:
            self._config, self._config_bytes, self._need = block[: self._config_bytes], 0, BLOCK
        elif self._meta is not None:
            meta, self._meta, self._need = self._meta, None, BLOCK
            self._take_meta(meta, block)
        elif self._zero_blocks or block == _ZERO_BLOCK:
            self._take_end(block)
        else:
            self._take_head(tarhead.parse_head(block))

    def _take_end(self, block: bytes) -> None:
        if block != _ZERO_BLOCK:
            raise MalformedTarError("malformed archive: something follows its end")
        if self._next is not NO_EXTENSION:
            raise MalformedTarError("malformed archive: it ends behind an extension head")
        self._zero_blocks += 1

    def _take_head(self, head: Head) -> None:
        if self._config_is_last:
            self._config_is_last, self._config = False, None
            self._fail(CONFIG_NAME, "unsupported format")
        if head.kind in tarhead.META_KINDS:
            self._begin_meta(head)
        elif head.kind in tarhead.REGULAR_KINDS or head.kind in tarhead.BODILESS_KINDS:
            said, self._next = self._said(), NO_EXTENSION
            name = head.name if said.path is None else said.path
            self._begin_member(name, head.size if said.size is None else said.size, head.kind)
        else:
            raise MalformedTarError(f"malformed archive: members of kind {chr(head.kind)!r} are not supported")

    def _said(self) -> Extension:
        return self._next if self._global is NO_EXTENSION else self._next.over(self._global)

    def _begin_meta(self, head: Head) -> None:
        if not 0 < head.size <= _MAX_META_BYTES:
            raise MalformedTarError("malformed archive: an extension head is empty or too long")
        self._meta = head
        self._need = head.size + -head.size % BLOCK

    def _take_meta(self, head: Head, padded: bytes) -> None:
        body = padded[: head.size]
        if head.kind == tarhead.PAX:
            self._next = tarhead.parse_pax(body).over(self._next)
        elif head.kind == tarhead.PAX_GLOBAL:
            self._global = tarhead.parse_pax(body).over(self._global)
        elif head.kind == tarhead.LONG_NAME:
            self._next = Extension(path=body.rstrip(b"\0")).over(self._next)

    def _begin_member(self, raw_name: bytes, size: int, kind: int) -> None:
        name, problem = _decode(raw_name)
        if kind in tarhead.BODILESS_KINDS:
            self._fail(name, f"it is {tarhead.BODILESS_KINDS[kind]}, not a file")
            return
        if name == CONFIG_NAME:
            self._config_is_last = True
        else:
            problem = problem or refusal(name, size)
        if self._config_is_last and 0 < size <= _MAX_META_BYTES:
            self._config_bytes, self._need = size, size + -size % BLOCK
        elif problem or self._config_is_last or not self.hashing:
            self._skip = size + -size % BLOCK
        if problem:
            self._fail(name, problem)
        elif self.hashing and not self._config_is_last:
            self._open = _OpenMember(name, size, self._position, size, hashlib.sha256())
        elif not self._config_is_last:
            self._add(Member(name, size, self._position, b""))

    def _add(self, member: Member) -> None:
        self._members.append(member)
        self._check_count()

    def _fail(self, name: str, reason: str) -> None:
        self._failed.append((name, reason))
        self._check_count()

    def _check_count(self) -> None:
        if len(self._members) + len(self._failed) > MAX_IMAGES:
            raise MalformedTarError(f"more than {MAX_IMAGES} images in one shard")


def _decode(name: bytes) -> tuple[str, str | None]:
    try:
        return name.decode(), None
    except UnicodeDecodeError:
        return name.decode(errors="backslashreplace"), "the name is not UTF-8"
