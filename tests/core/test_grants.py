from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.grants import GrantFault, UrlFault, check_url, expiry_of, grant_of
from rfbulk.core.loopback import is_loopback
from rfbulk.core.model import Grant

URL = "https://storage.example/bucket/o%2F1.tar?X-Goog-Date=20250101T000000Z&X-Goog-Expires=3600&X-Goog-Signature=abc"
NEW_YEAR = 1_735_689_600.0


def granted(
    headers: object = None, *, url: object = URL, beside: dict[str, object] | None = None, **more: Any
) -> Grant:
    return grant_of({"uploadURL": url, "extensionHeaders": headers, **more}, beside=beside)


def test_a_grant_of_google_is_read_whole() -> None:
    grant = granted(
        {"x-goog-content-length-range": "0,1000", "x-goog-if-generation-match": "0"},
        method="PUT",
        maxFileSizeBytes=5000,
    )
    assert grant.url.reveal() == URL
    assert grant.headers == {"x-goog-content-length-range": "0,1000", "x-goog-if-generation-match": "0"}
    assert (grant.max_bytes, grant.expires_at, grant.once_only) == (1000, NEW_YEAR + 3600, True)


def test_a_grant_that_says_the_least_is_enough() -> None:
    """`method`, limits and headers may be absent."""
    grant = grant_of({"uploadURL": "https://store.example/o"})
    assert (grant.headers, grant.max_bytes, grant.expires_at, grant.once_only) == ({}, None, None, False)


@pytest.mark.parametrize("method", ["POST", "GET", "", None, "put", "PUT"])
def test_only_put_is_carried_out(method: str | None) -> None:
    if method in {"POST", "GET"}:
        with pytest.raises(GrantFault):
            granted(method=method)
    else:
        assert granted(method=method).url.reveal() == URL


@pytest.mark.parametrize(
    ("headers", "inside", "beside", "limit"),
    [
        ({}, {}, {}, None),
        ({}, {"maxFileSizeBytes": 70}, {}, 70),
        ({}, {"maxFileSize": "70"}, {"maxFileSizeInBytes": 60}, 60),
        ({"X-Goog-Content-Length-Range": "0, 50"}, {"maxFileSize": 70}, {}, 50),
        ({"x-goog-content-length-range": "1,80"}, {"maxFileSize": 70}, {}, 70),
        ({"x-goog-content-length-range": "nonsense"}, {"maxFileSize": None}, {"maxFileSize": True}, None),
        ({}, {"maxFileSize": "70MB", "maxFiles": 3}, {"maxFileSize": -1}, None),
        ({}, {"maxFileSize": 70.5}, {"status": "ok"}, None),
    ],
)
def test_the_smallest_limit_that_anything_states_counts(
    headers: dict[str, str], inside: dict[str, object], beside: dict[str, object], limit: int | None
) -> None:
    assert limit == granted(headers, beside=beside, **inside).max_bytes


@pytest.mark.parametrize(
    ("name", "value", "once_only"),
    [
        ("x-goog-if-generation-match", "0", True),
        ("X-Goog-If-Generation-Match", 0, True),
        ("x-goog-if-generation-match", "7", False),
        ("x-other", "0", False),
    ],
)
def test_once_only_is_read_from_the_header_in_any_case(name: str, value: object, once_only: bool) -> None:
    grant = granted({name: value})
    assert grant.once_only is once_only
    assert grant.headers == {name: str(value)}


@pytest.mark.parametrize(
    "headers",
    [
        {"x-a": "b\r\nx-evil: 1"},
        {"x-a": "b\n"},
        {"x-a": "b\x00"},
        {"x-a": "größe"},
        {"x-a\r\nx-evil": "1"},
        {"x a": "1"},
        {"": "1"},
        {"x-a:": "1"},
        {"x-a": None},
        {"x-a": ["1"]},
        {"x-a": 1.5},
        {"x-a": True},
        {"Host": "elsewhere"},
        {"transfer-encoding": "chunked"},
        {"Content-Length": "1"},
        {"Expect": "100-continue"},
        ["x-a"],
        "x-a: 1",
    ],
)
def test_headers_that_would_break_the_request_are_refused(headers: object) -> None:
    with pytest.raises(GrantFault) as refusal:
        granted(headers)
    assert "evil" not in str(refusal.value)


@pytest.mark.parametrize(
    ("query", "expiry"),
    [
        ("X-Goog-Date=20250101T000000Z&X-Goog-Expires=3600", NEW_YEAR + 3600),
        ("x-goog-date=20250101T000000Z&x-goog-expires=60", NEW_YEAR + 60),
        ("X-Amz-Date=20250101T000000Z&X-Amz-Expires=900", NEW_YEAR + 900),
        ("sv=2024-01-01&se=2025-01-01T01%3A00%3A00Z&sig=x", NEW_YEAR + 3600),
        ("se=2025-01-01&sig=x", NEW_YEAR),
        ("GoogleAccessId=a&Expires=1735689600&Signature=x", NEW_YEAR),
        ("X-Goog-Date=20250101T000000Z", None),
        ("X-Goog-Date=soon&X-Goog-Expires=3600", None),
        ("X-Goog-Date=20250101T000000Z&X-Goog-Expires=-1", None),
        ("Expires=tomorrow", None),
        ("", None),
    ],
)
def test_the_end_of_a_grant_is_read_from_its_url(query: str, expiry: float | None) -> None:
    assert expiry == expiry_of(query)


@pytest.mark.parametrize(
    "url",
    [
        "http://storage.example/o",
        "ftp://storage.example/o",
        "file:///etc/passwd",
        "//storage.example/o",
        "https:///o",
        "https://user:pass@storage.example/o",
        "https://user@storage.example/o",
        "https://storage.example/o\r\nHost: evil",
        "https://storage.example/a b",
        "https://störage.example/o",
        "https://storage.example:99999/o",
        "https://[::1/o",
        "http://127.0.0.1.evil.example/o",
        "http://localhost.evil.example/o",
        "",
        7,
        None,
    ],
)
def test_urls_that_are_not_spoken_to_are_refused(url: object) -> None:
    with pytest.raises(GrantFault):
        granted(url=url)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9000/o", "http://localhost/o", "http://[::1]:1/o", "http://a.localhost/"]
)
def test_plain_http_goes_to_this_machine_only(url: str) -> None:
    assert check_url(url, allow_http=False).scheme == "http"


def test_plain_http_is_taken_if_allowed() -> None:
    assert check_url("http://store.example/o", allow_http=True).hostname == "store.example"


def test_other_schemes_stay_refused_if_plain_http_is_allowed() -> None:
    with pytest.raises(UrlFault):
        check_url("ftp://store.example/o", allow_http=True)


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST.", "127.0.0.1", "127.9.9.9", "::1", "x.localhost"])
def test_names_of_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "10.0.0.1", "2130706433", "example", "127.1", "notlocalhost"])
def test_names_of_other_machines(host: str) -> None:
    assert not is_loopback(host)


@given(
    st.dictionaries(
        st.text(max_size=20), st.none() | st.booleans() | st.integers() | st.floats() | st.text(), max_size=5
    )
)
def test_no_grant_makes_the_reader_fall_over(details: dict[str, object]) -> None:
    with contextlib.suppress(GrantFault):
        grant_of({"uploadURL": URL, "extensionHeaders": details, **details}, beside=details)


@given(st.text(max_size=60))
def test_no_url_makes_the_check_fall_over(text: str) -> None:
    with contextlib.suppress(UrlFault):
        check_url("https://" + text, allow_http=False)


@given(st.text(max_size=60))
def test_no_query_makes_the_reader_fall_over(text: str) -> None:
    for name in ("Expires=", "se=", "X-Goog-Expires=3600&X-Goog-Date="):
        expiry_of(name + text)


def test_a_method_of_another_kind_is_refused_whatever_it_holds() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    with pytest.raises(GrantFault, match="method"):
        grant_of({"uploadURL": "https://store.example/o", "method": deep})
