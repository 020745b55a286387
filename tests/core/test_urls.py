from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from rfbulk.core.urls import Url, url_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://store.example/o", Url("https", "store.example", 443, "/o")),
        ("HTTPS://Store.Example:443/O%2Fo?a=%2B&b", Url("https", "store.example", 443, "/O%2Fo?a=%2B&b")),
        ("http://127.0.0.1:8790/a//b/../c?x=1?y#part", Url("http", "127.0.0.1", 8790, "/a//b/../c?x=1?y")),
        ("http://[::1]/o", Url("http", "::1", 80, "/o")),
        ("http://[::1]:8080/o", Url("http", "::1", 8080, "/o")),
        ("https://store.example", Url("https", "store.example", 443, "/")),
        ("https://store.example?a=b", Url("https", "store.example", 443, "/?a=b")),
        ("https://store.example:/o?", Url("https", "store.example", 443, "/o?")),
        ("http://user:p%40ss@gate.example:3128", Url("http", "gate.example", 3128, "/", "user:p%40ss")),
        ("http://a@b@gate.example:1", Url("http", "gate.example", 1, "/", "a@b")),
        ("https://b\u00fccher.example/", Url("https", "xn--bcher-kva.example", 443, "/")),
    ],
)
def test_a_url_is_taken_apart_and_its_target_left_as_it_was_signed(text: str, expected: Url) -> None:
    assert expected == url_of(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/o",
        "store.example/o",
        "https:///o",
        "https://:80/",
        "ftp://store.example/",
        "http://[::1",
        "http://[::1]x/",
        "http://a:65536/",
        "http://a:0/",
        "http://a:b/",
        "http://a:1:2/",
        f"https://{'a' * 70}\u00fc.example/",
    ],
)
def test_what_is_no_url_to_connect_to_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^it (is|names)|label|idna") as refused:
        url_of(text)
    assert not text or text not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://a.example/", "a.example"),
        ("https://a.example:443/", "a.example"),
        ("https://a.example:80/", "a.example:80"),
        ("http://[::1]:80/", "[::1]"),
        ("http://[::1]:8080/", "[::1]:8080"),
    ],
)
def test_a_host_is_named_as_it_was_signed(text: str, expected: str) -> None:
    assert expected == url_of(text).host_header


def test_nothing_secret_is_shown() -> None:
    url = url_of("http://user:c4n4ry@gate.example:3128/o?sig=c4n4ry")
    assert repr(url) == "<Url http://gate.example:3128>"
    assert pretty_repr(url) == "Url(place='gate.example:3128')"  # rich's tracebacks show locals so
