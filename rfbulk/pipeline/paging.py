"""Walks through a listing, page by page, to its end. The one loop that all listings of the service share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from rfbulk.core.paging import PageGuard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.wire import Page

T = TypeVar("T")


async def walk_pages(
    operation: str,
    subject: str,
    page_at: Callable[[str | None], Awaitable[Page[T]]],
    take: Callable[[Sequence[T]], Awaitable[None]],
) -> None:
    """Give `take` the items of every page. `page_at` fetches the page of a token, as persistently as it likes.

    Raises:
        ProtocolError: the listing goes round in circles, or sends empty pages without end.
    """
    guard, token = PageGuard(operation, subject), None
    while True:
        page = await page_at(token)
        await take(page.items)
        if page.next_token is None:
            return
        token = guard.take(page.next_token, items=len(page.items))
