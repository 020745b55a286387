from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator

import pytest

from rfbulk.core.objects import parse_address
from rfbulk.core.retry import RetryPolicy
from rfbulk.edge.bucket_answers import ObjectDenied, ObjectGone, ObjectReplaced
from rfbulk.edge.bucket_stores import Patience
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.edge.buckets import Bucket, open_bucket
from rfbulk.errors import NotAuthorised, RfbulkError, SourceError, TroublePassing
from rfbulk.settings import RELAY_OVERHEAD_BYTES, SHARD_MEMORY_BYTES, UploadOptions
from tests.support.google_store import GoogleStore, google_store

POLICY = RetryPolicy(first_seconds=0.01, cap_seconds=0.01, budget_seconds=5.0)
IMPATIENT = Patience(retry_seconds=0.001)


@pytest.fixture(scope="module")
def server() -> Iterator[GoogleStore]:
    with google_store() as server:
        yield server


@pytest.fixture
def store(server: GoogleStore) -> GoogleStore:
    server.buckets = {"pics": {}}
    server.faults.clear()
    server.requests.clear()
    server.page_size = 1000
    return server


def bucket_of(store: GoogleStore, address: str = "gs://pics", **variables: str) -> Bucket:
    environment = {"GOOGLE_BASE_URL": store.url, "GOOGLE_SERVICE_ACCOUNT_KEY": store.account} | variables
    return open_bucket(parse_address(address), environment, IMPATIENT)


@pytest.fixture
def bucket(store: GoogleStore, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT_KEY", store.account)
    return bucket_of(store)


def keys_of(bucket: Bucket, folder: str = "") -> list[str]:
    return [found.key for page in bucket.pages(folder, POLICY) for found in page]


def test_a_listing_comes_page_by_page_in_order_and_stays_in_its_folder(store: GoogleStore, bucket: Bucket) -> None:
    store.page_size = 7
    for number in range(40):
        store.put("pics", f"in/{number:03}.jpg", b"x")
    store.put("pics", "in-2/x.jpg", b"x")
    assert keys_of(bucket, "in/") == [f"in/{number:03}.jpg" for number in range(40)]
    assert len(keys_of(bucket)) == 41


def test_an_object_is_the_same_in_the_listing_looked_at_and_read(store: GoogleStore, bucket: Bucket) -> None:
    store.put("pics", "a.jpg", b"data")
    [[listed]] = bucket.pages("", POLICY)
    state, data = bucket.read("a.jpg", 4)
    streamed, pieces = bucket.stream("a.jpg")
    assert listed.state == bucket.head("a.jpg") == state == streamed
    assert (bytes(data), b"".join(map(bytes, pieces))) == (b"data", b"data")


def test_an_object_of_another_size_is_not_read(store: GoogleStore, bucket: Bucket) -> None:
    store.put("pics", "a.jpg", b"data")
    state, data = bucket.read("a.jpg", 3)
    assert (state.size, len(data)) == (4, 0)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, ObjectGone),
        (412, ObjectReplaced),
        (403, ObjectDenied),
        (401, NotAuthorised),
        (400, SourceError),
        (429, BucketTrouble),
        (500, BucketTrouble),
        (503, BucketTrouble),
    ],
)
def test_an_answer_means_what_the_table_says(
    store: GoogleStore, bucket: Bucket, status: int, kind: type[Exception]
) -> None:
    store.put("pics", "a.jpg", b"data")
    store.faults["a.jpg"] = [str(status)] * 20
    with pytest.raises(kind) as raised:
        bucket.read("a.jpg", 4)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None
    assert "127.0.0.1" not in str(raised.value)


@pytest.mark.parametrize(("status", "kind"), [(403, NotAuthorised), (401, NotAuthorised), (404, SourceError)])
def test_a_bucket_that_cannot_be_listed_is_said_so(
    store: GoogleStore, bucket: Bucket, status: int, kind: type[RfbulkError]
) -> None:
    store.faults["list"] = [str(status)]
    with pytest.raises(kind, match="gs://pics"):
        keys_of(bucket)


def test_a_bucket_that_is_not_there_is_told_from_an_object_that_is_not(store: GoogleStore, bucket: Bucket) -> None:
    other = Bucket(parse_address("gs://nowhere"), bucket_of(store, "gs://nowhere").opened)
    for work in (lambda: keys_of(other), lambda: other.head("a.jpg"), lambda: other.read("a.jpg", 1)):
        with pytest.raises((SourceError, ObjectGone)):
            work()
    with pytest.raises(SourceError, match="no such bucket"):
        keys_of(other)


def test_a_listing_goes_on_behind_what_it_gave_when_it_breaks_off(store: GoogleStore, bucket: Bucket) -> None:
    store.page_size = 10
    for number in range(35):
        store.put("pics", f"{number:03}.jpg", b"x")
    store.faults["list"] = ["", "", "503", "503", "", "503"]
    waits: list[float] = []
    found = [each.key for page in bucket.pages("", POLICY, sleep=waits.append) for each in page]
    assert found == [f"{number:03}.jpg" for number in range(35)]
    assert waits


def test_a_listing_that_never_comes_ends_with_its_budget(store: GoogleStore, bucket: Bucket) -> None:
    store.faults["list"] = ["503"] * 100
    policy = RetryPolicy(first_seconds=0.01, cap_seconds=0.01, budget_seconds=0.0)
    with pytest.raises(TroublePassing, match="503"):
        list(bucket.pages("", policy))
    store.faults.clear()


def test_a_body_cut_short_is_never_taken_for_whole(store: GoogleStore, bucket: Bucket) -> None:
    store.put("pics", "a.jpg", bytes(1000))
    store.faults["a.jpg"] = ["short"] * 20
    with pytest.raises((BucketTrouble, SourceError)):
        bucket.read("a.jpg", 1000)
    _, pieces = bucket.stream("a.jpg")
    with pytest.raises((BucketTrouble, SourceError)):
        list(pieces)
    store.faults.clear()


def stream_of(bucket: Bucket, key: str) -> bytes:
    return b"".join(map(bytes, bucket.stream(key)[1]))


def test_a_stream_that_breaks_off_goes_on_where_it_was(store: GoogleStore, bucket: Bucket) -> None:
    """A video of 50 GB outlives connections: the rest alone is asked for again."""
    data = random.Random(1).randbytes(5 << 20)
    store.put("pics", "a.mp4", data)
    store.faults["a.mp4"] = ["short", "short", "503"]
    assert stream_of(bucket, "a.mp4") == data
    assert not store.faults["a.mp4"]


def test_a_streams_pieces_are_what_the_memory_is_reckoned_with(store: GoogleStore, bucket: Bucket) -> None:
    """Three of them are held for each video in flight, however large it is."""
    store.put("pics", "a.mp4", bytes(20 << 20))
    sizes = [len(piece) for piece in bucket.stream("a.mp4")[1]]
    assert sum(sizes) == 20 << 20
    assert max(sizes) < 1 << 20
    each = SHARD_MEMORY_BYTES + 3 * (1 << 20) + RELAY_OVERHEAD_BYTES
    assert UploadOptions(memory_bytes=7 * each).most_streams_at_once == 7


def test_a_stream_goes_on_with_no_other_version(store: GoogleStore, bucket: Bucket) -> None:
    store.put("pics", "a.mp4", bytes(5 << 20))
    store.faults["a.mp4"] = ["short", "replaced"]
    with pytest.raises(ObjectReplaced):
        stream_of(bucket, "a.mp4")
    store.put("pics", "a.mp4", bytes(5 << 20))
    store.faults["a.mp4"] = ["short", "gone"]
    with pytest.raises(ObjectGone):
        stream_of(bucket, "a.mp4")


def test_a_stream_that_never_goes_on_is_a_trouble(store: GoogleStore, bucket: Bucket) -> None:
    store.put("pics", "a.mp4", bytes(5 << 20))
    store.faults["a.mp4"] = ["short", *["503"] * 30]
    with pytest.raises(BucketTrouble, match="503"):
        stream_of(bucket, "a.mp4")
    store.faults.clear()


def test_the_beginning_of_an_object_is_read_alone(store: GoogleStore, bucket: Bucket) -> None:
    store.put("pics", "a.mp4", b"0123456789" * 100_000)
    state, head = bucket.beginning("a.mp4", 10)
    assert (state, head) == (bucket.head("a.mp4"), b"0123456789")
    store.put("pics", "b.mp4", b"01")
    assert bucket.beginning("b.mp4", 10)[1] == b"01"


ODD = ["in//a.jpg", "in/../a.jpg", "in/./a.jpg", "in/.."]
BESIDE = ["A.jpg", "a/b/c.jpg", "a/x.jpg", "b.jpg", "in/a.jpg", "in/z/a.jpg", "in/zz.jpg", "in-2/x.jpg", "z/a.jpg"]


@pytest.mark.parametrize("page_size", [1000, 2])
@pytest.mark.parametrize("odd", [*([key] for key in ODD), ODD, ["a/b//c.jpg", "in//x.jpg", "z//y//w.jpg"]])
def test_a_key_that_the_library_cannot_spell_is_named_and_the_others_are_listed(
    store: GoogleStore, bucket: Bucket, odd: list[str], page_size: int
) -> None:
    """It fails the whole page that it stands in: that is made up for."""
    for key in [*BESIDE, *odd]:
        store.put("pics", key, b"x")
    store.page_size = page_size
    found = [each for page in bucket.pages("", POLICY) for each in page]
    assert [each.key for each in found if not each.fault] == sorted(BESIDE)
    faults = [each.key for each in found if each.fault]
    assert all(any(key.startswith(fault) for fault in faults) for key in odd)
    assert len(faults) == len(set(faults)) <= len(odd)
    assert [each.key for each in found] == sorted(each.key for each in found)


def test_a_folder_that_holds_an_odd_key_is_listed_from_where_it_is_named(store: GoogleStore, bucket: Bucket) -> None:
    for key in ("in//a.jpg", "in/a.jpg", "x.jpg"):
        store.put("pics", key, b"x")
    assert keys_of(bucket, "in/") == ["in//", "in/a.jpg"]


@pytest.mark.parametrize(
    ("address", "can"),
    [("s3://pics", True), ("gs://pics", True), ("az://pics", False), ("s3://pics--use1-az4--x-s3", False)],
)
def test_only_servers_that_list_behind_a_key_are_asked_to(bucket: Bucket, address: str, *, can: bool) -> None:
    assert can == Bucket(parse_address(address), bucket.opened).lists_behind_keys


def test_a_key_with_a_control_character_ends_the_listing_by_name(store: GoogleStore, bucket: Bucket) -> None:
    """Names of many kinds may stand in front of it on its page, which nothing could give then."""
    store.put("pics", "in/a\tb.jpg", b"x")
    with pytest.raises(SourceError, match=r"in/a\\tb.jpg"):
        keys_of(bucket)


def test_no_connection_is_a_trouble_that_may_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"GOOGLE_BASE_URL": "http://127.0.0.1:9", "STORAGE_EMULATOR_HOST": "127.0.0.1:9"}
    bucket = open_bucket(parse_address("gs://pics"), environment, IMPATIENT)
    with pytest.raises(BucketTrouble, match="no answer"):
        bucket.head("a.jpg")


def test_signed_urls_lead_to_the_key_or_are_not_given(store: GoogleStore, bucket: Bucket) -> None:
    """The library leaves these characters of a Google key as they are: such a URL would lead elsewhere."""
    urls = bucket.sign(["a.jpg", "ünï/b c~.jpg", "50%25.jpg", "50%.jpg", "a?b", "a#b", "(1)"], 60.0)
    assert [url is None for url in urls] == [False, False, True, True, True, True, True]
    assert all("Signature" not in repr(url) for url in urls)


def test_the_library_is_loaded_only_where_a_bucket_is_named() -> None:
    code = "import sys, rfbulk, rfbulk.client.sources; sys.exit('obstore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
