"""What a checkpoint keeps of how its transfer was begun, so that it can be said and looked at again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final, Protocol

from rfbulk.core.objects import is_bucket
from rfbulk.core.selection import Selection
from rfbulk.edge.path_list import PathList

_LIST: Final = "list "
_STANDARD_INPUT: Final = "standard input"


class Keeps(Protocol):
    """A checkpoint of any kind."""

    async def record_fact(self, name: str, value: str) -> None:
        """Record a fact, replacing its earlier value."""


def selection_text(include: tuple[str, ...], exclude: tuple[str, ...], *, recursive: bool) -> str:
    """Return a selection as a checkpoint keeps it, as its fact `selection`."""
    return json.dumps({"include": include, "exclude": exclude, "recursive": recursive})


def selection_from(text: str | None) -> Selection:
    """Return it again; all that there is, where none was kept."""
    values: dict[str, Any] = json.loads(text) if text else {}
    include, exclude = tuple(values.get("include", ())), tuple(values.get("exclude", ()))
    return Selection(include, exclude, bool(values.get("recursive", True)))


def source_of(identity: str) -> str | PathList:
    """Return the source that a checkpoint knows by this name; of a list that came by standard input, where it began."""
    if is_bucket(identity):
        return identity.partition(" at http")[0]
    if not identity.startswith(_LIST) or Path(identity).exists():
        return identity
    name, base = _parted(identity.removeprefix(_LIST))
    return PathList(None if name == _STANDARD_INPUT else name, base=base)


def _parted(text: str) -> tuple[str, str]:
    """Part `FILE in FOLDER`. Where either has ` in ` in its name, the disk tells which is meant."""
    pieces = text.split(" in ")
    ways = [(" in ".join(pieces[:place]), " in ".join(pieces[place:])) for place in range(1, len(pieces))]
    here = [way for way in ways if Path(way[1]).is_dir() and (way[0] == _STANDARD_INPUT or Path(way[0]).exists())]
    return (here or ways or [(text, ".")])[0]


async def keep_said(checkpoint: Keeps, said: str) -> None:
    """Keep in a checkpoint how its transfer was said, where a command has said it."""
    if said:
        await checkpoint.record_fact("said", said)
