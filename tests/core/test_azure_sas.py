"""Whether Azure honours what is signed here, Azurite tells in `tests/clouds`."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from rfbulk.core.azure_sas import blob_url, end_of_sas, key_of, may_read, sign_blob

KEY = base64.b64encode(b"secret-key").decode()


def test_a_signed_url_names_the_blob_the_end_and_nothing_of_the_key() -> None:
    key = key_of("account", "https://account.blob.core.windows.net/", KEY)
    url = sign_blob(key, "pics", "ün 50%/a?b#c.jpg", 1_800_000_000.0)
    parts, query = urlsplit(url), parse_qs(urlsplit(url).query)
    assert unquote(parts.path) == "/pics/ün 50%/a?b#c.jpg"
    assert (query["sp"], query["sr"], query["se"]) == (["r"], ["b"], ["2027-01-15T08:00:00Z"])
    assert KEY not in url
    assert "secret" not in repr(key)


def test_signatures_differ_by_blob_and_by_end() -> None:
    key = key_of("account", "https://a", KEY)
    urls = {sign_blob(key, "pics", name, end) for name in ("a", "b") for end in (1.0, 2.0)}
    assert len({parse_qs(urlsplit(url).query)["sig"][0] for url in urls}) == 4


def test_a_key_that_is_no_base64_is_refused() -> None:
    with pytest.raises(ValueError, match=r"base64|padding"):
        key_of("account", "https://a", "not base64!")


def test_a_blobs_url_keeps_its_folders() -> None:
    assert blob_url("http://127.0.0.1:1/account/", "pics", "a b/ü~.jpg") == (
        "http://127.0.0.1:1/account/pics/a%20b/%C3%BC~.jpg"
    )


@pytest.mark.parametrize(
    ("token", "end", "reads"),
    [
        ("?sp=rl&se=2027-01-15T08:00:00Z&sig=x", 1_800_000_000.0, True),
        ("sp=w&se=2027-01-15", 1_799_971_200.0, False),
        ("se=tomorrow", None, False),
        ("", None, False),
    ],
)
def test_what_a_sas_permits_can_be_read(token: str, end: float | None, reads: bool) -> None:
    assert (end_of_sas(token), may_read(token)) == (end, reads)
