"""Tars as nobody should make them, built header by header."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Final

BLOCK: Final = 512
END: Final = bytes(2 * BLOCK)


def octal(value: int, width: int) -> bytes:
    return b"%0*o\x00" % (width - 1, value)


def header(
    name: bytes | str,
    size: int | bytes = 0,
    kind: bytes = b"0",
    *,
    link: bytes = b"",
    prefix: bytes = b"",
    magic: bytes = b"ustar\x0000",
    checksum: bytes | None = None,
) -> bytes:
    """One block; `size` and `checksum` may be given as their fields' bytes."""
    name = name.encode() if isinstance(name, str) else name
    size = octal(size, 12) if isinstance(size, int) else size
    front = (
        name.ljust(100, b"\x00")[:100]
        + octal(0o7000 if name == b"set-uid" else 0o644, 8)
        + 2 * octal(0, 8)
        + size.ljust(12, b"\x00")
        + octal(0, 12)
    )
    tail = kind + link.ljust(100, b"\x00") + magic + bytes(80) + prefix.ljust(155, b"\x00") + bytes(12)
    total = sum(front) + sum(tail) + 8 * ord(" ")
    return front + (b"%06o\x00 " % total if checksum is None else checksum) + tail


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(
    name: bytes | str, data: bytes = b"", kind: bytes = b"0", *, link: bytes = b"", prefix: bytes = b""
) -> bytes:
    return header(name, len(data), kind, link=link, prefix=prefix) + padded(data)


def pax(kind: bytes = b"x", **records: str) -> bytes:
    """A pax header; `_` in a key is written as `.`."""
    data = b"".join(record(key.replace("_", "."), value) for key, value in records.items())
    return header("././@PaxHeader", len(data), kind) + padded(data)


def record(key: str, value: str) -> bytes:
    rest = f" {key}={value}\n".encode()
    length = len(rest) + 1
    while len(str(length)) + len(rest) != length:
        length += 1
    return str(length).encode() + rest


def long_name(name: str, kind: bytes = b"L") -> bytes:
    data = name.encode() + b"\x00"
    return header("././@LongLink", len(data), kind, magic=b"ustar  \x00") + padded(data)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def tar_of(files: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """What `tarfile` itself writes."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


HOSTILE: Final = {
    "a path upwards": member("../evil", b"x"),
    "a path upwards inside": member("a/../../evil", b"x"),
    "an absolute path": member("/evil.jpg", b"x"),
    "a path upwards by backslashes": member("..\\evil", b"x"),
    "a drive": member("C:\\evil", b"x"),
    "control characters": member("a\x1b[2Jb", b"x"),
    "a symbolic link": member("link", kind=b"2", link=b"/etc"),
    "a symbolic link with a size": header("link", 512, b"2", link=b".."),
    "a hard link": member("link", kind=b"1", link=b"/etc/passwd"),
    "a character device": member("null", kind=b"3"),
    "a block device": member("disk", kind=b"4"),
    "a FIFO": member("pipe", kind=b"6"),
    "a sparse file of GNU": member("holes", b"x", kind=b"S"),
    "a sparse file of pax": pax(GNU_sparse_major="1", GNU_sparse_minor="0", GNU_sparse_name="h")
    + member("holes", b"x"),
    "a part of many volumes": member("part", b"x", kind=b"M"),
    "a kind of nobody": member("what", b"x", kind=b"Q"),
    "a file that is named as a folder": member("folder/", b"x"),
    "a pax path upwards": pax(path="../evil") + member("good", b"x"),
    "a pax path that is absolute": pax(path="/evil.jpg") + member("good", b"x"),
    "a pax path with an end inside": pax(path="a\x00/../evil") + member("good", b"x"),
    "a long name upwards": long_name("../" * 60 + "evil") + member("good", b"x"),
    "a prefix upwards": member("evil", b"x", prefix=b".."),
    "a global path upwards": pax(b"g", path="../evil") + member("good", b"x"),
    "no name": member("", b"x"),
    "a name too deep": long_name("/".join("a" * 65)) + member("good", b"x"),
    "a name too long": pax(path="/".join(["x" * 250] * 9)) + member("good", b"x"),
}
"""Members that must be left out and named, while what stands beside them is unpacked."""

DAMAGED: Final = {
    "nothing": b"",
    "no archive": b"<html>" + bytes(2000),
    "a wrong checksum": header("a", 0, checksum=b"000001\x00 ") + END,
    "no checksum": header("a", 0, checksum=b"        ") + END,
    "a checksum that is no number": header("a", 0, checksum=b"xyzxyzxy") + END,
    "no end": member("a", b"x"),
    "half an end": member("a", b"x") + bytes(BLOCK),
    "a lone block of zeros inside": member("a", b"x") + bytes(BLOCK) + member("b", b"y") + END,
    "a second archive behind the end": member("a", b"x") + END + member("b", b"y") + END,
    "garbage behind the end": member("a", b"x") + END + b"garbage",
    "a size that is negative": header("a", b"\xff" * 12) + END,
    "a size that is no octal": header("a", b"00000000009\x00") + END,
    "a size beyond the archive": header("a", 1 << 30) + bytes(BLOCK) + END,
    "a size that hides members": header("a", 5000) + padded(b"x") + END,
    "a pax size that is negative": pax(size="-1") + member("a", b"x") + END,
    "a pax size that is no number": pax(size="1e3") + member("a", b"x") + END,
    "a pax header without a member": pax(path="a") + END,
    "a long name without a member": long_name("a" * 200) + END,
    "a pax record that is cut": header("p", 10, b"x") + padded(b"99 path=a\n") + member("a", b"x") + END,
    "a pax record without a key": header("p", 7, b"x") + padded(b"7 path\n") + member("a", b"x") + END,
    "a pax record of no length": header("p", 8, b"x") + padded(b"0 path=a") + member("a", b"x") + END,
    "a pax record without an end": header("p", 9, b"x") + padded(b"9 path=ab") + member("a", b"x") + END,
}
"""Archives of which nothing is kept."""

UNSAFE: Final = {
    "a size of 2^80": header("a", b"\x80" + b"\x01" + bytes(10)) + END,
    "a pax header that is huge": header("p", 1 << 20, b"x") + bytes(1 << 20) + member("a", b"x") + END,
    "a long name that is huge": header("p", 1 << 20, b"L") + bytes(1 << 20) + member("a", b"x") + END,
}
"""Archives beyond any limit."""
