from __future__ import annotations

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfbulk.core.media import IMAGES, VIDEOS, Media
from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.selection import Selection, chooser_of
from rfbulk.edge.bucket_source import BucketSource, open_bucket_source
from rfbulk.edge.bucket_stores import Patience
from rfbulk.errors import SourceError, UsageError
from rfbulk.settings import Names
from tests.support.google_store import GoogleStore, google_store

POLICY = RetryPolicy(first_seconds=0.01, cap_seconds=0.01, budget_seconds=5.0)


@pytest.fixture(scope="module")
def server() -> Iterator[GoogleStore]:
    with google_store() as server:
        yield server


@pytest.fixture
def store(server: GoogleStore, monkeypatch: pytest.MonkeyPatch) -> GoogleStore:
    server.buckets = {"pics": {}, "more": {}}
    server.faults.clear()
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", server.account)
    return server


def opened(
    store: GoogleStore,
    *sources: str,
    names: Names = "auto",
    selection: Selection | None = None,
    media: Media = IMAGES,
) -> BucketSource:
    return open_bucket_source(
        sources,
        selection or Selection(),
        names,
        environment={"GOOGLE_BASE_URL": store.url},
        patience=Patience(retry_seconds=0.001),
        policy=POLICY,
        media=media,
    )


def entries_of(source: BucketSource) -> list[Entry]:
    return [entry for group in source.scan() for entry in group.entries]


def names_of(source: BucketSource) -> list[str]:
    return [entry.name for entry in entries_of(source)]


def test_an_entry_has_its_path_behind_the_folder_and_a_fingerprint_of_its_own(store: GoogleStore) -> None:
    store.put("pics", "in/a/b.jpg", b"data")
    source = opened(store, "gs://pics/in")
    [entry] = entries_of(source)
    assert (entry.path, entry.name, entry.size) == (b"a/b.jpg", "a__b.jpg", 4)
    assert source.roots == (b"gs://pics/in",)
    assert source.refresh(entry) == entry
    store.put("pics", "in/a/b.jpg", b"atad")
    changed = source.refresh(entry)
    assert isinstance(changed, Entry)
    assert changed.inode != entry.inode


@pytest.mark.parametrize(
    ("data", "reason"),
    [(None, RefusalReason.VANISHED), (b"", RefusalReason.EMPTY), (bytes(20_971_521), RefusalReason.TOO_LARGE)],
)
def test_an_object_that_cannot_be_sent_any_more_says_why(
    store: GoogleStore, data: bytes | None, reason: RefusalReason
) -> None:
    store.put("pics", "a.jpg", b"data")
    source = opened(store, "gs://pics")
    [entry] = entries_of(source)
    if data is None:
        del store.buckets["pics"]["a.jpg"]
    else:
        store.put("pics", "a.jpg", data)
    found = source.refresh(entry)
    assert isinstance(found, tuple)
    assert found[0] is reason


def test_an_object_that_may_not_be_read_is_unreadable(store: GoogleStore) -> None:
    store.put("pics", "a.jpg", b"data")
    source = opened(store, "gs://pics")
    [entry] = entries_of(source)
    store.faults["a.jpg"] = ["403"]
    found = source.refresh(entry)
    assert isinstance(found, tuple)
    assert found[0] is RefusalReason.UNREADABLE


def test_a_scan_gives_the_same_order_in_groups_every_time(store: GoogleStore) -> None:
    for number in random.Random(1).sample(range(1300), 1300):
        store.put("pics", f"{number % 7}/{number:04}.jpg", b"x")
    source = opened(store, "gs://pics")
    assert [len(group.entries) for group in source.scan()] == [500, 500, 300]
    assert entries_of(source) == entries_of(opened(store, "gs://pics/"))


def test_several_sources_put_their_folders_in_front(store: GoogleStore) -> None:
    store.put("pics", "in/a.jpg", b"x")
    store.put("more", "a.jpg", b"x")
    assert names_of(opened(store, "gs://pics/in/", "gs://more")) == ["in__a.jpg", "more__a.jpg"]
    assert names_of(opened(store, "gs://pics/in/a.jpg")) == ["a.jpg"]
    assert names_of(opened(store, "gs://pics/in", names="path")) == ["in__a.jpg"]
    assert names_of(opened(store, "gs://pics", names="basename")) == ["a.jpg"]
    with pytest.raises(UsageError, match="same name"):
        opened(store, "gs://pics/in", "gs://more/in")


def test_a_key_without_a_slash_is_an_object_if_there_is_one(store: GoogleStore) -> None:
    store.put("pics", "a.jpg", b"x")
    store.put("pics", "a.jpg/b.jpg", b"x")
    store.put("pics", "c.jpg/b.jpg", b"x")
    assert names_of(opened(store, "gs://pics/a.jpg")) == ["a.jpg"]
    assert names_of(opened(store, "gs://pics/a.jpg/")) == ["b.jpg"]
    assert names_of(opened(store, "gs://pics/c.jpg")) == ["b.jpg"]


def test_a_bucket_that_is_not_there_is_found_before_anything_is_sent(store: GoogleStore) -> None:
    with pytest.raises(SourceError, match="nowhere"):
        opened(store, "gs://nowhere")


def test_videos_are_told_by_their_own_suffixes_and_have_no_limit(store: GoogleStore) -> None:
    for key in ("a.mp4", "b.MOV", "c.jpg", "d.mxf", "mp4"):
        store.put("pics", key, b"x")
    source = opened(store, "gs://pics", media=VIDEOS)
    assert names_of(source) == ["a.mp4", "b.MOV"]
    assert [refusal.reason for group in source.scan() for refusal in group.refusals] == [
        RefusalReason.NOT_A_VIDEO,
        RefusalReason.UNSUPPORTED_VIDEO,
        RefusalReason.NOT_A_VIDEO,
    ]


def test_an_identity_names_the_server_where_it_is_not_the_clouds_own(store: GoogleStore) -> None:
    assert opened(store, "gs://pics/in/*.jpg").identities == (f"gs://pics/in/*.jpg at {store.url}",)


KEYS = ["a.jpg", "thumbs/a.jpg", "in/a.jpg", "in/thumbs/b.png", "in/deep/er/c.jpg", "thumbs-2/d.jpg"]
PATTERNS = ["*.jpg", "thumbs", "thumbs/", "in/*", "in/**", "**/er/*", "in/deep", "?.png"]


@settings(max_examples=30, deadline=None)
@given(
    include=st.lists(st.sampled_from(PATTERNS), max_size=2),
    exclude=st.lists(st.sampled_from(PATTERNS), max_size=2),
    recursive=st.booleans(),
)
def test_what_is_chosen_is_what_a_walk_of_folders_would_choose(
    server: GoogleStore, include: list[str], exclude: list[str], recursive: bool
) -> None:
    selection = Selection(tuple(include), tuple(exclude), recursive)
    chooser = chooser_of(selection)

    def is_met(key: str) -> bool:
        parts = key.split("/")
        above = ["/".join(parts[:depth]).encode() for depth in range(1, len(parts))]
        return all(map(chooser.enters, above)) and chooser.takes(key.encode())

    server.buckets = {"pics": {}}
    for key in KEYS:
        server.put("pics", key, b"x")
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", server.account)
        found = entries_of(opened(server, "gs://pics", selection=selection))
    assert sorted(filter(is_met, KEYS)) == [entry.path.decode() for entry in found]
