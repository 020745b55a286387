from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfbulk.core.objects import ObjectState
from rfbulk.edge import bucket_listing
from rfbulk.edge.bucket_listing import AHEAD, PAGES, Listed, Page, pages_in_order
from rfbulk.errors import TroublePassing

FULL = 3


class Store:
    """A bucket that lists `FULL` keys at a time, and counts what is asked of it."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted(keys)
        self.pages = 0
        self.at_once = 0
        self.most_at_once = 0
        self.fails_at = ""
        self.are_enough = threading.Event()
        self.enough = 0
        self.lock = threading.Lock()

    def begin(self, folder: str, behind: str | None) -> Iterator[Page]:
        left = [key for key in self.keys if key.startswith(folder) and (behind is None or key > behind)]
        while left:
            with self.lock:
                self.pages += 1
                self.at_once += 1
                self.most_at_once = max(self.at_once, self.most_at_once)
                if self.at_once >= self.enough:
                    self.are_enough.set()
            if folder.count("/") > 1:
                assert self.are_enough.wait(10)
            with self.lock:
                self.at_once -= 1
            page, left = left[:FULL], left[FULL:]
            if self.fails_at and self.fails_at in page:
                raise TroublePassing("list", "it", cause="the store answered 503")
            yield [Listed(key, ObjectState(len(key), 1, 2**64 - 1)) for key in page]

    def listed(self, folder: str = "") -> Iterator[Page]:
        return pages_in_order(self.begin, folder, threading.Event(), full=FULL)

    def chain(self) -> int:
        return -(-len(self.keys) // FULL)


@pytest.fixture(autouse=True)
def all_readers_end() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "rfbulk-list-ahead":
            thread.join(5)
            assert not thread.is_alive()


def keys_of(pages: Iterator[Page]) -> list[str]:
    return [each.key for page in pages for each in page]


def folders(*counts: int) -> list[str]:
    return [f"in/{folder:02}/{number:04}.jpg" for folder, count in enumerate(counts) for number in range(count)]


COMPONENT = st.sampled_from(["a", "b", "a-", "a0", "ä", "\U0010ffff", " ", "!"])


@settings(max_examples=200, deadline=None)
@given(keys=st.sets(st.lists(COMPONENT, min_size=1, max_size=4).map("/".join), max_size=40))
def test_every_key_comes_once_and_in_order(keys: set[str]) -> None:
    store = Store(list(keys))
    assert keys_of(store.listed()) == store.keys


def test_only_what_is_in_the_folder_comes() -> None:
    store = Store([*folders(20, 20), "in-2/x.jpg", "a.jpg"])
    assert keys_of(store.listed("in/")) == folders(20, 20)
    assert keys_of(Store([]).listed()) == []


def test_states_come_as_they_are() -> None:
    [[listed]] = Store(["a.jpg"]).listed()
    assert listed == Listed("a.jpg", ObjectState(5, 1, 2**64 - 1))


def test_large_folders_are_listed_side_by_side() -> None:
    """Listing the rest of one waits here until as many are under way as may be."""
    store = Store(folders(*[30] * 20))
    store.enough = AHEAD
    assert keys_of(store.listed("in/")) == store.keys
    assert AHEAD <= store.most_at_once <= AHEAD + 1


@pytest.mark.parametrize("counts", [[1] * 300, [2] * 150, [300], [2, 1] * 50])
def test_small_folders_and_flat_ones_cost_no_request_more(counts: list[int]) -> None:
    store = Store(folders(*counts))
    assert keys_of(store.listed("in/")) == store.keys
    assert store.pages <= store.chain() + 2


def test_a_failure_comes_where_its_page_would_and_nothing_behind_it() -> None:
    store = Store(folders(30, 30, 30))
    store.fails_at = "in/01/0020.jpg"
    found: list[str] = []
    with pytest.raises(TroublePassing, match="503"):
        found.extend(each.key for page in store.listed() for each in page)
    assert found == [key for key in store.keys if key < "in/01/0018.jpg"]


def test_reading_ahead_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bucket_listing, "PAGES", 4)
    store = Store(folders(*[60] * 40))
    pages = store.listed()
    assert len(next(pages)) == FULL
    for _ in range(50):  # as far as it gets without anybody who takes
        threading.Event().wait(0.01)
    assert store.pages <= (AHEAD + 1) * 5 + AHEAD + 2
    assert PAGES * 1000 * 25 * AHEAD <= 20 << 20  # what the module's description says: bytes of packed keys
    assert keys_of(pages) == store.keys[FULL:]


def test_a_listing_that_is_left_half_way_reads_nothing_further() -> None:
    store = Store(folders(*[3000] * 3))
    pages = store.listed()
    next(pages)
    pages.close()  # type: ignore[attr-defined]  # a generator; that its threads end, the fixture sees


def test_a_listing_that_is_called_off_never_looks_whole() -> None:
    store, ended = Store(folders(*[3000] * 30)), threading.Event()
    pages = pages_in_order(store.begin, "", ended, full=FULL)
    assert next(pages)
    ended.set()
    with pytest.raises(TroublePassing, match="called off"):
        keys_of(pages)
