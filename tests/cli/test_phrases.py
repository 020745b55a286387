"""What is told in phrases: why so many are at once, what waits, what is slow, and how often what happened."""

from __future__ import annotations

from typing import get_args

import pytest
from msgspec.structs import replace

from rfbulk.cli.phrases import EXPORT_WAITS, PACES, UPLOAD_WAITS, at_once, connection, counts, waits
from rfbulk.core.pacing import Why
from rfbulk.events import Connection, Wait
from tests.support.events import UPLOAD


@pytest.mark.parametrize("why", get_args(Why))
def test_every_reason_of_a_pace_has_its_words(why: Why) -> None:
    assert [f"4: {PACES[why]}"] == at_once(4, replace(UPLOAD, concurrency=4, pace=why))


def test_places_that_are_free_say_why() -> None:
    queued = replace(UPLOAD, concurrency=8, pace="best", waits={"turn": 3})
    assert at_once(5, queued) == ["5 of 8: more brought nothing"]
    assert at_once(5, replace(queued, waits={})) == ["5 of 8: no more is ready"]
    assert at_once(9, queued) == ["9: more brought nothing"], "the level has fallen, and they go on"


def test_every_wait_has_its_words_but_the_rest_which_has_its_own() -> None:
    assert set(get_args(Wait)) == {*UPLOAD_WAITS, "rest"} == {*EXPORT_WAITS, "rest"}


@pytest.mark.parametrize(
    ("numbers", "rest_seconds", "expected"),
    [
        ({}, 0.0, []),
        ({"turn": 1200, "grant": 1}, 0.0, ["1 for a grant", "1,200 for a place"]),
        ({"rest": 2}, 11.6, ["all rest 12 s, as asked"]),
        ({"rest": 2, "retry": 1}, 0.0, ["2 rest, as asked", "1 to try again"]),
    ],
)
def test_what_waits_is_told_with_the_rest_first(
    numbers: dict[Wait, int], rest_seconds: float, expected: list[str]
) -> None:
    assert expected == waits(numbers, rest_seconds, UPLOAD_WAITS)


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (Connection(7, "", 500, 1, 512, 1024, 2.0, 256.0), ["256 B/s", "2 s", "50 % of 1.0 KiB", "shard 7"]),
        (Connection(7, "a.mp4", 1, 3, 512, 0, 2.0, 256.0), ["256 B/s", "2 s", "512 B", "attempt 3", "a.mp4"]),
        (Connection(7, "a.jpg", 32, 1, 0, 0, 2.0, 0.0), ["0 B/s", "2 s", "0 B", "a.jpg and 31 files"]),
        (Connection(7, "\x1b[2J", 1, 1, 0, 0, 2.0, 0.0), ["0 B/s", "2 s", "0 B", "\\x1b[2J"]),
    ],
)
def test_a_connection_is_told_with_its_name_last(one: Connection, expected: list[str]) -> None:
    assert expected == connection(one)


def test_what_happened_most_often_comes_first() -> None:
    assert counts({"b": 2, "a\x1b": 2, "c": 1000}) == ["c ×1,000", "a\\x1b ×2", "b ×2"]
