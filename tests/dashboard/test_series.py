from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rfbulk.dashboard.series import MOST_BUCKETS, Series

SPANS = st.lists(
    st.tuples(st.floats(0, 5000), st.integers(0, 1 << 40), st.integers(0, 10_000)), min_size=1, max_size=60
)


@given(SPANS)
def test_nothing_that_was_counted_is_ever_lost_and_memory_has_its_bound(spans: list[tuple[float, int, int]]) -> None:
    series = Series(most=16)
    now = 0.0
    for seconds, moved, items in spans:
        series.spread(now, now + seconds, moved, items)
        now += seconds
        series.at(now).retries += 1
    assert sum(moved for _, moved, _ in spans) == sum(bucket.bytes for bucket in series.buckets)
    assert sum(items for _, _, items in spans) == sum(bucket.items for bucket in series.buckets)
    assert len(spans) == sum(bucket.retries for bucket in series.buckets)
    assert len(series.buckets) <= 16
    assert 0.5 * 2**series.halvings == series.step_seconds
    assert min(bucket.bytes for bucket in series.buckets) >= 0


def test_two_days_of_two_samples_a_second_take_as_much_room_as_five_minutes() -> None:
    series = Series()
    for second in range(2 * 86_400):
        series.spread(second, second + 1, 100, 1)
        series.at(second + 1).samples += 1
    assert MOST_BUCKETS // 2 <= len(series.buckets) <= MOST_BUCKETS
    rates = {bucket.bytes / series.step_seconds for bucket in series.buckets[:-1]}
    assert {100.0} == rates
    assert series.step_seconds == 512.0


def test_what_moved_between_two_samples_is_spread_over_the_time_between_them() -> None:
    """Samples do not come to the dot: counted where they fall, an even flow would look like a saw."""
    series = Series(step_seconds=1.0)
    for now in (0.9, 2.1, 2.9, 4.1, 5.0):
        series.spread(max(0.0, now - (1.2 if now in (2.1, 4.1) else 0.8 if now == 2.9 else 0.9)), now, 900, 9)
    assert all(600 <= bucket.bytes <= 1300 for bucket in series.buckets[:5])


def test_readers_learn_from_where_on_buckets_differ() -> None:
    series = Series(step_seconds=1.0)
    series.spread(0, 5, 500, 0)
    series.changed_from = len(series.buckets)
    series.spread(4, 7, 300, 0)
    assert series.changed_from == 4


def test_the_last_bucket_counts_for_the_time_that_it_covers() -> None:
    """An even flow looks even up to its last moment."""
    series = Series(step_seconds=1.0)
    for tenth in range(1, 54):
        series.spread((tenth - 1) / 10, tenth / 10, 10, 1)
    rates = [bucket.bytes / series.seconds_of(place) for place, bucket in enumerate(series.filled)]
    assert [round(rate) for rate in rates] == [100] * 6
    series.spread(5.3, 6.1, 80, 8)
    assert len(series.filled) == len(series.buckets) - 1
