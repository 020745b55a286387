"""What a remote file is by its name, how small ones are grouped, and what follows each attempt."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.exporting import (
    MAX_CORRUPT,
    MAX_FRESH,
    MAX_TAKEN,
    MOST_IN_GROUP,
    FailReason,
    Next,
    Tries,
    goes_alone,
    group_size,
    kind_of,
    unknown_parts,
    what_next,
)
from rfbulk.core.fetching import FetchKind, FetchOutcome


@pytest.mark.parametrize(
    ("name", "content_type", "kind"),
    [
        ("crops.tar", "", FetchKind.TAR),
        ("crops.tar.gz", "", FetchKind.TAR_GZ),
        ("CROPS.TAR.GZ", "", FetchKind.TAR_GZ),
        ("crops.tgz", "", FetchKind.TAR_GZ),
        ("crops.tar.gz", "image/jpeg", FetchKind.TAR_GZ),
        ("crops", "application/x-tar", FetchKind.TAR),
        ("crops", "application/x-tar; charset=binary", FetchKind.TAR),
        ("crops", "Application/X-GTAR-Compressed", FetchKind.TAR_GZ),
        ("crops.jpg", "application/x-tar", FetchKind.PLAIN),
        ("crops", "application/gzip", FetchKind.PLAIN),
        ("results.jsonl.gz", "application/gzip", FetchKind.PLAIN),
        ("tar", "", FetchKind.PLAIN),
        ("a.tar/b", "", FetchKind.PLAIN),
    ],
)
def test_an_archive_is_known_by_its_name_else_by_its_type(name: str, content_type: str, kind: FetchKind) -> None:
    assert kind == kind_of(name, content_type, unpack=True)
    assert kind_of(name, content_type, unpack=False) is FetchKind.PLAIN


@pytest.mark.parametrize(
    ("kind", "name", "alone"),
    [
        (FetchKind.TAR, "a.tar", True),
        (FetchKind.PLAIN, "a.tar.gz", True),
        (FetchKind.PLAIN, "a.MP4", True),
        (FetchKind.PLAIN, "a.jpg", False),
        (FetchKind.PLAIN, "results.jsonl", False),
        (FetchKind.PLAIN, "no-suffix", False),
    ],
)
def test_what_may_be_large_goes_alone(kind: FetchKind, name: str, alone: bool) -> None:
    assert alone is goes_alone(kind, name)


@given(waiting=st.integers(0, 100_000), level=st.integers(0, 64))
def test_groups_are_never_empty_and_never_too_large(waiting: int, level: int) -> None:
    size = group_size(waiting, level)
    assert min(1, waiting) <= size <= min(waiting, MOST_IN_GROUP)
    assert size == MOST_IN_GROUP or waiting <= size * max(1, 2 * level)


def test_few_files_are_shared_out_among_all_places() -> None:
    assert (group_size(16, 8), group_size(100, 8), group_size(1000, 8)) == (1, 7, 32)


PLAIN, TAR = FetchKind.PLAIN, FetchKind.TAR
O, R = FetchOutcome, FailReason  # noqa: E741 - a table reads better narrow


@pytest.mark.parametrize(
    ("kind", "outcome", "tries", "expected"),
    [
        (PLAIN, O.FETCHED, Tries(), (Next.DONE, None)),
        (TAR, O.FETCHED, Tries(), (Next.LAND, None)),
        (PLAIN, O.EXPIRED, Tries(fresh=MAX_FRESH - 1), (Next.FRESH_URL, None)),
        (PLAIN, O.EXPIRED, Tries(fresh=MAX_FRESH), (Next.FAILED, R.EXPIRES)),
        (PLAIN, O.GONE, Tries(), (Next.FRESH_URL, None)),
        (PLAIN, O.GONE, Tries(fresh=1), (Next.FAILED, R.GONE)),
        (PLAIN, O.REFUSED, Tries(), (Next.FAILED, R.REFUSED)),
        (PLAIN, O.BUSY, Tries(failures=1000), (Next.LATER, None)),
        (TAR, O.BROKEN, Tries(), (Next.LATER, None)),
        (PLAIN, O.CORRUPT, Tries(corrupt=MAX_CORRUPT - 2), (Next.AGAIN, None)),
        (PLAIN, O.CORRUPT, Tries(corrupt=MAX_CORRUPT - 1), (Next.FAILED, R.CORRUPT)),
        (TAR, O.UNSAFE, Tries(), (Next.FAILED, R.UNSAFE)),
        (PLAIN, O.TAKEN, Tries(taken=MAX_TAKEN - 1), (Next.ELSEWHERE, None)),
        (PLAIN, O.TAKEN, Tries(taken=MAX_TAKEN), (Next.FAILED, R.UNWRITABLE)),
        (PLAIN, O.NO_ROOM, Tries(), (Next.STOP, None)),
        (PLAIN, O.UNWRITABLE, Tries(), (Next.FAILED, R.UNWRITABLE)),
    ],
)
def test_what_follows_an_attempt_is_as_the_table_says(
    kind: FetchKind, outcome: FetchOutcome, tries: Tries, expected: tuple[Next, FailReason | None]
) -> None:
    assert expected == what_next(kind, outcome, tries)


@given(outcomes=st.lists(st.sampled_from([O.EXPIRED, O.GONE, O.CORRUPT, O.TAKEN]), min_size=200, max_size=200))
def test_nothing_but_a_line_in_trouble_is_tried_without_end(outcomes: list[FetchOutcome]) -> None:
    tries, seen = Tries(), Counter[Next]()
    for outcome in outcomes:
        decision, reason = what_next(PLAIN, outcome, tries)
        seen[decision] += 1
        if decision is Next.FAILED:
            assert reason is not None
            return
        tries.fresh += decision is Next.FRESH_URL
        tries.corrupt += decision is Next.AGAIN
        tries.taken += decision is Next.ELSEWHERE
    raise AssertionError(seen)


def test_unknown_parts_are_named_once_in_order() -> None:
    assert unknown_parts(["b", "x", "a", "x", "y"], ["a", "b"]) == ["x", "y"]
    assert unknown_parts([], ["a"]) == []
