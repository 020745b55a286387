"""Wrappers whose text is redacted, so that no secret reaches a log, an error, a report or a `repr`."""

from __future__ import annotations

from typing import Final, final
from urllib.parse import SplitResult, urlsplit

REDACTED: Final = "‹redacted›"


@final
class ApiKey:
    """The api key of a workspace. Only `reveal()` gives its text; it must go nowhere but into a request."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the key itself."""
        return self._text

    def __repr__(self) -> str:
        return f"ApiKey({REDACTED})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ApiKey) and self._text == other._text

    def __hash__(self) -> int:
        return hash(("ApiKey", self._text))

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("an api key is never pickled")


@final
class SignedUrl:
    """A URL that carries its own permission in its query. Only `reveal()` gives its text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the URL itself, exactly as it was granted."""
        return self._text

    @property
    def host(self) -> str:
        """The store's host (and port), which is no secret."""
        return self._parts.netloc.rpartition("@")[2]

    @property
    def object_path(self) -> str:
        """The path of the object within the store, without the query that signs it."""
        return self._parts.path

    @property
    def _parts(self) -> SplitResult:
        """Its parts, all empty where it is no URL: it is a stranger's text until somebody goes there."""
        try:
            return urlsplit(self._text)
        except ValueError:
            return SplitResult("", "", "", "", "")

    def __repr__(self) -> str:
        return f"SignedUrl({self.host}{self.object_path}?{REDACTED})"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SignedUrl) and self._text == other._text

    def __hash__(self) -> int:
        return hash(("SignedUrl", self._text))


def revealed(value: object) -> str:
    """Write a signed URL for a process that is to use it: msgspec's `enc_hook`. Raises NotImplementedError."""
    if isinstance(value, SignedUrl):
        return value.reveal()
    raise NotImplementedError


def wrapped(kind: type, value: object) -> object:
    """Read what `revealed` has written: msgspec's `dec_hook`. Raises TypeError."""
    if kind is SignedUrl and isinstance(value, str):
        return SignedUrl(value)
    raise TypeError("expected the text of a URL")
