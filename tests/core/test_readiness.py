"""Whether a batch is ready, by its table."""

from __future__ import annotations

import pytest

from rfbulk.core.confirming import RowKind
from rfbulk.core.readiness import MAX_NAMED, BatchState, Readiness, failed_files, readiness
from rfbulk.core.wire import ShardStatus


@pytest.mark.parametrize("is_quiet", [False, True])
@pytest.mark.parametrize(
    ("pending", "failed", "count", "expected", "verdict", "once_quiet"),
    [
        (1, 0, 9, 9, Readiness.WAIT, Readiness.WAIT),
        (1, 1, 9, 9, Readiness.WAIT, Readiness.WAIT),
        (0, 1, 9, 9, Readiness.WAIT, Readiness.FAILED),
        (0, 1, 9, None, Readiness.WAIT, Readiness.FAILED),
        (0, 0, 9, 9, Readiness.READY, Readiness.READY),
        (0, 0, 10, 9, Readiness.READY, Readiness.READY),
        (0, 0, 8, 9, Readiness.WAIT, Readiness.WAIT),
        (0, 0, 0, 0, Readiness.READY, Readiness.READY),
        (0, 0, 9, None, Readiness.WAIT, Readiness.READY),
        (0, 0, 0, None, Readiness.WAIT, Readiness.WAIT),
    ],
)
def test_each_row_of_the_table(
    pending: int,
    failed: int,
    count: int,
    expected: int | None,
    verdict: Readiness,
    once_quiet: Readiness,
    is_quiet: bool,
) -> None:
    state = BatchState(count, expected, shards={RowKind.PENDING: pending, RowKind.ERROR: failed})
    assert readiness(state, is_quiet=is_quiet) is (once_quiet if is_quiet else verdict)


@pytest.mark.parametrize(
    ("pending", "failed", "count", "expected", "unused", "verdict"),
    [
        (1, 0, 9, 9, 1, Readiness.READY),
        (1, 0, 9, 9, 3, Readiness.READY),
        (2, 0, 9, 9, 1, Readiness.WAIT),
        (1, 0, 8, 9, 1, Readiness.WAIT),
        (1, 1, 9, 9, 1, Readiness.WAIT),
        (1, 0, 9, None, 1, Readiness.WAIT),
    ],
)
def test_shards_that_were_granted_for_nothing_are_not_waited_for(
    pending: int, failed: int, count: int, expected: int | None, unused: int, verdict: Readiness
) -> None:
    """After a 403 of the store a shard was asked for anew; some services list the first one for ever."""
    state = BatchState(count, expected, unused_grants=unused, shards={RowKind.PENDING: pending, RowKind.ERROR: failed})
    assert readiness(state, is_quiet=True) is verdict
    assert readiness(state, is_quiet=False) is Readiness.WAIT


@pytest.mark.parametrize(
    ("metadata", "named"),
    [
        ('{"failedFiles":[{"type":"bad","fileName":"a.jpg","reason":"no image"}]}', [("a.jpg", "no image")]),
        ('{"failed_files":[{"file_name":"a.jpg","type":"bad"}]}', [("a.jpg", "bad")]),
        ('{"failedFiles":["a.jpg"]}', [("a.jpg", "")]),
        ('{"failedFiles":[{}]}', [("?", "")]),
        ('{"failedFiles":3}', []),
        ("[1]", []),
        ("", []),
        ("nonsense", []),
    ],
)
def test_failed_files_are_found_in_either_spelling(metadata: str, named: list[tuple[str, str]]) -> None:
    assert list(failed_files(metadata)) == named


def test_what_is_named_is_bounded_and_safe_to_show() -> None:
    state = BatchState()
    rows = ",".join(['{"fileName":"a\\u001b[2J","reason":"https://store.example/x?sig=c4n4ry"}'] * 60)
    for number in range(3 * MAX_NAMED):
        state.add(ShardStatus(str(number), "", "error", 0, "", '{"failedFiles":[' + rows + "]}"))
    assert (len(state.failed), len(state.failed_files), state.shards) == (MAX_NAMED, MAX_NAMED, {RowKind.ERROR: 300})
    assert "c4n4ry" not in str(state)
    assert "\x1b" not in state.failed_files[0][0]


@pytest.mark.parametrize(("is_quiet", "verdict"), [(False, Readiness.WAIT), (True, Readiness.FAILED)])
def test_files_that_failed_are_not_waited_for(is_quiet: bool, verdict: Readiness) -> None:
    """The shards have succeeded, and say themselves which of their files are missing."""
    state = BatchState(7, 9, failed_files=[("a.jpg", "no image"), ("b.jpg", "no image")])
    assert readiness(state, is_quiet=is_quiet) is verdict
