"""What the service's webhook sends."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.notices import (
    MAX_FAILED_NAMED,
    IngestNotice,
    JobNotice,
    NotANotice,
    OtherNotice,
    digest_of,
    parse_notice,
    subject_of,
)

JOB = {
    "type": "roboflow-batch-job-notification-v1",
    "event_id": "e-1",
    "job_id": "j-1",
    "job_state": "success",
    "delivery_attempt": 2,
}
INGEST = {
    "type": "roboflow-data-staging-notification-v1",
    "event_id": "e-2",
    "ingest_id": "i-1",
    "batch_id": "spring",
    "shard_id": None,
    "delivery_attempt": 1,
    "notification": {"type": "ingest-status-notification-v1", "success": True, "error_details": None},
}
FILES = {
    "type": "ingest-files-status-notification-v1",
    "success": False,
    "ingested_files": ["a.jpg", "b.jpg"],
    "failed_files": [{"type": "bad", "file_name": "c.jpg", "reason": "no image"}],
    "content_truncated": True,
}


def as_bytes(value: object) -> bytes:
    return json.dumps(value).encode()


def test_a_job_notification_is_read_whole() -> None:
    notice = parse_notice(as_bytes(JOB))
    assert notice == JobNotice(event_id="e-1", job_id="j-1", state="success", attempt=2)
    assert (subject_of(notice), notice.success) == ("job j-1", True)


def test_an_unknown_state_of_a_job_is_no_success() -> None:
    notice = parse_notice(as_bytes(JOB | {"job_state": "paused"}))
    assert isinstance(notice, JobNotice)
    assert not notice.success


def test_an_ingest_notification_is_read_whole() -> None:
    notice = parse_notice(as_bytes(INGEST))
    assert notice == IngestNotice(event_id="e-2", batch_id="spring", ingest_id="i-1", attempt=1, success=True)
    assert subject_of(notice) == "batch spring"


def test_failed_files_are_named() -> None:
    notice = parse_notice(as_bytes(INGEST | {"notification": FILES, "shard_id": "s"}))
    assert isinstance(notice, IngestNotice)
    (failed,) = notice.failed_files
    assert (failed.file_name, failed.type, failed.reason) == ("c.jpg", "bad", "no image")
    assert (notice.shard_id, notice.ingested_files, notice.is_truncated, notice.success) == ("s", 2, True, False)


def test_an_error_is_told_in_words_that_are_safe_to_show() -> None:
    details = {"type": "broken", "reason": "https://store.example/x?sig=c4n4ry\x1b"}
    notice = parse_notice(as_bytes(INGEST | {"notification": {"success": False, "error_details": details}}))
    assert isinstance(notice, IngestNotice)
    assert notice.error.startswith("broken: https://store.example/x?")
    assert "c4n4ry" not in notice.error
    assert "\x1b" not in notice.error


def test_endless_failed_files_are_cut_and_said_to_be() -> None:
    failed = FILES | {"failed_files": [{}] * (MAX_FAILED_NAMED + 1), "content_truncated": False}
    notice = parse_notice(as_bytes(INGEST | {"notification": failed}))
    assert isinstance(notice, IngestNotice)
    assert (len(notice.failed_files), notice.is_truncated) == (MAX_FAILED_NAMED, True)


def test_an_unknown_type_is_kept_as_such() -> None:
    """The service may send more than we know: refusing it would have it sent again and again."""
    notice = parse_notice(as_bytes({"type": "news-v1", "event_id": "e"}))
    assert notice == OtherNotice(event_id="e", type="news-v1")
    assert subject_of(notice) == ""


def test_without_an_event_id_equal_content_is_the_same_event() -> None:
    values = {name: value for name, value in JOB.items() if name != "event_id"}
    first, again = (parse_notice(as_bytes(values | {"delivery_attempt": number})) for number in (1, 2))
    other = parse_notice(as_bytes(values | {"job_id": "j-2"}))
    assert first.event_id == again.event_id != other.event_id


def test_a_repeated_delivery_says_the_same_in_any_order_of_fields() -> None:
    again = dict(reversed(list((JOB | {"delivery_attempt": 9}).items())))
    assert digest_of(as_bytes(JOB)) == digest_of(as_bytes(again))
    assert digest_of(as_bytes(JOB)) != digest_of(as_bytes(JOB | {"job_state": "fail"}))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"nonsense",
        b"\xff",
        b"[" * 100_000,
        as_bytes(JOB | {"job_id": None}),
        as_bytes(JOB | {"job_id": ""}),
        as_bytes(JOB | {"event_id": "x" * 201}),
        as_bytes(JOB | {"event_id": 7}),
        as_bytes(INGEST | {"batch_id": 3}),
    ],
)
def test_what_is_no_notification_is_refused(body: bytes) -> None:
    with pytest.raises(NotANotice):
        parse_notice(body)


@given(
    st.dictionaries(
        st.sampled_from([*JOB, *INGEST]),
        st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just(FILES) | st.lists(st.integers()),
    )
)
def test_any_object_is_a_notification_or_refused(values: dict[str, Any]) -> None:
    for kind in (JOB["type"], INGEST["type"]):
        with contextlib.suppress(NotANotice):
            assert parse_notice(as_bytes({"type": kind} | values)).event_id
