"""Text of strangers made fit to be shown: short, without control characters, without what signs a URL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from rfbulk.core.secrets import REDACTED

if TYPE_CHECKING:
    from collections.abc import Iterable

EXCERPT_CHARACTERS: Final = 200
_LOOKED_AT: Final = 16 << 10

_QUERY_OF_URL: Final = re.compile(r"(?i)(https?:[\\/]+[^\s\"'<>?]*)\?[^\s\"'<>]*")
_SECRET_FIELD: Final = re.compile(
    r"(?i)\b(api[-_]?key|sig|signature|x-(?:amz|goog)-[a-z-]+|awsaccesskeyid|googleaccessid|access[-_]?token|token)"
    r"(\"?\s*[=:]\s*\"?)[^&\s\"'<>]+"
)
_USERINFO: Final = re.compile(r"(?i)(https?:[\\/]+)[^\s\"'<>/@]*@")


def excerpt(data: bytes | str, *, secrets: Iterable[str] = (), limit: int = EXCERPT_CHARACTERS) -> str:
    """Return the beginning of `data` in at most `limit` characters, with nothing secret in it.

    Each of `secrets` is replaced wherever it stands, as it is and as URLs spell it. Queries of URLs and values of
    fields that sign are left out. Characters that are no print are escaped.
    """
    text = data.decode(errors="replace") if isinstance(data, bytes) else data
    for secret in secrets:
        for spelling in spellings(secret):
            text = text.replace(spelling, REDACTED)
    text = _USERINFO.sub(r"\1", text[:_LOOKED_AT])
    text = _QUERY_OF_URL.sub(rf"\1?{REDACTED}", text)
    text = _SECRET_FIELD.sub(rf"\1\2{REDACTED}", text)
    text = "".join(map(_shown, text[: limit + 1]))
    return text if len(text) <= limit else text[: limit - 1] + "…"


def spellings(secret: str) -> set[str]:
    """Return a secret as it is and as URLs spell it."""
    return {secret, quote(secret), quote(secret, safe="")} - {""}


def _shown(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape", "backslashreplace").decode()
