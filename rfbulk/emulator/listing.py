"""Pages of listings: which slice a request asks for, and the answer that leads to the next one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from rfbulk.emulator.answers import ApiError, json_answer
from rfbulk.emulator.paging import BadTokenError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.emulator.options import EmulatorOptions
    from rfbulk.emulator.paging import PageTokens
    from rfbulk.emulator.service import Service

_MAX_PAGE_SIZE = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a listing: elements `start` to `end`."""

    tokens: PageTokens
    listing: str
    start: int
    end: int

    def answer(self, field: str, elements: Sequence[object], total: int) -> web.Response:
        """Answer with this page's elements; the last page's token is null."""
        return json_answer({field: elements, "nextPageToken": self.token(self.end) if self.end < total else None})

    def token(self, offset: int) -> str:
        """Return a token for another place of the same listing."""
        return self.tokens.write(self.listing, offset)


# Where a request keeps its page, for faults that send it elsewhere.
PAGE_KEY = web.RequestKey("page", Page)


def read_page(service: Service, request: web.Request, listing: str) -> Page:
    """Return the page that a request asks for.

    Raises:
        ApiError: 400, its token or size is not acceptable.
    """
    size = _page_size(request.query.get("pageSize"), service.options)
    token = request.query.get("nextPageToken")
    try:
        start = service.tokens.read(listing, token) if token else 0
    except BadTokenError:
        raise ApiError(400, "nextPageToken is not valid here") from None
    page = request[PAGE_KEY] = Page(service.tokens, listing, start, start + size)
    return page


def _page_size(text: str | None, options: EmulatorOptions) -> int:
    if text is None or options.asked_page_size == "ignored":
        return options.page_size
    if options.asked_page_size == "refused":
        raise ApiError(400, "pageSize is not known")
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise ApiError(400, "pageSize must be a positive integer")
    return min(int(text), _MAX_PAGE_SIZE)
