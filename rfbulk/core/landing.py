"""Names that strangers gave, made into paths that stay where they belong, mean one file, and can be looked at.

Refused is what can only be meant to leave: absolute paths, `..`, drive letters, and control characters. Everything
else that a file system would hide, strip, misread or not take is spelled `%XX`, byte by byte.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

MAX_COMPONENT_BYTES: Final = 255
"""What ext4, XFS, APFS and NTFS take for one component."""

MAX_PATH_BYTES: Final = 2048
"""Half of what Linux takes in one call: the target's own path comes in front."""

MAX_DEPTH: Final = 64

_SEPARATORS: Final = re.compile(r"[/\\]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_DRIVE: Final = re.compile(r"[A-Za-z]:")
_ESCAPED: Final = re.compile(r"^[. ]|[. ]$|\\|[\ud800-\udfff]")
_WINDOWS_ESCAPED: Final = re.compile(r'[<>:"|?*]')
_WINDOWS_RESERVED: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$)(\..*)?")
_PLAIN: Final = re.compile(r"[A-Za-z0-9_(-][A-Za-z0-9_.() -]{0,200}[A-Za-z0-9_)-]", re.ASCII)
_DOUBLE_SUFFIX: Final = re.compile(r"(?i).\.tar(\.[a-z0-9]{1,4})$")
_MAX_SUFFIX_CHARACTERS: Final = 16
_DIGEST_BYTES: Final = 5


class UnsafeName(ValueError):
    """A name that leads out of its place, or is none. Its text says why."""


def safe_path(name: str, *, windows: bool = False) -> str:
    """Return the relative path that a name from outside may have, `/` between its components.

    The same name gives the same path on every run. Two names may give one path: keep them `apart` by `clash_key`.
    `windows` spells what that system alone does not take.

    Raises:
        UnsafeName: it leads out of its place, names nothing, or is too long or deep.
    """
    if not windows and _PLAIN.fullmatch(name):
        return name
    if _CONTROL.search(name):
        raise UnsafeName("the name holds control characters")
    if name[:1] in {"/", "\\"} or _DRIVE.match(name):
        raise UnsafeName("the name is an absolute path")
    if ".." in _SEPARATORS.split(name):
        raise UnsafeName("the name leads out of its folder")
    components = [part for part in name.split("/") if part not in {"", "."}]
    if not components:
        raise UnsafeName("the name names no file")
    if len(components) > MAX_DEPTH:
        raise UnsafeName(f"the name has more than {MAX_DEPTH} folders")
    path = "/".join(_safe_component(part, windows=windows) for part in components)
    if len(path.encode()) > MAX_PATH_BYTES:
        raise UnsafeName(f"the name has more than {MAX_PATH_BYTES} bytes")
    return path


def clash_key(path: str) -> str:
    """Return what two paths have in common exactly if some file system takes them for one.

    Those of macOS and Windows ignore case; that of macOS also how accents are composed.
    """
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def apart(path: str, n: int) -> str:
    """Return the path for the `n`-th file that wants `path`: `a/b.jpg`, then `a/b~2.jpg`. The first keeps it."""
    if n < 2:
        return path
    folder, slash, name = path.rpartition("/")
    stem, suffix = _split(name)
    return f"{folder}{slash}{_fitting(stem, f'~{n}{suffix}')}"


def _safe_component(part: str, *, windows: bool) -> str:
    safe = _ESCAPED.sub(_spelled, part)
    if windows:
        safe = _WINDOWS_ESCAPED.sub(_spelled, safe)
        if _WINDOWS_RESERVED.fullmatch(safe):
            safe = _spelled_text(safe[0]) + safe[1:]
    return safe if len(safe.encode()) <= MAX_COMPONENT_BYTES else _shortened(safe)


def _shortened(name: str) -> str:
    """Cut a name and end it with a digest of all of it, so that names cut alike stay apart."""
    digest = hashlib.blake2s(name.encode(), digest_size=_DIGEST_BYTES).hexdigest()
    stem, suffix = _split(name)
    return _fitting(stem, f"~{digest}{suffix}")


def _split(name: str) -> tuple[str, str]:
    double = _DOUBLE_SUFFIX.search(name)
    if double:
        return name[: double.start() + 1], name[double.start() + 1 :]
    stem, dot, suffix = name.rpartition(".")
    if not stem or not 0 < len(suffix) < _MAX_SUFFIX_CHARACTERS:
        return name, ""
    return stem, dot + suffix


def _fitting(stem: str, ending: str) -> str:
    """Join them, with as much of the stem as a component may have; no character is cut apart."""
    room = MAX_COMPONENT_BYTES - len(ending.encode())
    return stem.encode()[:room].decode(errors="ignore") + ending


def _spelled(match: re.Match[str]) -> str:
    return _spelled_text(match[0])


def _spelled_text(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode(errors="surrogateescape" if _is_byte(text) else "replace"))


def _is_byte(text: str) -> bool:
    return all(not "\ud800" <= character <= "\udfff" or "\udc80" <= character <= "\udcff" for character in text)
