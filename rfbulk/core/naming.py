r"""Member names that lead back to their source.

Results come back keyed by a flat member name, so a name is made from one relative path alone, never clashes with
the name of another path, and can be undone. Components are joined by `__`; what would make that ambiguous, and what
should not stand in a name, is written `%XX` (uppercase hex of the bytes):

| in a path | in the name | because |
| --- | --- | --- |
| `img.jpg`, `100%.jpg` | the same | nothing is ambiguous |
| `camera-1/day-2/img.jpg` | `camera-1__day-2__img.jpg` | |
| `a__b.jpg` | `a%5F_b.jpg` | `__` always means `/` |
| `a_/b.jpg`, `a/_b.jpg` | `a%5F__b.jpg`, `a__%5Fb.jpg` | `___` could be either |
| `50%25.jpg`, `a%~b.jpg` | `50%2525.jpg`, `a%25~b.jpg` | they look like our own escapes |
| a byte outside UTF-8, a control character, a line separator, a mark of direction, `\` | `%FF`, `%0A`, … | |
| a path from the root on, of a list | `__data__img.jpg` | no relative path begins so |
| more than 255 bytes | `<start>%~<32 hex of the path's hash><suffix>` | file systems end there; not undone by itself |
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

MAX_NAME_BYTES: Final = 255
"""Longest name that common file systems hold (NAME_MAX), in UTF-8."""

_MAX_SUFFIX_BYTES: Final = 16
_HASH_MARK: Final = "%~"

_TO_ESCAPE: Final = re.compile(
    r"%(?=~|[0-9A-Fa-f]{2})"
    r"|_(?=_)"
    r"|[\\\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
    r"|[\udc80-\udcff]"  # what `surrogateescape` makes of bytes outside UTF-8
)
_ESCAPED: Final = re.compile(rb"%([0-9A-F]{2})")
_SUFFIX: Final = re.compile(r"\.[0-9A-Za-z]+\Z")
_NO_COMPONENTS: Final = frozenset(("", ".", ".."))


def member_name(path: bytes) -> str:
    """Return the member name of the file at relative `path` (`/` between its folders).

    Raises:
        ValueError: `path` is no relative path to a file: a component is empty, `.` or `..`.
    """
    try:
        text = path.decode()
    except UnicodeDecodeError:
        return _escaped_name(path)
    # Printable text has no control characters, separators or marks of direction; each test here takes 25 ns.
    if "__" in text or "%" in text or "\\" in text or not text.isprintable():
        return _escaped_name(path)
    if "/" in text:
        if "_/" in text or "/_" in text or "//" in text or "/." in text or text[0] in "/." or text[-1] == "/":
            return _escaped_name(path)
        name = text.replace("/", "__")
        return name if len(path) + len(name) - len(text) <= MAX_NAME_BYTES else _escaped_name(path)
    if len(path) > MAX_NAME_BYTES or text in _NO_COMPONENTS:
        return _escaped_name(path)
    return text


def basename_name(path: bytes) -> str:
    """Return the member name of the file at `path` from its last component alone: names may clash."""
    return member_name(path[path.rfind(b"/") + 1 :])


def prefixed_name(label: bytes, path: bytes) -> str:
    """Return the member name of `path` as if a folder `label` stood in front of it."""
    return member_name(label + b"/" + path)


def absolute_name(path: bytes) -> str:
    """Return the member name of the file at `path` behind the root of the file system: no relative path has it."""
    name = "__" + member_name(path)
    return name if len(name.encode()) <= MAX_NAME_BYTES else _shortened(name, b"/" + path)


def source_path(name: str) -> bytes:
    """Return the relative path whose member name is `name`, or the absolute one whose `absolute_name` it is.

    Raises:
        ValueError: `name` was shortened, so that only a report can tell its source, or is no member name.
    """
    if _HASH_MARK in name:
        raise ValueError(f"shortened member name: {name!r}")
    path = b"/".join(_ESCAPED.sub(_unescape, part.encode()) for part in name.split("__"))
    named = absolute_name(path[1:]) if path.startswith(b"/") else member_name(path)
    if named != name:
        raise ValueError(f"no member name: {name!r}")
    return path


def _escaped_name(path: bytes) -> str:
    components = path.decode("utf-8", "surrogateescape").split("/")
    if not _NO_COMPONENTS.isdisjoint(components):
        raise ValueError(f"no path of a file: {path!r}")
    last = len(components) - 1
    name = "__".join(
        _escaped_component(component, is_first=place == 0, is_last=place == last)
        for place, component in enumerate(components)
    )
    return name if len(name.encode()) <= MAX_NAME_BYTES else _shortened(name, path)


def _escaped_component(component: str, *, is_first: bool, is_last: bool) -> str:
    escaped = _TO_ESCAPE.sub(_escape, component)
    if not is_last and escaped.endswith("_"):
        escaped = escaped[:-1] + "%5F"
    if not is_first and escaped.startswith("_"):
        escaped = "%5F" + escaped[1:]
    return escaped


def _shortened(name: str, path: bytes) -> str:
    found = _SUFFIX.search(name)
    suffix = found.group() if found and len(found.group()) <= _MAX_SUFFIX_BYTES else ""
    end = _HASH_MARK + blake2b(path, digest_size=16).hexdigest() + suffix
    start = name.encode()[: MAX_NAME_BYTES - len(end)].decode("utf-8", "ignore")
    return start + end


def _escape(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found.group().encode("utf-8", "surrogateescape"))


def _unescape(found: re.Match[bytes]) -> bytes:
    return bytes((int(found.group(1), 16),))
