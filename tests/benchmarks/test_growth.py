"""Growth is held against a hundred thousand files, for each size by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.datasets import DataSet
from benchmarks.growth import COLUMNS, Size, cells, growth_goals, record, resume_goals, told
from benchmarks.process import Cost
from benchmarks.rounds import Run
from benchmarks.sink import Stats

MB = 10**6


def size(files: int, peak_bytes: int, *, first_byte: float = 0.5, again: float | None = None) -> Size:
    stats = replace(Stats(**dict.fromkeys(Stats.__slots__, 0)), first_put=100 + first_byte, last_put=102 + first_byte)
    run = Run(Cost(100.0, 3.0, 4.0, 0, peak_bytes, ""), stats, 0.0, None, ())
    runs = () if again is None else (replace(run, cost=replace(run.cost, wall_seconds=again)),)
    data = DataSet(Path("/set"), files, files * 1024, 0)
    return Size(data, run, (run,), runs, 2.0, 1.0, ())


def test_a_line_says_all_of_one_size() -> None:
    shown = dict(zip(COLUMNS, cells(size(100_000, 80 * MB, again=1.9)), strict=True))
    assert shown == {
        "files": "100,000",
        "wall s": "3.00",
        "files/s": "50,000",
        "planned/s": "50,000",
        "first byte s": "0.50",
        "peak MB": "80",
        "CPU s": "4.00",
        "again s": "1.90",
        "bare scan s": "1.00",
        "again / scan": "1.90",
    }


def test_what_was_not_tried_again_is_told_as_that() -> None:
    tried = size(10_000_000, 90 * MB)
    assert (cells(tried)[7], cells(tried)[9]) == ("-", "-")
    assert [row.name for row in told([tried])] == ["rfbulk, 10,000,000 files"]
    assert list(resume_goals(tried)) == []
    assert record(tried)["again_seconds"] == []


def test_each_size_is_to_begin_at_once_and_to_stay_near_the_middle_one() -> None:
    sizes = [size(10_000, 79 * MB), size(100_000, 80 * MB), size(1_000_000, 120 * MB, first_byte=1.5)]
    goals = {goal.name: (goal.measured, goal.reached) for goal in growth_goals(sizes, sizes[1], is_first=True)}
    assert goals == {
        "seconds until the first byte of a shard, 10,000 files": (0.5, "both"),
        "MB more than for 100,000 files, 10,000 files": (-1.0, "both"),
        "seconds until the first byte of a shard, 100,000 files": (0.5, "both"),
        "seconds until the first byte of a shard, 1,000,000 files": (1.5, "none"),
        "MB more than for 100,000 files, 1,000,000 files": (40.0, "none"),
    }


def test_what_is_asked_of_ten_million_is_asked_only_then() -> None:
    goals = list(growth_goals([size(10_000_000, 130 * MB)], size(100_000, 80 * MB), is_first=False))
    assert [goal.first for goal in goals] == [None, None]
    assert [goal.reached for goal in goals] == ["both", "first"]


def test_a_resume_is_held_against_a_bare_scan() -> None:
    assert [goal.reached for goal in resume_goals(size(1_000_000, 80 * MB, again=1.9))] == ["first"]
