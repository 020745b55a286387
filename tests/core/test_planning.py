from __future__ import annotations

import os
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rfbulk.core.model import Entry
from rfbulk.core.planning import Planner, fixed_bytes, halves
from rfbulk.core.tarlayout import tar_bytes
from rfbulk.senders.packing import ShardPacker

NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="/"), min_size=1, max_size=120)
ENTRIES = st.lists(
    st.builds(Entry, st.just(0), st.just(b"x"), NAMES, st.integers(1, 9000), st.just(1), st.just(1)), max_size=20
)
SHARDS = list[tuple[tuple[Entry, ...], int]]


def entry(number: int, size: int = 1) -> Entry:
    return Entry(0, b"%d.jpg" % number, f"{number}.jpg", size, 1, number)


def planned(planner: Planner, entries: list[Entry], group: int = 7) -> SHARDS:
    shards: SHARDS = []
    for start in range(0, len(entries), group):
        shards += planner.add(entries[start : start + group])
    return shards + planner.rest()


@given(ENTRIES, st.integers(1, 6), st.integers(0, 30_000), st.binary(max_size=600), st.integers(1, 9))
def test_every_entry_is_in_exactly_one_shard_in_order_within_the_limits(
    entries: list[Entry], max_images: int, max_bytes: int, trailer: bytes, group: int
) -> None:
    shards = planned(Planner(max_images=max_images, max_bytes=max_bytes, trailer=trailer), entries, group)
    assert entries == [entry for members, _ in shards for entry in members]
    for members, length in shards:
        assert tar_bytes(members, trailer) == length
        assert 1 <= len(members) <= max_images
        assert length <= max_bytes or len(members) == 1


@given(ENTRIES, st.integers(0, 30_000))
def test_no_shard_ends_before_it_has_to(entries: list[Entry], max_bytes: int) -> None:
    shards = planned(Planner(max_images=5, max_bytes=max_bytes), entries)
    for (members, _), (following, _) in pairwise(shards):
        assert len(members) == 5 or tar_bytes([*members, following[0]], b"") > max_bytes


def test_a_shard_goes_as_soon_as_it_has_its_count() -> None:
    planner = Planner(max_images=2)
    assert [(entry(0), entry(1))] == [members for members, _ in planner.add([entry(0), entry(1), entry(2)])]
    assert [(entry(2), entry(3))] == [members for members, _ in planner.add([entry(3)])]
    assert planner.rest() == []


@pytest.mark.parametrize(("spare", "shards"), [(0, 1), (-1, 2)])
def test_the_limit_counts_the_end_and_the_trailer(spare: int, shards: int) -> None:
    """One byte too many is refused by the store, so the limit is met to the byte."""
    entries, trailer = [entry(0, 700), entry(1, 513)], b"{}"
    planner = Planner(max_bytes=tar_bytes(entries, trailer) + spare, trailer=trailer)
    assert shards == len(planned(planner, entries))


def test_an_entry_that_is_too_large_for_any_shard_travels_alone() -> None:
    entries = [entry(0), entry(1, 50_000), entry(2)]
    shards = planned(Planner(max_bytes=10_000), entries)
    assert [(entries[0],), (entries[1],), (entries[2],)] == [members for members, _ in shards]


def test_a_lowered_limit_holds_from_the_next_shard_on() -> None:
    planner = Planner(max_bytes=1 << 20)
    planner.add([entry(0, 1000)])
    planner.max_bytes = fixed_bytes(b"") + 3 * 512
    shards = planner.add([entry(1, 1000), entry(2, 1000)]) + planner.rest()
    assert [len(members) for members, _ in shards] == [1, 1, 1]


@given(st.binary(max_size=2000))
@example(b"")
def test_what_is_in_every_tar_is_the_tar_of_nothing(trailer: bytes) -> None:
    assert tar_bytes([], trailer) == fixed_bytes(trailer)


@given(ENTRIES.filter(lambda entries: len(entries) > 1))
def test_halves_are_never_empty_and_keep_order(entries: list[Entry]) -> None:
    first, second = halves(entries)
    assert entries == [*first, *second]
    assert first
    assert second


@given(st.lists(st.integers(1, 1000), min_size=2, max_size=50))
def test_halves_differ_by_no_more_than_the_largest_entry(sizes: list[int]) -> None:
    first, second = halves([entry(number, size) for number, size in enumerate(sizes)])
    difference = abs(sum(entry.size for entry in first) - sum(entry.size for entry in second))
    assert difference <= 2 * max(sizes)


@pytest.mark.parametrize("trailer", [b"", b'{"ingestId":"i"}'])
def test_the_planned_length_is_that_of_the_packed_tar(tmp_path: Path, trailer: bytes) -> None:
    entries = []
    for number, name in enumerate(["a.jpg", "b" * 120 + ".png", "é__c.jpg", "d.bmp"]):
        path = tmp_path / f"{number}"
        path.write_bytes(b"x" * (number * 511 + 1))
        status = path.stat()
        entries.append(Entry(0, path.name.encode(), name, status.st_size, status.st_mtime_ns, status.st_ino))
    [(members, length)] = planned(Planner(trailer=trailer), entries)
    with ShardPacker((os.fsencode(tmp_path),), members, trailer, buffer=bytearray(1000)) as packer:
        packed = b"".join(map(bytes, iter(packer.next_chunk, b"")))
    assert length == len(packed)
