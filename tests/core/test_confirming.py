from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.confirming import FIRST_WAIT, LONGEST_WAIT, RowKind, Rows, Sent, Verdict, judge, next_wait, row_kind

SUCCESS, ERROR, PENDING = RowKind.SUCCESS, RowKind.ERROR, RowKind.PENDING
SENT = Sent(images=100, shards=2, baseline_images=7, baseline={SUCCESS: 1, PENDING: 1}, unfilled=0)
EXPECTED = 107


def matched(success: int = 0, error: int = 0, pending: int = 0, *, foreign: int = 0) -> Rows:
    """Rows known to be ours by their ids, beside those of the baseline and further ones of others."""
    return Rows({SUCCESS: success, ERROR: error, PENDING: pending}, {SUCCESS: 1 + foreign, PENDING: 1})


def unmatched(success: int = 0, error: int = 0, pending: int = 0, *, foreign: int = 0) -> Rows:
    """The same where the service's ids are in no URL: only the baseline tells rows apart."""
    return Rows({}, {SUCCESS: 1 + success + foreign, ERROR: error, PENDING: 1 + pending})


WAIT, CONFIRMED, SHORT, EXTRA = Verdict.WAIT, Verdict.CONFIRMED, Verdict.SHORT, Verdict.EXTRA


@pytest.mark.parametrize("rows_of", [matched, unmatched])
@pytest.mark.parametrize(
    ("count", "kinds", "soon", "once_quiet"),
    [
        (EXPECTED, {"success": 2}, CONFIRMED, CONFIRMED),
        (EXPECTED, {"success": 1, "pending": 1}, WAIT, WAIT),
        (EXPECTED - 50, {"success": 1, "pending": 1}, WAIT, WAIT),
        (EXPECTED + 50, {"success": 1, "pending": 1}, WAIT, WAIT),
        (EXPECTED - 50, {"success": 1, "error": 1}, WAIT, SHORT),
        (EXPECTED, {"success": 1, "error": 1}, WAIT, SHORT),
        (EXPECTED + 50, {"success": 1, "error": 1}, WAIT, SHORT),
        (EXPECTED - 50, {"error": 1, "pending": 1}, WAIT, WAIT),
        (EXPECTED - 1, {"success": 2}, WAIT, SHORT),
        (EXPECTED + 1, {"success": 2, "foreign": 1}, CONFIRMED, CONFIRMED),
        (EXPECTED - 1, {"success": 2, "foreign": 1}, WAIT, SHORT),
        (EXPECTED + 1, {"success": 2}, WAIT, EXTRA),
    ],
)
def test_the_verdict_is_as_the_table_says(
    rows_of: object, count: int, kinds: dict[str, int], soon: Verdict, once_quiet: Verdict
) -> None:
    assert callable(rows_of)
    rows = rows_of(**kinds)
    assert soon is judge(SENT, count, rows, is_quiet=False)
    assert once_quiet is judge(SENT, count, rows, is_quiet=True)


@pytest.mark.parametrize("rows_of", [matched, unmatched])
def test_counting_accepted_files_does_not_pass_for_having_indexed_them(rows_of: object) -> None:
    """A service may count what it accepted: only the rows tell that the images are in the batch."""
    assert callable(rows_of)
    assert WAIT is judge(SENT, EXPECTED, rows_of(pending=2), is_quiet=True)


def test_a_shard_that_is_not_listed_yet_is_waited_for() -> None:
    assert WAIT is judge(SENT, EXPECTED, unmatched(success=1), is_quiet=False)
    assert WAIT is judge(SENT, EXPECTED, matched(success=1), is_quiet=False)


def test_a_row_that_never_came_is_short_once_it_is_quiet() -> None:
    assert SHORT is judge(SENT, EXPECTED - 50, unmatched(success=1), is_quiet=True)


def test_grants_that_were_never_filled_are_not_waited_for() -> None:
    sent = Sent(images=100, shards=2, baseline_images=7, baseline={SUCCESS: 1, PENDING: 1}, unfilled=3)
    assert CONFIRMED is judge(sent, EXPECTED, unmatched(success=2, pending=3), is_quiet=False)
    assert WAIT is judge(sent, EXPECTED, unmatched(success=1, pending=4), is_quiet=False)


def test_a_pending_row_that_nobody_will_fill_does_not_hold_up_what_is_whole() -> None:
    """A grant whose answer was lost is asked for again, and the service may list the first one for ever."""
    assert judge(SENT, EXPECTED, unmatched(success=2, pending=1), is_quiet=False) is WAIT
    assert judge(SENT, EXPECTED, unmatched(success=2, pending=1), is_quiet=True) is CONFIRMED
    assert judge(SENT, EXPECTED - 1, unmatched(success=2, pending=1), is_quiet=True) is WAIT


def test_pending_rows_of_others_are_not_waited_for_where_ours_are_known() -> None:
    rows = Rows({SUCCESS: 2}, {SUCCESS: 1, PENDING: 9})
    assert CONFIRMED is judge(SENT, EXPECTED, rows, is_quiet=False)


def test_failed_rows_from_before_are_not_ours() -> None:
    sent = Sent(images=1, shards=1, baseline_images=0, baseline={ERROR: 4}, unfilled=0)
    assert CONFIRMED is judge(sent, 1, Rows({}, {ERROR: 4, SUCCESS: 1}), is_quiet=False)


@given(
    st.builds(
        Rows,
        st.dictionaries(st.sampled_from(RowKind), st.integers(0, 4)),
        st.dictionaries(st.sampled_from(RowKind), st.integers(0, 4)),
    ),
    st.integers(0, 200),
    st.integers(0, 3),
    st.booleans(),
)
def test_only_enough_images_and_enough_rows_confirm(rows: Rows, count: int, unfilled: int, is_quiet: bool) -> None:
    sent = Sent(images=100, shards=2, baseline_images=7, baseline={SUCCESS: 1}, unfilled=unfilled)
    verdict = judge(sent, count, rows, is_quiet=is_quiet)
    if verdict is CONFIRMED:
        assert count >= EXPECTED
        assert rows.ours.get(SUCCESS, 0) + rows.others.get(SUCCESS, 0) >= 2
        assert not rows.ours.get(ERROR)
    if verdict in (SHORT, EXTRA):
        assert is_quiet


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ("success", SUCCESS),
        ("INDEXING_SUCCESS", SUCCESS),
        ("success-with-errors", SUCCESS),
        ("ERROR", ERROR),
        ("indexing-error", ERROR),
        ("pending", PENDING),
        ("", PENDING),
        ("something new", PENDING),
    ],
)
def test_a_status_is_read_by_what_it_contains(status: str, kind: RowKind) -> None:
    assert kind is row_kind(status)


def test_rows_are_counted_apart() -> None:
    rows = Rows()
    rows.add(SUCCESS, 10, is_ours=True)
    rows.add(SUCCESS, 20, is_ours=True)
    rows.add(PENDING, 5, is_ours=False)
    assert Rows({SUCCESS: 2}, {PENDING: 1}, 30) == rows
    assert rows.listed == 2


@given(st.lists(st.booleans(), max_size=40))
def test_waits_grow_while_nothing_changes_and_stay_short_after_a_change(changes: list[bool]) -> None:
    wait = FIRST_WAIT
    for has_changed in changes:
        before, wait = wait, next_wait(wait, has_changed=has_changed)
        assert 0 < wait <= LONGEST_WAIT
        if has_changed:
            assert wait <= 2
        else:
            assert wait >= before


@pytest.mark.parametrize("rows_of", [matched, unmatched])
def test_what_may_come_twice_is_confirmed_only_once_it_is_quiet(rows_of: Callable[..., Rows]) -> None:
    """The first copy completes the count, and the second was taken in behind the confirmation: doubled, and untold."""
    sent = msgspec.structs.replace(SENT, may_repeat=True)
    assert WAIT is judge(sent, EXPECTED, rows_of(success=2), is_quiet=False)
    assert CONFIRMED is judge(sent, EXPECTED, rows_of(success=2), is_quiet=True)
    assert EXTRA is judge(sent, EXPECTED + 50, rows_of(success=2), is_quiet=True)
