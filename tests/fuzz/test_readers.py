"""Whatever a stranger sends, a reader makes a record of it or refuses it in its own words: soon, and nothing else."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.budget import EXAMPLES, profile
from tests.fuzz.readers import READERS, Reader
from tests.fuzz.spoiling import NASTY, WEIRD, as_json, foreign, ways_into, with_value, without

LONGEST_SECONDS = 2.0
"""What one answer may take on a busy machine; it takes less than a millisecond on a quiet one."""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_samples_are_taken(reader: Reader) -> None:
    """What is spoiled below is good before: a reader that refuses everything proves nothing."""
    for sample in reader.samples:
        try:
            reader.read(sample)
        except reader.refuses:
            assert reader.name == "name", sample  # among its samples are those that must be refused


@pytest.mark.parametrize("reader", [reader for reader in READERS if reader.is_json], ids=lambda reader: reader.name)
def test_every_value_of_json_may_be_another(reader: Reader) -> None:
    """Each place of each sample, with each of the values that nobody expects, and without any."""
    for sample in map(json.loads, reader.samples):
        for way in ways_into(sample):
            for new in WEIRD:
                reader.take(as_json(with_value(sample, way, new)))
            if way:
                reader.take(as_json(without(sample, way)))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_a_sample_may_end_anywhere_and_have_anything_inside(reader: Reader) -> None:
    for sample in reader.samples:
        places = range(0, len(sample) + 1, max(1, len(sample) // 100))
        for place in places:
            reader.take(sample[:place])
        for nasty in NASTY:
            reader.take(nasty)
            for place in places[:: max(1, len(places) // 8)]:
                reader.take(sample[:place] + nasty + sample[place:])


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_foreign_bytes_are_read_or_refused(reader: Reader) -> None:
    outcomes = {True: 0, False: 0}

    @profile()
    @given(st.data())
    def try_one(drawn: st.DataObject) -> None:
        data = drawn.draw(foreign(reader.samples, is_json=reader.is_json))
        began = time.monotonic()
        outcomes[reader.take(data) is None] += 1
        assert time.monotonic() - began < LONGEST_SECONDS

    try_one()
    assert sum(outcomes.values()) >= min(EXAMPLES, 10)
