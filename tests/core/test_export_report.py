"""When the books of an export close, and what counts as a failure."""

from __future__ import annotations

import pytest

from rfbulk.core.export_report import ExportReport, ExportTotals, Merged
from rfbulk.core.exporting import ElementState


def report(**values: int) -> ExportReport:
    made = ExportReport(batch_id="batch", target="/target")
    for name, value in values.items():
        setattr(made, name, value)
    return made


def test_the_books_close_if_both_sides_are_equal() -> None:
    assert report().closes
    assert report(listed=10, fetched=4, already_here=3, failed=2, left=1).closes
    assert not report(listed=10, fetched=4, already_here=3, failed=2).closes


@pytest.mark.parametrize(
    ("values", "fails"),
    [
        ({}, False),
        ({"fetched": 1, "restored": 1, "changed_here": 1, "unverified": 1, "kept_apart": 1}, False),
        ({"failed": 1}, True),
        ({"left": 1}, True),
        ({"refused_members": 1}, True),
    ],
)
def test_only_what_is_not_here_is_a_failure(values: dict[str, int], fails: bool) -> None:
    assert fails is report(**values).has_failures


def test_a_line_that_could_not_be_merged_is_a_failure() -> None:
    made = report()
    made.merged = Merged(path="all.csv", rows=1)
    assert not made.has_failures
    made.merged.bad = 1
    assert made.has_failures


def test_totals_count_by_states() -> None:
    states = {ElementState.FETCHED: 3, ElementState.FAILED: 2}
    totals = ExportTotals(states, 0, 0, 0, 0, 0, 0, 0, 0)
    assert totals.count(frozenset(ElementState)) == 5
    assert totals.count(frozenset({ElementState.LISTED})) == 0
