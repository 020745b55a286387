"""Walks through a listing, page by page, to its end. The loops that all listings of the service share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from itertools import chain, repeat
from typing import TYPE_CHECKING, Generic, TypeVar

import anyio
import anyio.lowlevel

from rfbulk.core.paging import PageGuard
from rfbulk.errors import RfbulkError, ServiceRefused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.wire import Page

T = TypeVar("T")
PAGE_FILES = 1000
"""Files that a page is asked to list: a page costs a round trip and a commit, and its URLs have a megabyte or so. The
service documents neither bounds nor a default: one that lists fewer, or refuses to be asked, is taken as it is."""

LARGE_TRIES = 3
"""Times that a listing's first page may fail in passing before it is asked for in the service's own size: a large one
may be more than the service can do within its time."""


async def first_page(
    persist: Callable[[Callable[[], Awaitable[Page[T]]]], Awaitable[Page[T]]],
    ask: Callable[[int | None], Awaitable[Page[T]]],
) -> tuple[Page[T], int | None]:
    """Return the first page of a listing, large where the service has that, and the size to ask for from then on."""
    sizes = chain([PAGE_FILES] * LARGE_TRIES, repeat(None))
    size: int | None = None

    async def attempt() -> Page[T]:
        nonlocal size
        size = next(sizes)
        try:
            return await ask(size)
        except ServiceRefused:
            if size is None:
                raise
        size = None
        return await ask(size)

    return await persist(attempt), size


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


async def walk_pages_ahead(
    operation: str,
    subject: str,
    page_at: Callable[[str | None], Awaitable[Page[T]]],
    take: Callable[[str | None, Page[T]], Awaitable[None]],
) -> None:
    """Give `take` every page with the token that led to it, while the next one is asked for.

    One page is ahead of the one that is being taken, never more. A page that cannot be had ends the walk after the
    one before it has been taken.

    Raises:
        ProtocolError: the listing goes round in circles, or sends empty pages without end.
    """
    guard, at = PageGuard(operation, subject), None
    page = await page_at(at)
    while page.next_token is not None:
        token = guard.take(page.next_token, items=len(page.items))
        ahead = _Ahead(partial(page_at, token))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ahead.ask)
            await take(at, page)
        at, page = token, await ahead.page()
    await take(at, page)


class _Ahead(Generic[T]):
    """A page that is asked for while something else is done. What goes wrong is raised when it is wanted."""

    def __init__(self, ask: Callable[[], Awaitable[Page[T]]]) -> None:
        self._ask = ask
        self._answer: Page[T] | RfbulkError | None = None

    async def ask(self) -> None:
        try:
            self._answer = await self._ask()
        except RfbulkError as error:
            self._answer = error

    async def page(self) -> Page[T]:
        if self._answer is None:
            await anyio.lowlevel.checkpoint()  # who asked was cancelled, and so is who wants it: a group may hide that
            raise AssertionError("a page is wanted once it has been asked for")
        if isinstance(self._answer, RfbulkError):
            raise self._answer
        return self._answer
