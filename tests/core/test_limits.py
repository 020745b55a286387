from __future__ import annotations

import re

import pytest

from rfbulk.core.limits import ACCEPTED_IMAGES, OTHER_IMAGES, Format, batch_id, format_of
from rfbulk.errors import UsageError


@pytest.mark.parametrize("suffix", ["bmp", "dib", "jpeg", "jpg", "jpe", "jp2", "png", "webp"])
def test_an_accepted_suffix_is_accepted_in_any_case(suffix: str) -> None:
    for spelling in (suffix, suffix.upper(), suffix.title(), suffix[:-1] + suffix[-1].upper()):
        assert format_of(f"img.{spelling}".encode()) is Format.ACCEPTED


@pytest.mark.parametrize(
    "suffix", ["tif", "tiff", "gif", "heic", "avif", "svg", "psd", "cr2", "NEF", "Dng", "jfif", "ico", "jxl", "3FR"]
)
def test_an_image_that_the_service_does_not_take_is_told_from_other_files(suffix: str) -> None:
    assert format_of(f"img.{suffix}".encode()) is Format.UNSUPPORTED_IMAGE


@pytest.mark.parametrize("name", [b"notes.txt", b"jpg", b".jpg", b".jpeg", b"", b"img.jpg.part", b"img.", b"a.jpgx"])
def test_what_has_no_image_suffix_is_something_else(name: bytes) -> None:
    assert format_of(name) is Format.OTHER


def test_only_the_last_suffix_counts() -> None:
    assert format_of(b"img.txt.png") is Format.ACCEPTED
    assert format_of(b".hidden.png") is Format.ACCEPTED
    assert format_of(b"\xff.png") is Format.ACCEPTED


def test_no_suffix_is_both_taken_and_not_taken() -> None:
    assert not ACCEPTED_IMAGES & OTHER_IMAGES


@pytest.mark.parametrize("text", ["a", "batch_1-b", "0", "x" * 64])
def test_a_batch_id_of_the_documented_shape_is_taken(text: str) -> None:
    assert batch_id(text) == text


@pytest.mark.parametrize("text", ["", "x" * 65, "Upper", "a b", "a/b", "ä", "a\n", "٣"])
def test_any_other_batch_id_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(text))):
        batch_id(text)
