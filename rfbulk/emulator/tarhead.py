"""The heads of a tar, block by block: what a member is called, how long it is, and of what kind.

Pure, and strict: a head that is not exactly right is refused, never guessed at.
"""

from __future__ import annotations

import re
import zlib

import msgspec

BLOCK = 512
REGULAR_KINDS = frozenset(b"0\x007")
PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b"xgLK"
META_KINDS = frozenset(b"xgLK")
BODILESS_KINDS = dict(
    zip(b"123456", ("a hard link", "a symbolic link", "a device", "a device", "a folder", "a FIFO"), strict=True)
)

_POSIX, _GNU = b"ustar\x0000", b"ustar  \x00"
# zlib sums bytes modulo the largest prime below 2**16, a hundred times faster than Python does.
_ADLER_MODULUS = 65521
_SPACES_SUM = 8 * ord(" ")
_BASE_256_POSITIVE = 0x80
_NUMBER = re.compile(rb"[0-9]+")
_DECIMAL = re.compile(rb"-?[0-9]+(\.[0-9]+)?")
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=]+)=")


class MalformedTarError(Exception):
    """An archive cannot be read on; the text says why."""


class Head(msgspec.Struct, frozen=True, gc=False):
    """One member's head as it stands in the archive, before extension heads change it."""

    name: bytes
    size: int
    kind: int


class Extension(msgspec.Struct, frozen=True, gc=False):
    """What a pax or long-name head says about the members behind it; None leaves their own word."""

    path: bytes | None = None
    size: int | None = None

    def over(self, below: Extension) -> Extension:
        """Return this extension, completed from `below`."""
        return Extension(
            below.path if self.path is None else self.path,
            below.size if self.size is None else self.size,
        )


NO_EXTENSION = Extension()


def parse_head(block: bytes) -> Head:
    """Read one head block.

    Raises:
        MalformedTarError: checksum, magic or a number in it is wrong.
    """
    stated = _octal(block[148:156], "checksum")
    actual = (zlib.adler32(block, 0) & 0xFFFF) - sum(block[148:156]) + _SPACES_SUM
    if (actual - stated) % _ADLER_MODULUS:
        raise MalformedTarError("malformed archive: a head's checksum is wrong")
    magic = block[257:265]
    if magic not in {_POSIX, _GNU}:
        raise MalformedTarError("malformed archive: a head is neither ustar nor GNU")
    name = block[:100].split(b"\0", 1)[0]
    prefix = block[345:500].split(b"\0", 1)[0] if magic == _POSIX else b""
    return Head(prefix + b"/" + name if prefix else name, _size(block[124:136]), block[156])


def parse_pax(body: bytes) -> Extension:
    """Read a pax head's records.

    Raises:
        MalformedTarError: a record is not `<length> <key>=<value>` and a line's end, or a number in it is none.
    """
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(body):
        found = _PAX_RECORD.match(body, at)
        end = at + int(found[1]) if found else 0
        if found is None or not found.end() < end <= len(body) or body[end - 1] != ord("\n"):
            raise MalformedTarError("malformed archive: a pax record is broken")
        records[found[2]] = body[found.end() : end - 1]
        at = end
    return _extension(records)


def _extension(records: dict[bytes, bytes]) -> Extension:
    if any(key.startswith(b"GNU.sparse") for key in records):
        raise MalformedTarError("malformed archive: sparse members are not supported")
    size, modified = records.get(b"size"), records.get(b"mtime")
    if (size is not None and not _NUMBER.fullmatch(size)) or (
        modified is not None and not _DECIMAL.fullmatch(modified)
    ):
        raise MalformedTarError("malformed archive: a pax number is none")
    return Extension(records.get(b"path"), None if size is None else int(size))


def _size(field: bytes) -> int:
    if field[0] == _BASE_256_POSITIVE:
        return int.from_bytes(field[1:], "big")
    return _octal(field, "size")


def _octal(field: bytes, what: str) -> int:
    digits = field.strip(b" \0")
    try:
        if digits.isdigit():  # int() alone would take signs, underscores and blanks
            return int(digits, 8)
    except ValueError:
        pass
    raise MalformedTarError(f"malformed archive: a head's {what} is no octal number")
