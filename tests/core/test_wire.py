from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core import wire
from rfbulk.core.secrets import SignedUrl
from rfbulk.errors import ProtocolError

CANARY = "c4n4rysignature"
BATCH = {
    "displayName": "Holidays",
    "batchId": "holidays-1",
    "batchType": "simple-batch",
    "batchContentType": "images",
    "createdDate": "2025-01-01T00:00:00Z",
    "expiryDate": "2025-01-08T00:00:00Z",
}
SHARD = {
    "shardId": "s-1",
    "statusName": "INDEXED",
    "statusType": "success",
    "eventTimestamp": "2025-01-01T00:00:00Z",
    "shardObjectsCount": 500,
    "statusMetadata": {"reason": "none"},
}
FILE = {
    "downloadURL": f"https://store.example/o?sig={CANARY}",
    "fileName": "a.jpg",
    "partName": "p",
    "shardId": "s-1",
    "contentType": "images",
    "nestedContentType": "jpeg",
}
GRANT = {"status": "ok", "signedURLDetails": {"uploadURL": "https://store.example/o?sig=x", "extensionHeaders": {}}}
PARSERS: list[tuple[Callable[[bytes], Any], dict[str, Any]]] = [
    (wire.parse_workspace, {"workspace": "w"}),
    (wire.parse_grant, GRANT),
    (wire.parse_batch, {"batch": BATCH}),
    (wire.parse_count, {"count": 3}),
    (wire.parse_batches_page, {"batches": [BATCH]}),
    (wire.parse_shards_page, {"shards": [SHARD]}),
    (wire.parse_files_page, {"filesMetadata": [FILE]}),
    (wire.parse_parts, {"batchParts": [{"partName": "p", "partType": "t", "contentType": "images"}]}),
]


def test_a_workspace_is_read() -> None:
    assert wire.parse_workspace(b'{"workspace": "acme", "welcome": "hi"}') == "acme"


def test_a_batch_is_read() -> None:
    batch = wire.parse_batch(orjson.dumps({"batch": BATCH}))
    assert (batch.batch_id, batch.display_name, batch.content_type) == ("holidays-1", "Holidays", "images")
    assert (batch.batch_type, batch.created_date, batch.expiry_date) == (
        "simple-batch",
        "2025-01-01T00:00:00Z",
        "2025-01-08T00:00:00Z",
    )


def test_a_count_is_read() -> None:
    assert wire.parse_count(b'{"count": 0}') == 0


def test_shards_are_read() -> None:
    page = wire.parse_shards_page(orjson.dumps({"shards": [SHARD], "nextPageToken": "t"}))
    assert page == wire.Page(
        (wire.ShardStatus("s-1", "INDEXED", "success", 500, "2025-01-01T00:00:00Z", '{"reason":"none"}'),), "t"
    )


def test_files_are_read_and_their_urls_are_wrapped() -> None:
    page = wire.parse_files_page(orjson.dumps({"filesMetadata": [FILE]}))
    file = page.items[0]
    assert file.download_url == SignedUrl(FILE["downloadURL"])
    assert (file.file_name, file.part_name, file.shard_id) == ("a.jpg", "p", "s-1")
    assert CANARY not in repr(page)


def test_a_grant_is_read_with_a_limit_that_stands_beside_its_details() -> None:
    assert wire.parse_grant(orjson.dumps({**GRANT, "maxFileSizeBytes": 77})).max_bytes == 77


@pytest.mark.parametrize("rest", [{}, {"nextPageToken": None}, {"nextPageToken": ""}])
def test_a_listing_ends_where_the_token_is_absent_null_or_empty(rest: dict[str, object]) -> None:
    """The service's own client loops for ever on an empty token."""
    assert wire.parse_batches_page(orjson.dumps({"batches": [], **rest})) == wire.Page((), None)
    assert wire.parse_shards_page(orjson.dumps({"shards": [], **rest})) == wire.Page((), None)
    assert wire.parse_files_page(orjson.dumps({"filesMetadata": [], **rest})) == wire.Page((), None)


def test_optional_fields_may_be_absent_or_null() -> None:
    shard = {"shardId": "s", "statusType": "info", "shardObjectsCount": None, "statusMetadata": None}
    assert wire.parse_shards_page(orjson.dumps({"shards": [shard]})).items[0].objects == 0
    file = {"downloadURL": "https://store.example/o", "fileName": "a", "contentType": "x", "partName": None}
    assert wire.parse_files_page(orjson.dumps({"filesMetadata": [file]})).items[0].part_name is None


every_parser = pytest.mark.parametrize(("parse", "sample"), PARSERS, ids=[parse.__name__ for parse, _ in PARSERS])


@every_parser
def test_unknown_fields_are_ignored(parse: Callable[[bytes], Any], sample: dict[str, Any]) -> None:
    assert parse(orjson.dumps({**sample, "zzz": [1, {"a": None}]})) == parse(orjson.dumps(sample))


@every_parser
def test_documented_fields_of_a_wrong_type_are_refused(parse: Callable[[bytes], Any], sample: dict[str, Any]) -> None:
    wanted = next(name for name in reversed(sample) if name != "status")
    for wrong in ("7" if wanted == "count" else 7, None, [7], {"zzz": 7}, True):
        with pytest.raises(ProtocolError, match=wanted):
            parse(orjson.dumps({**sample, wanted: wrong}))


@every_parser
@pytest.mark.parametrize(
    "body",
    [b"", b"null", b"[]", b"7", b'"x"', b"{}", b"<html>502</html>", b'{"count": ', b"\xff\xfe", b"[" * 5000, b"NaN"],
)
def test_bodies_that_are_something_else_are_refused(
    parse: Callable[[bytes], Any], sample: dict[str, Any], body: bytes
) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse(body)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize(
    ("parse", "body"),
    [
        (wire.parse_files_page, {"filesMetadata": [{**FILE, "fileName": 7}]}),
        (wire.parse_files_page, {"filesMetadata": FILE}),
        (wire.parse_grant, {"signedURLDetails": {"uploadURL": f"http://s.example/o?sig={CANARY}"}}),
        (
            wire.parse_grant,
            {"signedURLDetails": {"uploadURL": f"https://s.example/o?Signature={CANARY}", "method": "X"}},
        ),
    ],
)
def test_no_signature_stands_in_a_refusal(parse: Callable[[bytes], object], body: object) -> None:
    with pytest.raises(ProtocolError) as refusal:
        parse(orjson.dumps(body))
    assert CANARY not in f"{refusal.value} {refusal.value!r} {refusal.value.args}"
    assert refusal.value.__cause__ is None


@given(st.sampled_from([parse for parse, _ in PARSERS]), st.binary() | st.text().map(str.encode))
def test_no_body_makes_a_parser_fall_over(parse: Callable[[bytes], object], body: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        parse(body)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(PARSERS), st.data())
def test_no_value_of_any_field_makes_a_parser_fall_over(
    case: tuple[Callable[[bytes], object], dict[str, Any]], data: st.DataObject
) -> None:
    parse, sample = case
    field = data.draw(st.sampled_from([*sample, "nextPageToken", "maxFileSize"]))
    with contextlib.suppress(ProtocolError):
        parse(orjson.dumps({**sample, field: data.draw(json_values)}))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"error": "no such batch"}', "no such batch"),
        (b'{"error": {"message": "bad key"}}', "bad key"),
        (b'{"message": "slow down"}', "slow down"),
        (b'{"zzz": 1}', "['zzz']"),
        (b"<html>502 Bad Gateway</html>", "<html>502 Bad Gateway</html>"),
        (b'["a"]', '["a"]'),
        (b"", ""),
        (b'{"error": "no key K3Y"}', "no key ‹redacted›"),
    ],
)
def test_errors_of_the_api_are_told_in_their_own_words(body: bytes, said: str) -> None:
    assert said == wire.parse_api_error(body, secrets=("K3Y",))


@pytest.mark.parametrize("depth", [100, 300, 1000])
def test_values_nested_too_deep_to_be_written_again_are_refused(depth: int) -> None:
    """What JSON is read with goes deeper than what it is written with."""
    row = b'{"shardId": "s", "statusType": "error", "statusMetadata": %b}' % (b"[" * depth + b"]" * depth)
    with pytest.raises(ProtocolError, match="nested"):
        wire.parse_shards_page(b'{"shards": [%b]}' % row)


def test_a_text_that_is_no_url_can_be_shown_all_the_same() -> None:
    page = wire.parse_files_page(b'{"filesMetadata": [{"downloadURL": "https://[::1", "fileName": "a"}]}')
    assert "‹redacted›" in repr(page)
    assert (page.items[0].download_url.host, page.items[0].download_url.object_path) == ("", "")
