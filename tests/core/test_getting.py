from __future__ import annotations

import pytest

from rfbulk.core.fetching import FetchOutcome
from rfbulk.core.getting import Continued, Mark, is_page, judge_continued, judge_get, mark_of, range_headers
from rfbulk.core.hashes import StoredHashes
from rfbulk.core.heads import Head

MARK = Mark('"e"', 100, is_hashed=False, with_md5=False, boot="b")


def head(status: int, length: int | None = None, **headers: str) -> Head:
    return Head(status, {name.replace("_", "-"): value for name, value in headers.items()}, length, False, True)


@pytest.mark.parametrize(
    ("status", "code", "message", "outcome"),
    [
        (408, "", "", FetchOutcome.BUSY),
        (429, "", "", FetchOutcome.BUSY),
        (503, "SlowDown", "", FetchOutcome.BUSY),
        (530, "", "", FetchOutcome.BUSY),
        (400, "ExpiredToken", "", FetchOutcome.EXPIRED),
        (400, "InvalidArgument", "Request has expired", FetchOutcome.EXPIRED),
        (400, "InvalidArgument", "", FetchOutcome.REFUSED),
        (401, "", "", FetchOutcome.EXPIRED),
        (403, "AccessDenied", "Request has expired", FetchOutcome.EXPIRED),
        (403, "SignatureDoesNotMatch", "", FetchOutcome.EXPIRED),
        (404, "NoSuchKey", "", FetchOutcome.GONE),
        (410, "", "", FetchOutcome.GONE),
        (204, "", "", FetchOutcome.REFUSED),
        (206, "", "", FetchOutcome.REFUSED),
        (302, "", "", FetchOutcome.REFUSED),
        (304, "", "", FetchOutcome.REFUSED),
        (412, "", "", FetchOutcome.REFUSED),
        (416, "", "", FetchOutcome.REFUSED),
        (451, "", "", FetchOutcome.REFUSED),
    ],
)
def test_an_answer_without_the_file_says_what_becomes_of_it(
    status: int, code: str, message: str, outcome: FetchOutcome
) -> None:
    assert outcome is judge_get(status, code, message)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (head(206, 60, content_range="bytes 40-99/100", etag='"e"'), Continued.REST),
        (head(206, None, content_range="bytes 40-99/100"), Continued.REST),
        (head(206, 60, content_range="bytes 40-99/100", etag='"f"'), Continued.ASK_ANEW),
        (head(206, 60, content_range="bytes 41-99/100"), Continued.ASK_ANEW),
        (head(206, 50, content_range="bytes 40-89/100"), Continued.ASK_ANEW),
        (head(206, 60, content_range="bytes 40-99/101"), Continued.ASK_ANEW),
        (head(206, 60, content_range="bytes 40-99/*"), Continued.ASK_ANEW),
        (head(206, 59, content_range="bytes 40-99/100"), Continued.ASK_ANEW),
        (head(206, 60), Continued.ASK_ANEW),
        (head(206, 60, content_type="multipart/byteranges; boundary=x"), Continued.ASK_ANEW),
        (head(200, 100), Continued.ANEW),
        (head(416, 0, content_range="bytes */10"), Continued.ASK_ANEW),
        (head(403), Continued.OTHER),
        (head(503), Continued.OTHER),
    ],
)
def test_only_exactly_the_rest_of_the_same_file_continues_it(found: Head, expected: Continued) -> None:
    assert expected is judge_continued(found, MARK, 40)


@pytest.mark.parametrize(
    ("found", "is_continuable"),
    [
        (head(200, 100, etag='"e"'), True),
        (head(200, 100, etag='W/"e"'), False),
        (head(200, 100, etag="e"), False),
        (head(200, 100, etag='"a\rb"'), False),
        (head(200, 100), False),
        (head(200, None, etag='"e"'), False),
        (head(206, 100, etag='"e"'), False),
    ],
)
def test_a_file_is_continued_only_by_a_strong_etag_and_a_length(found: Head, is_continuable: bool) -> None:
    assert is_continuable == (mark_of(found, StoredHashes(), boot="b") is not None)


@pytest.mark.parametrize(
    ("is_hashed", "marked_in", "held", "is_good"),
    [
        (False, "b", 40, True),
        (False, "other", 40, False),
        (False, "", 40, False),
        (True, "other", 40, True),
        (True, "", 40, True),
        (True, "b", 0, False),
        (True, "b", 101, False),
    ],
)
def test_what_a_power_cut_may_have_spoiled_is_believed_only_with_a_hash(
    is_hashed: bool, marked_in: str, held: int, is_good: bool
) -> None:
    mark = Mark('"e"', 100, is_hashed=is_hashed, with_md5=False, boot=marked_in)
    assert is_good == mark.is_good_for(held, "b" if marked_in else "")


def test_the_rest_is_asked_for_under_a_condition() -> None:
    assert range_headers(MARK, 40) == {"Range": "bytes=40-", "If-Range": '"e"'}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (head(200, 5, content_type="text/html; charset=utf-8"), True),
        (head(200, 5, content_type="text/html", etag='"e"'), False),
        (head(200, 5, content_type="text/html", x_goog_hash="crc32c="), False),
        (head(200, 5, content_type="image/jpeg"), False),
        (head(200, 5), False),
    ],
)
def test_a_page_is_told_from_an_object(found: Head, expected: bool) -> None:
    assert expected is is_page(found)
