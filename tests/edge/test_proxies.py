from __future__ import annotations

import pytest
from rich.pretty import pretty_repr

from rfbulk.core.urls import url_of
from rfbulk.edge.proxies import proxies_from
from rfbulk.errors import UsageError


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "https://store.example/", None),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "https://store.example/", "http://proxy:3128"),
        ({"https_proxy": "http://small", "HTTPS_PROXY": "http://LARGE"}, "https://store.example/", "http://small"),
        ({"HTTPS_PROXY": "http://proxy:3128"}, "http://store.example/", None),
        ({"http_proxy": "proxy:3128"}, "http://store.example/", "http://proxy:3128"),
        ({"ALL_PROXY": "http://all:1"}, "https://store.example/", "http://all:1"),
        ({"ALL_PROXY": "http://all:1", "https_proxy": "http://one:1"}, "https://store.example/", "http://one:1"),
        ({"https_proxy": "", "ALL_PROXY": ""}, "https://store.example/", None),
        ({"https_proxy": "http://proxy:1", "NO_PROXY": "*"}, "https://store.example/", None),
        ({"https_proxy": "http://proxy:1", "NO_PROXY": "a, store.example"}, "https://store.example/", None),
        ({"https_proxy": "http://proxy:1", "no_proxy": ".example"}, "https://store.example/", None),
        ({"https_proxy": "http://proxy:1", "no_proxy": "store.example:443"}, "https://store.example/", None),
        ({"https_proxy": "http://proxy:1", "no_proxy": "other.example"}, "https://store.example/", "http://proxy:1"),
        ({"https_proxy": "http://proxy:1", "http_proxy": "http://proxy:1"}, "http://127.0.0.1:9/", None),
        ({"HTTP_PROXY": "http://evil:1", "REQUEST_METHOD": "GET"}, "http://store.example/", None),
        ({"http_proxy": "http://good:1", "REQUEST_METHOD": "GET"}, "http://store.example/", "http://good:1"),
    ],
)
def test_the_table_of_proxies(environment: dict[str, str], url: str, proxy: str | None) -> None:
    asked = url_of(url)
    found = proxies_from(environment).lead_to(asked.scheme, asked.host, asked.port)
    assert found == (None if proxy is None else url_of(proxy))


@pytest.mark.parametrize("text", ["socks5://proxy:1080", "http://", "http://[::1", "ftp://proxy"])
def test_a_proxy_that_is_not_spoken_to_is_an_error_before_anything_is_sent(text: str) -> None:
    with pytest.raises(UsageError, match="https_proxy"):
        proxies_from({"https_proxy": text})


def test_a_password_of_a_proxy_is_not_shown() -> None:
    proxies = proxies_from({"https_proxy": "http://user:c4n4ry@proxy:3128"})
    assert "c4n4ry" not in repr(proxies)
    assert "c4n4ry" not in pretty_repr(proxies)
    with pytest.raises(UsageError) as refused:
        proxies_from({"https_proxy": "socks5://user:c4n4ry@proxy:3128"})
    assert "c4n4ry" not in f"{refused.value} {refused.value!r}"
