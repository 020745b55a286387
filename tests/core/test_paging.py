from __future__ import annotations

from itertools import count, islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.paging import MAX_EMPTY_PAGES, PageGuard
from rfbulk.errors import ProtocolError


def guard() -> PageGuard:
    return PageGuard("list files of", "batch b")


def take_all(watch: PageGuard, tokens: list[str]) -> list[str]:
    return [watch.take(token, items=1) for token in tokens]


@given(st.integers(0, 200), st.integers(1, 200))
def test_a_circle_of_any_length_is_found_within_a_few_rounds(tail: int, circle: int) -> None:
    places = (taken if taken < tail else tail + (taken - tail) % circle for taken in count())
    tokens = [f"token-{place}" for place in islice(places, 4 * (tail + circle) + 4)]
    with pytest.raises(ProtocolError, match="sent before"):
        take_all(guard(), tokens)


@given(st.integers(1, 2000))
def test_a_listing_without_a_circle_is_walked_to_its_end(pages: int) -> None:
    tokens = [f"token-{number}" for number in range(pages)]
    assert tokens == take_all(guard(), tokens)


def test_a_token_that_comes_again_at_once_is_found_at_once() -> None:
    watch = guard()
    watch.take("a", items=1)
    with pytest.raises(ProtocolError, match=r"list files of batch b: .*sent before"):
        watch.take("a", items=1)


def test_empty_pages_without_end_are_refused() -> None:
    watch = guard()
    for number in range(MAX_EMPTY_PAGES):
        watch.take(f"{number}", items=0)
    with pytest.raises(ProtocolError, match=f"{MAX_EMPTY_PAGES + 1} empty pages"):
        watch.take("one more", items=0)


def test_empty_pages_with_content_between_them_are_borne() -> None:
    watch = guard()
    for number in range(5 * MAX_EMPTY_PAGES):
        watch.take(f"{number}", items=int(number % MAX_EMPTY_PAGES == 0))
