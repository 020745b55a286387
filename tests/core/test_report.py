from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.report import Totals, UploadReport
from rfbulk.core.transfer import ARRIVED, PENDING, ShardState

COUNTS = st.integers(0, 10**9)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_the_books_close_when_every_planned_image_is_accounted_for(
    sent: int, quarantined: int, failed: int, left: int
) -> None:
    planned = sent + quarantined + failed + left
    report = UploadReport(
        batch_id="b", planned=planned, sent=sent, quarantined=quarantined, failed=failed, left=left, refused=5
    )
    assert report.closes


@pytest.mark.parametrize("difference", [-1, 1])
def test_the_books_do_not_close_when_one_image_is_too_few_or_too_many(difference: int) -> None:
    assert not UploadReport(batch_id="b", planned=10, sent=10 + difference).closes


@pytest.mark.parametrize("field", ["quarantined", "failed", "left", "refused", "changed", "extra"])
def test_whatever_is_not_in_the_batch_exactly_once_is_a_failure(field: str) -> None:
    report = UploadReport(batch_id="b")
    setattr(report, field, 1)
    assert report.has_failures


def test_a_doubled_image_is_a_failure() -> None:
    assert UploadReport(batch_id="b", doubled=["a.jpg"]).has_failures


@pytest.mark.parametrize("field", ["skipped", "unused_grants", "unverified_shards", "already_sent", "sent"])
def test_what_nobody_asked_for_is_no_failure(field: str) -> None:
    report = UploadReport(batch_id="b")
    setattr(report, field, 1)
    assert not report.has_failures


def test_totals_add_up_the_states_asked_for() -> None:
    by_state = {state: 10 ** int(state) for state in ShardState}
    totals = Totals(by_state, {s: 2 * n for s, n in by_state.items()}, {s: 3 * n for s, n in by_state.items()}, 0, 0, 0)
    assert (totals.count(PENDING), totals.bytes(PENDING), totals.shard_count(PENDING)) == (110, 220, 330)
    assert totals.count(ARRIVED) == 110_000


def test_totals_of_nothing_are_nothing() -> None:
    totals = Totals({}, {}, {}, 0, 0, 0)
    states = frozenset(ShardState)
    assert (totals.count(states), totals.bytes(states), totals.shard_count(states)) == (0, 0, 0)
