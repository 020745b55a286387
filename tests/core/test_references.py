"""References are read strictly, and no text about them shows a URL."""

from __future__ import annotations

import sys
from contextlib import suppress

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.pretty import pretty_repr

from rfbulk.core.model import BatchId
from rfbulk.core.references import (
    MAX_LINE_BYTES,
    Reference,
    ReferenceFault,
    chosen_ingest_id,
    derived_ingest_id,
    mark_of,
    reference_of,
    request_bytes,
)

URL = "https://bucket.example/a?X-Goog-Signature=canary"


@pytest.mark.parametrize("line", [b"", b"\n", b" \r\n", b"\t"])
def test_an_empty_line_is_none(line: bytes) -> None:
    assert reference_of(line) is None


def test_a_good_line_is_a_reference_whatever_stands_beside() -> None:
    line = f'{{"name": "a.jpg", "url": "{URL}", "size": 3}}\r\n'.encode()
    reference = reference_of(b"\xef\xbb\xbf" + line, is_first=True)
    assert reference == Reference("a.jpg", mark_of(URL), URL)
    assert "canary" not in repr(reference)
    assert pretty_repr(reference) == "Reference(name='a.jpg')"  # rich's tracebacks show locals so


BAD = [
    (b"nothing", "not one JSON object"),
    (b"[]", "xpected `object`"),
    (b'{"name": "a"}', "missing required field `url`"),
    (b'{"name": 1, "url": "https://a.example"}', "xpected `str`"),
    (b'{"name": "", "url": "https://a.example"}', "name is empty"),
    (b'{"name": "..", "url": "https://a.example"}', "name is empty"),
    (b'{"name": "a/b", "url": "https://a.example"}', "slash"),
    (b'{"name": "a\\\\b", "url": "https://a.example"}', "slash"),
    (b'{"name": "a\\nb", "url": "https://a.example"}', "control character"),
    (b'{"name": "a", "url": "http://a.example/?sig=canary"}', "not https"),
    (b'{"name": "a", "url": "https://user:canary@a.example/"}', "user name"),
    (b'{"name": "a", "url": "ftp://a.example/canary"}', "not https"),
    (b'{"name": "a", "url": "/canary"}', "no host"),
    (b'{"name": "a", "url": "https://a.example/ canary"}', "characters"),
    (b'{"name": "a", "url": "https://a.example/"}{}', "not one JSON object"),
    (b'{"name": "\xff", "url": "https://a.example/"}', "not one JSON object"),
    (b'{"name": "' + b"a" * MAX_LINE_BYTES + b'"}', "more than"),
    (b'\xef\xbb\xbf{"name": "a", "url": "https://a.example/"}', "not one JSON object"),
]


@pytest.mark.parametrize(("line", "told"), BAD)
def test_a_bad_line_says_what_is_wrong_and_shows_no_url(line: bytes, told: str) -> None:
    with pytest.raises(ReferenceFault) as caught:
        reference_of(line)
    assert told in str(caught.value)
    assert "canary" not in str(caught.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(line: bytes) -> None:
    with suppress(ReferenceFault):
        taken = reference_of(line, is_first=True)
        assert taken is None or (taken.name and taken.url.startswith("http"))


@pytest.mark.parametrize(
    ("first", "second", "is_same"),
    [
        ("https://a.example/x?X-Amz-Signature=1&X-Amz-Date=2", "https://a.example/x?X-Amz-Signature=3", True),
        ("https://a.example/x?se=1&sig=2&sv=3", "https://a.example/x", True),
        ("https://a.example/x?Expires=1&Signature=2&GoogleAccessId=3", "https://a.example/x#part", True),
        ("https://a.example/x?id=1&sig=2", "https://a.example/x?id=2&sig=2", False),
        ("https://a.example/x?versionId=1", "https://a.example/x", False),
        ("https://a.example/x", "https://b.example/x", False),
    ],
)
def test_a_mark_tells_objects_apart_not_signatures(first: str, second: str, is_same: bool) -> None:
    assert (mark_of(first) == mark_of(second)) is is_same


def test_an_ingest_is_named_by_its_batch_and_all_that_it_brings() -> None:
    rows = [Reference("a", "1", "https://x"), Reference("b", "2")]
    name = derived_ingest_id(BatchId("spring"), "images", rows)
    assert name.startswith("spring-")
    others = [
        derived_ingest_id(BatchId("spring"), "videos", rows),
        derived_ingest_id(BatchId("summer"), "images", rows),
        derived_ingest_id(BatchId("spring"), "images", rows[:1]),
        derived_ingest_id(BatchId("spring"), "images", [rows[0], Reference("b", "3")]),
        derived_ingest_id(BatchId("spring"), "images", [Reference("a1", "1"), Reference("b", "2")]),
    ]
    assert name not in others
    assert derived_ingest_id(BatchId("spring"), "images", [Reference("a", "1", "other"), rows[1]]) == name


def test_names_of_one_ingest_begin_alike() -> None:
    assert [chosen_ingest_id("mine", number) for number in (1, 2, 3)] == ["mine", "mine-2", "mine-3"]


@given(st.text(max_size=40))
def test_a_reference_never_takes_more_than_it_is_said_to(name: str) -> None:
    row = {"name": name, "url": URL}
    try:
        size = len(msgspec.json.encode(row))
    except UnicodeEncodeError:
        return
    assert size <= request_bytes(Reference(name, "", URL))


def test_a_line_nested_beyond_all_measure_is_refused_like_any_other() -> None:
    """Python's own limit came through, and ended the command with a traceback instead of a line's number.

    Python 3.14 has no such limit at this depth: the line is then taken like any other.
    """
    line = b'{"name": "a", "url": "https://x.example/a", "more": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
    try:
        taken = reference_of(line)
    except ReferenceFault as fault:
        assert "not one JSON object" in str(fault)  # noqa: PT017 - which of the two it is, Python decides
    else:
        assert taken is not None
        assert (taken.name, taken.url) == ("a", "https://x.example/a")
        assert sys.version_info >= (3, 14)
