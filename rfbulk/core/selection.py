"""Which files of a source are meant: patterns over relative paths, compiled once.

| pattern | matches |
| --- | --- |
| `*.png` | any file of that base name, at any depth |
| `cam-?/*.jpg`, `/a.jpg` | with a `/`: the whole path from the source folder on; `*`, `?`, `[…]` never cross a `/` |
| `**/raw/*.jpg`, `cam-1/**` | `**` crosses folders, also none of them |
| `cache/` | everything in folders of that name, at any depth |

A file is taken if a pattern to include matches it, or there is none, and no pattern to exclude matches it or a
folder above it. Upper and lower case differ.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TOKEN: Final = re.compile(
    r"(?P<folders>(?<![^/])\*\*/)"
    r"|(?P<anything>\*\*)"
    r"|(?P<some>\*)"
    r"|(?P<one>\?)"
    r"|\[(?P<negated>!?)(?P<letters>\]?[^\]]*)\]"
    r"|(?P<literal>.)",
    re.DOTALL,
)
_MEANING: Final = {"folders": "(?:.*/)?", "anything": ".*", "some": "[^/]*", "one": "[^/]"}


@dataclass(frozen=True, slots=True)
class Selection:
    """What of a source is meant: patterns as the module describes them, and whether subfolders count."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    recursive: bool = True


@dataclass(frozen=True, slots=True)
class Chooser:
    """A compiled selection. Paths are relative to the source, as the file system spells them."""

    included: re.Pattern[str] | None
    excluded: re.Pattern[str] | None
    recursive: bool

    @property
    def takes_all(self) -> bool:
        """Tell whether no pattern needs to be asked."""
        return self.included is None and self.excluded is None

    def takes(self, path: bytes) -> bool:
        """Tell whether the file at `path` is meant, given that its folder is."""
        text = path.decode("utf-8", "surrogateescape")
        if self.included is not None and self.included.fullmatch(text) is None:
            return False
        return self.excluded is None or self.excluded.fullmatch(text) is None

    def enters(self, path: bytes) -> bool:
        """Tell whether anything in the folder at `path` can be meant."""
        if not self.recursive:
            return False
        if self.excluded is None:
            return True
        text = path.decode("utf-8", "surrogateescape")
        return self.excluded.fullmatch(text) is None and self.excluded.fullmatch(text + "/") is None


def chooser_of(selection: Selection) -> Chooser:
    """Compile a selection.

    Raises:
        UsageError: a pattern has no meaning.
    """
    return Chooser(_compiled(selection.include), _compiled(selection.exclude), selection.recursive)


def _compiled(patterns: Sequence[str]) -> re.Pattern[str] | None:
    if not patterns:
        return None
    return re.compile("|".join(_translated(pattern) for pattern in patterns), re.DOTALL)


def _translated(pattern: str) -> str:
    body = pattern.removeprefix("./").rstrip("/")
    if not body:
        raise UsageError("use pattern", repr(pattern), cause="it matches nothing", advice="patterns look like '*.png'")
    start = "" if "/" in body else "(?:.*/)?"
    end = "/.*" if pattern.endswith("/") else ""
    meaning = start + "".join(_meaning(token) for token in _TOKEN.finditer(body.removeprefix("/"))) + end
    try:
        re.compile(meaning)
    except re.error as error:
        raise UsageError("use pattern", repr(pattern), cause=str(error), advice="mind its [ranges]") from error
    return f"(?:{meaning})"


def _meaning(token: re.Match[str]) -> str:
    if token["literal"] is not None:
        return re.escape(token["literal"])
    if token["letters"] is None:
        return _MEANING[str(token.lastgroup)]
    letters = "".join(letter if letter == "-" else re.escape(letter) for letter in token["letters"])
    return f"(?!/)[{'^' if token['negated'] else ''}{letters}]"
