from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rfbulk.dashboard.cells import Place, ShardMap

MOVES = st.lists(st.tuples(st.integers(1, 300), st.sampled_from([*Place, None])), max_size=200)


@given(MOVES, st.integers(0, 400))
def test_the_cells_and_the_totals_agree_with_what_was_told(moves: list[tuple[int, Place | None]], planned: int) -> None:
    cells = ShardMap(most_cells=16)
    cells.reach(planned)
    last: dict[int, Place | None] = {}
    for shard, place in moves:
        last[shard] = place
        if place is None:
            cells.drop(shard)
        else:
            cells.put(shard, place)
    size = max(planned, *last, 0) if last else planned
    places = [last.get(shard, Place.PLANNED) for shard in range(1, size + 1)]
    expected = [places.count(place) for place in Place]
    assert expected == cells.totals()
    assert expected == [sum(column) for column in zip(*map(cells.counts, range(cells.cells)), strict=True)] or not size
    assert cells.cells <= 16
    assert cells.changed <= set(range(cells.cells))


def test_eighty_thousand_shards_are_a_thousand_cells_at_most() -> None:
    cells = ShardMap()
    cells.reach(80_000)
    assert (len(cells), cells.cells, cells.per_cell) == (80_000, 625, 128)
    cells.changed.clear()
    cells.put(129, Place.SENT)
    assert {1} == cells.changed
    assert cells.counts(1) == [127, 0, 0, 0, 1, 0, 0]


def test_what_earlier_runs_left_is_believed_only_where_this_run_has_told_nothing() -> None:
    cells = ShardMap()
    cells.put(2, Place.SENDING)
    cells.seed({1: Place.SENT, 2: Place.PLANNED, 3: None, 4: Place.FAILED})
    assert cells.totals() == [0, 1, 0, 0, 1, 0, 1]
    cells.confirm()
    assert cells.totals() == [0, 1, 0, 0, 0, 1, 1]


def test_numbers_beyond_reason_change_nothing() -> None:
    cells = ShardMap()
    cells.put(0, Place.SENT)
    cells.put(1 << 60, Place.SENT)
    cells.reach(1)
    assert len(cells) == 1
