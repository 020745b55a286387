"""Whether a listing still gets anywhere: a token that comes again, or pages without end and without content."""

from __future__ import annotations

from typing import Final

from rfbulk.errors import ProtocolError

MAX_EMPTY_PAGES: Final = 100
"""Pages in a row without content. A service may filter after it has cut its pages, but not for ever."""


class PageGuard:
    """Watches the tokens of one listing, with memory for one token: it keeps every power of two's (Brent's way)."""

    def __init__(self, operation: str, subject: str) -> None:
        self._operation = operation
        self._subject = subject
        self._kept = ""
        self._pages = 0
        self._keep_at = 1
        self._empty = 0

    def take(self, token: str, *, items: int) -> str:
        """Take the token for the next page and the number of items of this one, and return the token.

        Raises:
            ProtocolError: the listing goes round in circles, or sends empty pages without end.
        """
        self._empty = 0 if items else self._empty + 1
        if self._empty > MAX_EMPTY_PAGES:
            raise self._error(f"{self._empty} empty pages in a row")
        if token == self._kept:
            raise self._error("the service sent a page token that it had sent before")
        self._pages += 1
        if self._pages == self._keep_at:
            self._kept = token
            self._keep_at *= 2
        return token

    def _error(self, cause: str) -> ProtocolError:
        return ProtocolError(self._operation, self._subject, cause=cause, advice="tell the service's support")
