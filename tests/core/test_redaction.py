from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rfbulk.core.redaction import EXCERPT_CHARACTERS, excerpt

CANARY = "c4n4ry0123"


@pytest.mark.parametrize(
    "text",
    [
        f"see https://store.example/o?X-Goog-Signature={CANARY}&x=1 now",
        f'{{"url": "https:\\/\\/store.example\\/o?sig={CANARY}"}}',
        f"HTTP://STORE/o?{CANARY}",
        f"https://user:{CANARY}@store.example/o",
        f"/path?api_key={CANARY}&more=1",
        f'{{"api_key": "{CANARY}"}}',
        f"Signature={CANARY}",
        f"x-amz-security-token: {CANARY}",
        f"AWSAccessKeyId={CANARY}",
    ],
)
def test_what_signs_a_url_is_left_out(text: str) -> None:
    assert CANARY not in excerpt(text)


def test_a_known_secret_is_left_out_as_it_is_and_as_urls_spell_it() -> None:
    assert excerpt("<a+b/c> <a%2Bb%2Fc>", secrets=("a+b/c",)) == "<‹redacted›> <‹redacted›>"


def test_ordinary_text_stays_as_it_is() -> None:
    assert (
        excerpt("batch größe: 3 of 4, see https://docs.example/a") == "batch größe: 3 of 4, see https://docs.example/a"
    )


def test_control_characters_cannot_reach_a_terminal() -> None:
    assert excerpt("a\x1b[31m\r\n\x00\u202eb") == "a\\x1b[31m\\r\\n\\x00\\u202eb"


def test_bytes_that_are_no_text_are_shown_all_the_same() -> None:
    assert excerpt(b"\xff\xfea") == "\ufffd\ufffda"


@given(st.text() | st.binary())
def test_an_excerpt_is_short_and_printable(data: str | bytes) -> None:
    text = excerpt(data)
    assert len(text) <= EXCERPT_CHARACTERS
    assert text.isprintable()


def test_a_huge_body_is_not_shown() -> None:
    assert len(excerpt(b"x" * (1 << 22))) == EXCERPT_CHARACTERS
