"""Shares of a source: together the whole, each path in one, and never moved by what is added."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.partition import Partition, parse_partition, share_of
from rfbulk.errors import UsageError

KNOWN = [(b"img-00001.jpg", 7, 5), (b"day-1/cam-2/img.jpg", 3, 2), (b"\xff\xfe.png", 2, 1)]
"""Written down once: a share that moved between two releases would send files twice."""


@pytest.mark.parametrize(("path", "count", "share"), KNOWN)
def test_a_path_belongs_where_it_always_did(path: bytes, count: int, share: int) -> None:
    assert share == share_of(path, count)


@given(st.binary(max_size=40), st.integers(1, 50))
def test_each_path_is_in_one_share_alone(path: bytes, count: int) -> None:
    held = [index for index in range(1, count + 1) if Partition(index, count).holds(path)]
    assert [share_of(path, count)] == held


@pytest.mark.parametrize("count", [2, 3, 7, 64])
@pytest.mark.parametrize("step", [1, 2, 10, 64])
def test_shares_are_even_whatever_the_numbers_of_files_step_by(count: int, step: int) -> None:
    shares = Counter(share_of(b"img-%06d.jpg" % (number * step), count) for number in range(count * 200))
    assert set(range(1, count + 1)) == set(shares)
    assert max(shares.values()) < 1.35 * 200
    assert min(shares.values()) > 0.65 * 200


SLURM = {f"SLURM_ARRAY_TASK_{name}": value for name, value in {"ID": "5", "MIN": "1", "MAX": "9", "STEP": "4"}.items()}


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("2/7", {}, "2/7"),
        (" 1/1 ", {}, "1/1"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_COUNT": "3"}, "2/3"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, "1/4"),
        ("AUTO", {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4"}, "4/4"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "0"}, "1/8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "7"}, "8/8"),
    ],
)
def test_a_share_is_written_or_found(text: str, environment: dict[str, str], expected: str) -> None:
    assert expected == str(parse_partition(text, environment))


@pytest.mark.parametrize(
    ("text", "environment", "why"),
    [
        ("0/7", {}, "count from 1"),
        ("8/7", {}, "count from 1"),
        ("1/0", {}, "count from 1"),
        ("7", {}, "I/N"),
        ("1/7/2", {}, "I/N"),
        ("-1/7", {}, "I/N"),
        ("auto", {}, "neither"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "auto/N"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "8"}, "count from 1"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "x", "SLURM_ARRAY_TASK_COUNT": "4"}, "no number"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "2"}, "not set"),
        ("auto", SLURM | {"SLURM_ARRAY_TASK_COUNT": "2"}, "gaps"),
    ],
)
def test_what_is_no_share_is_refused_with_the_reason(text: str, environment: dict[str, str], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_partition(text, environment)
