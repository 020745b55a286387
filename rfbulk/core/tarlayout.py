r"""Where every byte of a shard's tar lies, known before its first byte is read.

A member is a ustar head of 512 bytes, its content, and zeros up to a multiple of 512; a name that is not ASCII or
longer than 100 bytes has a pax head in front. Heads are the same on every run and for every user: mode 0644,
owner 0, no names of users, whole seconds. Byte for byte they are what `tarfile` writes, in a twentieth of its time.

| bytes | field | here |
| --- | --- | --- |
| 0-99 | name | ASCII, zeros behind |
| 100-147 | mode, uid, gid, size, mtime | octal digits and a zero each |
| 148-155 | checksum | sum of all bytes, this field as spaces: six octal digits, `\0`, space |
| 156-511 | type, link, magic, user, group, device, prefix | always the same |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from zlib import adler32

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rfbulk.core.model import Entry

TRAILER_NAME: Final = "notification_config.json"
"""The member, always the last, that tells the service whom to notify; it is configuration and no image."""

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)
"""Two empty blocks end a tar."""

_NAME_BYTES: Final = 100
_MAX_OCTAL: Final = 0o77777777777  # eleven digits
_FILE_NUMBERS: Final = b"0000644\x00" + 2 * b"0000000\x00" + 2 * b"%011o\x00"
_PAX_NUMBERS: Final = 3 * b"0000000\x00" + b"%011o\x0000000000000\x00"
_CHECKSUM: Final = b"%06o\x00 "
_TAIL: Final = b"%b" + bytes(100) + b"ustar\x0000" + bytes(247)
_FILE_TAIL: Final = _TAIL % b"0"
_PAX_TAIL: Final = _TAIL % b"x"
_FILE_SUM: Final = sum(_FILE_TAIL) + 8 * ord(" ") - 1  # Adler-32 starts at 1
_PAX_SUM: Final = sum(_PAX_TAIL) + 8 * ord(" ")
_PAX_NAME: Final = b"././@PaxHeader"
_PADDINGS: Final = tuple(bytes(-size % BLOCK) for size in range(BLOCK))


def member_head(name: str, size: int, mtime: int) -> bytes:
    """Return all that stands in front of a member's content.

    `mtime` is in seconds; what the field cannot hold becomes the nearest that it can.

    Raises:
        ValueError: `size` needs more than the eleven octal digits of the field, or `name` is no Unicode text.
    """
    if not 0 <= mtime <= _MAX_OCTAL:
        mtime = 0 if mtime < 0 else _MAX_OCTAL
    if not 0 <= size <= _MAX_OCTAL:
        raise ValueError(f"size {size} of tar member {name!r} does not fit into its head")
    if len(name) <= _NAME_BYTES and name.isascii():
        pax, short_name = b"", name.encode()
    else:
        pax, short_name = _pax_head(name), name.encode("ascii", "replace")[:_NAME_BYTES]
    front = short_name.ljust(_NAME_BYTES, b"\x00") + _FILE_NUMBERS % (size, mtime)
    # The lower half of Adler-32 is the sum of the bytes plus one modulo 65521: 148 ASCII bytes stay below that.
    return pax + front + _CHECKSUM % ((adler32(front) & 0xFFFF) + _FILE_SUM) + _FILE_TAIL


def padding(size: int) -> bytes:
    """Return the zeros that follow a content of `size` bytes."""
    return _PADDINGS[size & (BLOCK - 1)]


def member_bytes(name: str, size: int) -> int:
    """Return exactly how many bytes a member takes: heads, content, padding."""
    content = (size + BLOCK - 1) & -BLOCK
    if len(name) > _NAME_BYTES or not name.isascii():
        return 2 * BLOCK + (_pax_record_bytes(len(name.encode())) + BLOCK - 1 & -BLOCK) + content
    return BLOCK + content


def tar_bytes(entries: Iterable[Entry], trailer: bytes) -> int:
    """Return exactly how long the tar of `entries`, and of `trailer` if it is not empty, will be."""
    last = member_bytes(TRAILER_NAME, len(trailer)) if trailer else 0
    return sum([member_bytes(entry.name, entry.size) for entry in entries]) + last + len(END)


def _pax_head(name: str) -> bytes:
    value = name.encode()
    size = _pax_record_bytes(len(value))
    front = _PAX_NAME.ljust(_NAME_BYTES, b"\x00") + _PAX_NUMBERS % size
    head = front + _CHECKSUM % (sum(front) + _PAX_SUM) + _PAX_TAIL
    return head + b"%d path=%b\n" % (size, value) + padding(size)


def _pax_record_bytes(value_bytes: int) -> int:
    """Return the length of the record `<length> path=<value>` and its line end, which counts its own digits."""
    rest = value_bytes + len(" path=\n")
    size = rest + len(str(rest))
    return rest + len(str(size))
