"""How sources are written on the command line: folders, files, buckets, `-` and `@list.txt`."""

from __future__ import annotations

import os
from collections.abc import Sequence

from rfbulk.client.sources import Source
from rfbulk.edge.path_list import PathList


def sources_of(texts: Sequence[str], *, null: bool) -> list[Source]:
    """Read sources: `-` is a list on standard input, `@FILE` a list in a file; `./-` and `./@FILE` are files."""
    return [_source_of(text, null) for text in texts]


def _source_of(text: str, null: bool) -> Source:
    split = True if null else None
    if text == "-":
        return PathList(null=split)
    if len(text) > 1 and text.startswith("@"):
        return PathList(text[1:], null=split)
    return text


def shown(source: Source) -> str:
    """Return a source as a message names it."""
    return source.identity if isinstance(source, PathList) else os.fspath(source)
