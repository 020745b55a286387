from __future__ import annotations

import io
import random
import tarfile
import threading
from collections.abc import Iterator

import google_crc32c
import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import MemoryStore

from rfbulk.core.model import Entry, RefusalReason
from rfbulk.core.objects import Address, Cloud
from rfbulk.core.retry import RetryPolicy
from rfbulk.core.selection import Selection, chooser_of
from rfbulk.core.tarlayout import END, TRAILER_NAME, tar_bytes
from rfbulk.edge.bucket_answers import ObjectDenied
from rfbulk.edge.bucket_source import BucketRoot, BucketSource
from rfbulk.edge.bucket_stores import OpenStore
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.edge.buckets import Bucket
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.senders.packing import EntryChanged
from rfbulk.senders.relaying import Damage, RelayPacker
from rfbulk.settings import RELAY_LARGE_BYTES

CHUNK = 8192


class Memory:
    """A bucket in memory, by the real library, and a source that reads it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.bucket = Bucket(Address(Cloud.S3, "memory"), OpenStore(self.store, lambda _keys, _seconds: [], ""))  # type: ignore[arg-type]  # it is read like the others
        root = BucketRoot(self.bucket, 0, None, chooser_of(Selection()), None, bytes.decode)
        self.source = BucketSource((root,), RetryPolicy())

    def entry(self, key: str, data: bytes) -> Entry:
        obstore.put(self.store, key, data)
        state = self.bucket.head(key)
        return Entry(0, key.encode(), f"m-{key}", state.size, state.mtime_ns, state.mark)

    def packer(
        self, *entries: Entry, trailer: bytes = b"", chunk_bytes: int = CHUNK, damage: Damage | None = None
    ) -> RelayPacker:
        self.call = Call(lambda _count: None)
        buffer = bytearray(chunk_bytes)
        return RelayPacker(self.source, entries, trailer, buffer=buffer, call=self.call, damage=damage)


def chunks_of(packer: RelayPacker) -> list[bytes]:
    return [bytes(chunk) for chunk in iter(packer.next_chunk, b"")]


def members_of(tar: bytes) -> list[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
        return [(member.name, file.read()) for member in archive if (file := archive.extractfile(member))]


@pytest.fixture(autouse=True)
def all_readers_end() -> Iterator[None]:
    yield
    for thread in threading.enumerate():
        if thread.name == "rfbulk-read":
            thread.join(5)
            assert not thread.is_alive()


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.one_of(st.integers(1, 1100), st.integers(1, 5 * CHUNK)), max_size=12),
    trailer=st.binary(max_size=700),
    chunk_bytes=st.integers(1, 3 * CHUNK),
)
def test_what_comes_out_is_the_tar_that_was_planned(sizes: list[int], trailer: bytes, chunk_bytes: int) -> None:
    memory = Memory()
    contents = [(b"%d," % number * size)[:size] for number, size in enumerate(sizes)]
    entries = [memory.entry(f"{number}.jpg", data) for number, data in enumerate(contents)]
    packer = memory.packer(*entries, trailer=trailer, chunk_bytes=chunk_bytes)
    tar = b"".join(chunks_of(packer))
    expected = [(f"m-{number}.jpg", data) for number, data in enumerate(contents)]
    assert members_of(tar) == expected + ([(TRAILER_NAME, trailer)] if trailer else [])
    assert len(tar) == tar_bytes(entries, trailer) == packer.bytes_out
    assert packer.crc32c == google_crc32c.value(tar)


def test_large_objects_are_streamed_between_small_ones() -> None:
    memory, chance = Memory(), random.Random(1)
    contents = [chance.randbytes(size) for size in (10, RELAY_LARGE_BYTES + 1, 20, 3 * RELAY_LARGE_BYTES, 1)]
    entries = [memory.entry(f"{number}.jpg", data) for number, data in enumerate(contents)]
    assert [data for _, data in members_of(b"".join(chunks_of(memory.packer(*entries))))] == contents


def test_an_empty_shard_is_an_empty_tar() -> None:
    assert chunks_of(Memory().packer()) == [END]


def test_a_chunk_holds_until_the_next_and_the_last_one_for_good() -> None:
    memory = Memory()
    entries = [memory.entry(f"{number}.jpg", random.Random(number).randbytes(number * 1000)) for number in range(1, 30)]
    packer, tar = memory.packer(*entries), b""
    while chunk := packer.next_chunk():
        last = chunk
        tar += chunk
    assert tar.endswith(last)
    assert not packer.next_chunk()
    assert tar.endswith(last)


@pytest.mark.parametrize("size", [100, RELAY_LARGE_BYTES + 100], ids=["small", "large"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("same size", RefusalReason.CHANGED),
        ("grows", RefusalReason.CHANGED),
        ("shrinks", RefusalReason.CHANGED),
        ("vanishes", RefusalReason.VANISHED),
    ],
)
def test_an_object_that_changed_since_the_listing_is_told_before_its_end(
    size: int, change: str, reason: RefusalReason
) -> None:
    memory = Memory()
    before, victim = memory.entry("a.jpg", bytes(CHUNK)), memory.entry("b.jpg", bytes(size))
    lengths = {"same size": size, "grows": size + 1, "shrinks": size - 1}
    if change in lengths:
        obstore.put(memory.store, "b.jpg", b"x" * lengths[change])
    else:
        obstore.delete(memory.store, "b.jpg")
    packer = memory.packer(before, victim)
    with pytest.raises(EntryChanged) as raised:
        chunks_of(packer)
    assert (raised.value.position, raised.value.reason) == (1, reason)
    assert raised.value.detail
    assert packer.bytes_out < tar_bytes([before, victim], b"") - len(END)
    assert not packer.next_chunk()


def test_a_stream_that_breaks_off_never_comes_whole() -> None:
    memory = Memory()
    victim, after = memory.entry("a.jpg", bytes(RELAY_LARGE_BYTES + 9)), memory.entry("b.jpg", b"x")
    packer = memory.packer(victim, after)
    state, pieces = memory.bucket.stream("a.jpg")
    first = next(pieces)

    class Short:
        address = memory.bucket.address

        def stream(self, _key: str) -> object:
            return state, iter((first, first))

    packer._bucket_of = lambda _entry: Short()  # type: ignore[assignment,return-value,method-assign]  # a store that lies
    with pytest.raises(EntryChanged, match=r"."):
        chunks_of(packer)
    assert packer.bytes_out < 512 + victim.size


@pytest.mark.parametrize("failure", [BucketTrouble("the store answered 503"), ObjectDenied("the store answered 403")])
def test_what_reading_raises_comes_where_the_object_would(failure: Exception) -> None:
    memory = Memory()
    entries = [memory.entry(f"{number}.jpg", bytes(CHUNK)) for number in range(3)]
    packer = memory.packer(*entries)
    read = packer._ahead._read

    def failing(entry: Entry) -> object:
        if entry.path == b"1.jpg":
            raise failure
        return read(entry)

    packer._ahead._read = failing  # type: ignore[assignment]  # a store in trouble
    with pytest.raises((EntryChanged, BucketTrouble)) as raised:
        chunks_of(packer)
    if isinstance(failure, ObjectDenied):
        assert isinstance(raised.value, EntryChanged)
        assert (raised.value.position, raised.value.reason) == (1, RefusalReason.UNREADABLE)
    assert packer.bytes_out <= 2 * (512 + CHUNK)


def test_waiting_for_a_bucket_ends_when_the_attempt_is_called_off() -> None:
    memory = Memory()
    packer, come = memory.packer(memory.entry("a.jpg", b"x")), threading.Event()
    read = packer._ahead._read

    def slow(entry: Entry) -> object:
        come.wait(10)
        return read(entry)

    packer._ahead._read = slow  # type: ignore[assignment]  # a store that does not answer
    memory.call.call_off()
    with pytest.raises(CalledOff):
        packer.next_chunk()
    come.set()


def test_a_packer_left_half_way_reads_nothing_further_and_says_no_more() -> None:
    memory = Memory()
    entries = [memory.entry(f"{number}.jpg", bytes(5 * CHUNK)) for number in range(40)]
    with memory.packer(*entries) as packer:
        assert packer.next_chunk()
    assert not packer.next_chunk()
    packer.close()


WHOLE = b"\xff\xd8\xff\xda\0\2%d\xff\xd9"


def test_whole_images_pass_and_all_of_a_shard_that_are_not_are_found_at_once() -> None:
    memory, damage = Memory(), Damage()
    large = b"\x89PNG\r\n\x1a\n" + bytes(RELAY_LARGE_BYTES) + b"IEND\xaeB`\x82"
    contents = [WHOLE % 1, large, WHOLE[:-2], WHOLE % 2, b"GIF89a", large[:-1], WHOLE % 3]
    entries = [memory.entry(f"{number}.jpg", data) for number, data in enumerate(contents)]
    packer = memory.packer(*entries, damage=damage)
    with pytest.raises(EntryChanged) as raised:
        chunks_of(packer)
    assert (raised.value.position, raised.value.reason) == (2, RefusalReason.DAMAGED)
    assert packer.bytes_out < tar_bytes(entries[:3], b"") - len(END)
    told = [damage.told_of(entry) for entry in entries]
    assert [fault is None for fault in told] == [True, True, False, True, False, False, True]
    assert "no end of image" in str(told[2])
    assert [damage.told_of(entry) for entry in entries] == [None] * 7  # told once
    sound = [entry for entry, fault in zip(entries, told, strict=True) if fault is None]
    tar = b"".join(chunks_of(memory.packer(*sound, damage=damage)))
    assert [data for _, data in members_of(tar)] == [WHOLE % 1, large, WHOLE % 2, WHOLE % 3]


def test_an_object_that_vanished_behind_a_damaged_one_is_left_to_the_next_attempt() -> None:
    memory, damage = Memory(), Damage()
    bad, gone, also_bad = (memory.entry(key, b"GIF89a") for key in ("a.jpg", "b.jpg", "c.jpg"))
    obstore.delete(memory.store, "b.jpg")
    with pytest.raises(EntryChanged) as raised:
        chunks_of(memory.packer(bad, gone, also_bad, damage=damage))
    assert (raised.value.position, raised.value.reason) == (0, RefusalReason.DAMAGED)
    assert [damage.told_of(entry) is not None for entry in (bad, gone, also_bad)] == [True, False, True]
