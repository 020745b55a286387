"""Growth is held against a hundred thousand files, for each size by itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from benchmarks.datasets import DataSet
from benchmarks.growth import COLUMNS, Size, cells, found_wrong, growth_goals, resume_goal, told
from benchmarks.process import Cost
from benchmarks.rounds import Run
from benchmarks.sink import Stats

MB = 10**6


def size(files: int, peak_bytes: int, *, first_byte: float = 0.5, again: float = 1.9) -> Size:
    stats = replace(Stats(**dict.fromkeys(Stats.__slots__, 0)), first_put=100 + first_byte, last_put=102 + first_byte)
    run = Run(Cost(100.0, 3.0, 4.0, 0, peak_bytes, ""), stats, 0.0, None, ())
    runs = (replace(run, cost=replace(run.cost, wall_seconds=again)),)
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


def test_each_size_and_its_resume_go_into_the_table_of_the_run() -> None:
    first, again = told([size(100_000, 80 * MB, again=1.9)])
    assert (first.name, first.wall_seconds, first.peak_bytes) == ("rfbulk, 100,000 files", 3.0, 80 * MB)
    assert (again.name, again.wall_seconds, again.of_limit) == ("rfbulk, 100,000 files, again", 1.9, 1.9)


def test_a_resume_that_sends_anything_is_wrong() -> None:
    run = size(100_000, 80 * MB).checked
    more = replace(run, stats=replace(run.stats, puts=1))
    assert found_wrong([run, run], [run, run]) == []
    assert found_wrong([run, run], [run, more]) == ["rfbulk: what was stored already was sent again"]


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
    assert [goal.reached for goal in goals] == ["both", "none"]


def test_a_resume_is_held_against_a_bare_scan() -> None:
    assert [resume_goal(size(1_000_000, 80 * MB, again=again)).reached for again in (1.3, 1.9, 2.1)] == [
        "both",
        "first",
        "none",
    ]
