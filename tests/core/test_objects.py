from __future__ import annotations

import pytest

from rfbulk.core.objects import Address, Cloud, is_bucket, mark_of, odd_part, parse_address
from rfbulk.errors import UsageError

ADDRESSES = {
    "s3://pics": Address(Cloud.S3, "pics"),
    "s3://pics/": Address(Cloud.S3, "pics"),
    "gs://pics/in/day-1/": Address(Cloud.GOOGLE, "pics", "in/day-1/"),
    "az://pics/in/day-1": Address(Cloud.AZURE, "pics", "in/", None, "day-1"),
    "S3://pics/a.jpg": Address(Cloud.S3, "pics", "", None, "a.jpg"),
    "s3://pics/*.jpg": Address(Cloud.S3, "pics", "", "/*.jpg"),
    "s3://pics/in/cam-?/**/x[0-9].jpg": Address(Cloud.S3, "pics", "in/", "/cam-?/**/x[0-9].jpg"),
    "s3://pics/in/cam-*/": Address(Cloud.S3, "pics", "in/", "/cam-*/"),
    "az://$web/a": Address(Cloud.AZURE, "$web", "", None, "a"),
}


@pytest.mark.parametrize("source", ADDRESSES)
def test_an_address_is_taken_apart_as_the_table_says(source: str) -> None:
    assert ADDRESSES[source] == parse_address(source)


@pytest.mark.parametrize(
    "source",
    ["s3://", "s3:///a", "s3://b*/a", "s3://key:secret@b/a", "gs://b//a", "gs://b/../a", "az://b/./a", "az://b/a/.."],
)
def test_what_is_no_address_is_refused_without_a_password(source: str) -> None:
    with pytest.raises(UsageError) as raised:
        parse_address(source)
    assert "secret" not in str(raised.value)


def test_paths_are_no_buckets() -> None:
    assert [is_bucket(text) for text in ("s3://a", "GS://a", "az://a")] == [True] * 3
    assert [is_bucket(text) for text in ("photos", "/s3://a", "https://a/b", "s3:/a", "C://x")] == [False] * 5


def test_an_address_is_shown_as_it_would_be_written() -> None:
    address = parse_address("s3://pics/in/cam-*/a.jpg")
    assert (address.url, address.text) == ("s3://pics/in", "s3://pics/in/cam-*/a.jpg")
    assert parse_address("s3://pics/").url == "s3://pics"
    assert parse_address("s3://pics/a.jpg").key == "a.jpg"


def test_a_mark_is_that_of_the_etag_however_it_is_quoted_else_of_the_version() -> None:
    assert len({mark_of(tag, version) for tag in ('"a"', "a", 'W/"a"') for version in (None, "1")}) == 1
    assert len({mark_of("a", None), mark_of("b", None), mark_of(None, "1"), mark_of(None, "2")}) == 4
    assert mark_of(None, None) == 0
    assert mark_of("a", None) < 2**64


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("in//a.jpg", ("in/", "in//", "in/0")),
        ("a/b//c//d", ("a/b/", "a/b//", "a/b/0")),
        ("//a", ("/", "//", "/0")),
        ("a/../b", ("a/", "a/../", "a/..0")),
        ("./b", ("", "./", ".0")),
        ("a/..", ("a/", "a/..", "a/..!")),
        ("a/b/", None),
        ("/a", None),
        ("a/...b", None),
        ("a", None),
    ],
)
def test_an_odd_part_has_a_folder_a_beginning_and_something_behind_it(
    key: str, parts: tuple[str, str, str] | None
) -> None:
    assert parts == odd_part(key)
    if parts is not None:
        folder, share, behind = parts
        assert folder <= share <= key < behind
        assert key.startswith(share)
