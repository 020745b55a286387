"""Ask whether more and more tiny files begin at once, stay small in memory, and resume in little more than a look.

A hundredth and a tenth of a million files are uploaded first, then all of them, from nested folders; and, as a question
of its own, ten millions, which are hard links (`links.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.bench import Outcome, Scenario, Table
from benchmarks.contenders import rfbulk
from benchmarks.datasets import TINY, prepare_files, scale_of
from benchmarks.growth import COLUMNS, Size, cells, growth_goals, measure, record, resume_goal, told
from benchmarks.links import prepare_links

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.bench import Bench, Goal

PARTS = (0.01, 0.1, 1.0)
MOST_ROUNDS = 2


def run(bench: Bench) -> Outcome:
    """Upload three sizes, and each a second time."""
    product = rfbulk(bench)
    if isinstance(product, str):
        return Outcome(skipped=(product,))
    rounds = min(max(1, bench.rounds), MOST_ROUNDS)
    sizes = []
    for part in PARTS:
        data = prepare_files(TINY, max(1, round(TINY.files * part * scale_of(TINY, bench))), bench)
        sizes.append(measure(product, data, bench, rounds=rounds))
    goals = [*growth_goals(sizes, sizes[1], is_first=True), resume_goal(sizes[-1])]
    return _outcome("files of 1 KB", sizes, goals)


def run_ten(bench: Bench) -> Outcome:
    """Upload a hundred thousand files, then the same under a hundred names each, once, and once more."""
    product = rfbulk(bench)
    if isinstance(product, str):
        return Outcome(skipped=(product,))
    fewer, more = prepare_links(bench)
    base = measure(product, fewer, bench, rounds=0)
    size = measure(product, more, bench, rounds=0)
    return _outcome("files of 1 KB, hard-linked", (base, size), list(growth_goals((size,), base, is_first=False)))


def _outcome(subject: str, sizes: Sequence[Size], goals: list[Goal]) -> Outcome:
    return Outcome(
        subject=subject,
        rows=tuple(told(sizes)),
        tables=(Table(f"more and more {subject}", COLUMNS, tuple(map(cells, sizes))),),
        results=tuple(map(record, sizes)),
        goals=tuple(goals),
        problems=tuple(problem for size in sizes for problem in size.problems),
    )


MILLION = Scenario("million", "up to a million files of 1 KB: first byte, plan rate, memory, resume", run)
TEN_MILLION = Scenario("ten-million", "ten million names of 1 KB files: first byte, plan rate, memory", run_ten)
