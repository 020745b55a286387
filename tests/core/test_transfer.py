from __future__ import annotations

import pytest
from msgspec.structs import replace

from rfbulk.core.model import Entry, Grant, Outcome, ShardResult
from rfbulk.core.secrets import SignedUrl
from rfbulk.core.transfer import Next, Shard, ShardState, has_expired, hash_differs, what_next

ONE = Entry(0, b"a.jpg", "a.jpg", 3, 1, 1)
TWO = Entry(0, b"b.jpg", "b.jpg", 4, 1, 2)
GRANT = Grant(SignedUrl("https://store/o?s=1"), {}, None, 1000.0, once_only=False)
SHARD = Shard(id=1, sequence=1, state=ShardState.GRANTED, entries=(ONE, TWO), tar_bytes=3072, grant=GRANT, attempts=1)
DOUBT = replace(SHARD, in_doubt=True)
ALONE = replace(SHARD, entries=(ONE,))


@pytest.mark.parametrize(
    ("outcome", "shard", "result", "expected"),
    [
        (Outcome.STORED, SHARD, ShardResult(Outcome.STORED, crc32c=7, stored_crc32c=7), Next.DONE),
        (Outcome.STORED, SHARD, ShardResult(Outcome.STORED, crc32c=7), Next.DONE),
        (Outcome.STORED, SHARD, ShardResult(Outcome.STORED, crc32c=7, stored_crc32c=8), Next.AGAIN),
        (
            Outcome.STORED,
            replace(SHARD, hash_failures=1),
            ShardResult(Outcome.STORED, crc32c=7, stored_crc32c=8),
            Next.AGAIN,
        ),
        (
            Outcome.STORED,
            replace(SHARD, hash_failures=2),
            ShardResult(Outcome.STORED, crc32c=7, stored_crc32c=8),
            Next.FAILED,
        ),
        (
            Outcome.STORED,
            replace(SHARD, hash_failures=2),
            ShardResult(Outcome.STORED, crc32c=7, stored_crc32c=7),
            Next.DONE,
        ),
        (Outcome.ALREADY_THERE, replace(SHARD, hash_failures=1), None, Next.FAILED),
        (Outcome.ALREADY_THERE, SHARD, None, Next.DONE),
        (Outcome.ALREADY_THERE, DOUBT, None, Next.DONE),
        (Outcome.BUSY, SHARD, None, Next.LATER),
        (Outcome.BUSY, DOUBT, None, Next.LATER),
        (Outcome.BROKEN, SHARD, None, Next.LATER),
        (Outcome.BROKEN, DOUBT, None, Next.LATER),
        (Outcome.EXPIRED, DOUBT, None, Next.UNSURE),
        (Outcome.EXPIRED, SHARD, None, Next.NEW_GRANT),
        (Outcome.FORBIDDEN, DOUBT, None, Next.UNSURE),
        (Outcome.FORBIDDEN, SHARD, None, Next.NEW_GRANT),
        (Outcome.FORBIDDEN, replace(SHARD, forbidden=1), None, Next.FAILED),
        (Outcome.FORBIDDEN, replace(DOUBT, forbidden=1), None, Next.UNSURE),
        (Outcome.TOO_LARGE, SHARD, None, Next.SPLIT),
        (Outcome.TOO_LARGE, ALONE, None, Next.FAILED),
        (Outcome.CHANGED, DOUBT, None, Next.UNSURE),
        (Outcome.CHANGED, SHARD, None, Next.REPACK),
        (Outcome.REFUSED, DOUBT, None, Next.UNSURE),
        (Outcome.REFUSED, SHARD, None, Next.FAILED),
    ],
)
def test_what_follows_is_as_the_table_says(
    outcome: Outcome, shard: Shard, result: ShardResult | None, expected: Next
) -> None:
    assert expected is what_next(shard, result or ShardResult(outcome))


@pytest.mark.parametrize("outcome", Outcome)
def test_whatever_may_have_arrived_is_never_sent_under_another_grant(outcome: Outcome) -> None:
    """A second object with the same images would put each of them into the batch twice."""
    assert what_next(DOUBT, ShardResult(outcome)) is not Next.NEW_GRANT


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_has_a_consequence(outcome: Outcome) -> None:
    assert what_next(SHARD, ShardResult(outcome)) in Next


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(7, 7, False), (7, 8, True), (0, 8, True), (7, 0, True), (7, None, False), (None, None, False)],
)
def test_a_hash_differs_only_if_the_store_told_another(ours: int | None, theirs: int | None, *, expected: bool) -> None:
    assert expected is hash_differs(ShardResult(Outcome.STORED, crc32c=ours, stored_crc32c=theirs))


@pytest.mark.parametrize(("now", "expected"), [(999.9, False), (1000.0, True), (1000.1, True)])
def test_a_grant_ends_at_its_expiry(now: float, *, expected: bool) -> None:
    assert expected is has_expired(SHARD, now)


def test_a_grant_that_tells_no_expiry_does_not_end() -> None:
    assert not has_expired(replace(SHARD, grant=replace(GRANT, expires_at=None)), 1e12)


def test_without_a_grant_nothing_ends() -> None:
    assert not has_expired(replace(SHARD, grant=None), 1e12)


def test_image_bytes_are_those_of_the_images_alone() -> None:
    assert SHARD.image_bytes == 7


def test_no_number_of_a_state_changes_its_meaning() -> None:
    """Checkpoints of earlier runs hold these numbers."""
    expected = {"PLANNED": 1, "GRANTED": 2, "UNSURE": 3, "SENT": 4, "INDEXED": 5, "FAILED": 6, "SPLIT": 7}
    assert expected == {state.name: int(state) for state in ShardState}
