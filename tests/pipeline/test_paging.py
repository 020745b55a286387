"""Walks through listings: each page once, in order, and none further ahead than the next."""

from __future__ import annotations

import anyio
import anyio.lowlevel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.wire import Page
from rfbulk.errors import ProtocolError, ServiceRefused
from rfbulk.pipeline.paging import walk_pages_ahead

pytestmark = pytest.mark.anyio


class Listing:
    """Pages by number. `fails` is one that cannot be had."""

    def __init__(self, pages: list[list[int]], fails: int | None = None) -> None:
        self.pages = pages
        self.fails = fails
        self.asked: list[str | None] = []
        self.taken: list[tuple[str | None, tuple[int, ...]]] = []
        self.is_asked = anyio.Event()

    async def page_at(self, token: str | None) -> Page[int]:
        self.asked.append(token)
        self.is_asked.set()
        number = int(token or 0)
        if number == self.fails:
            raise ServiceRefused("list", status=418)
        return Page(tuple(self.pages[number]), str(number + 1) if number + 1 < len(self.pages) else None)

    async def take(self, token: str | None, page: Page[int]) -> None:
        self.taken.append((token, page.items))

    async def walk(self) -> None:
        await walk_pages_ahead("list", "it", self.page_at, self.take)


@given(pages=st.lists(st.lists(st.integers(), max_size=3), min_size=1, max_size=20))
async def test_each_page_is_taken_once_in_order_with_the_token_that_led_to_it(pages: list[list[int]]) -> None:
    listing = Listing(pages)
    await listing.walk()
    tokens = [None, *map(str, range(1, len(pages)))]
    assert listing.taken == [(token, tuple(page)) for token, page in zip(tokens, pages, strict=True)]
    assert listing.asked == tokens


async def test_the_next_page_is_asked_for_while_this_one_is_taken_and_no_further() -> None:
    listing = Listing([[1], [2], [3], [4]])
    ahead: list[int] = []

    async def take(token: str | None, _page: Page[int]) -> None:
        with anyio.fail_after(5):
            while len(listing.asked) < min(int(token or 0) + 2, 4):
                listing.is_asked = anyio.Event()
                await listing.is_asked.wait()
        ahead.append(len(listing.asked) - int(token or 0))

    await walk_pages_ahead("list", "it", listing.page_at, take)
    assert ahead == [2, 2, 2, 1]


async def test_a_page_that_cannot_be_had_ends_the_walk_behind_those_before_it() -> None:
    listing = Listing([[1], [2], [3]], fails=2)
    with pytest.raises(ServiceRefused):
        await listing.walk()
    assert [items for _, items in listing.taken] == [(1,), (2,)]


async def test_a_listing_that_goes_round_ends() -> None:
    async def page_at(_token: str | None) -> Page[int]:
        return Page((1,), "again")

    async def take(_token: str | None, _page: Page[int]) -> None:
        return

    with anyio.fail_after(5), pytest.raises(ProtocolError):
        await walk_pages_ahead("list", "it", page_at, take)


async def test_a_walk_that_is_cancelled_while_a_page_is_asked_for_ends_as_cancelled() -> None:
    """A task group whose own work is done may swallow the cancellation that only its child has met."""
    with anyio.CancelScope() as scope:

        async def page_at(token: str | None) -> Page[int]:
            if token is not None:
                scope.cancel()
                await anyio.lowlevel.checkpoint()
            return Page((1,), "2")

        async def take(_token: str | None, _page: Page[int]) -> None:
            return

        await walk_pages_ahead("list", "it", page_at, take)
    assert scope.cancelled_caught
