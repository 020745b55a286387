"""What a file is by its name, for each kind of upload."""

from __future__ import annotations

import pytest

from rfbulk.core.limits import ACCEPTED_IMAGES, ACCEPTED_VIDEOS, Format
from rfbulk.core.media import IMAGES, VIDEOS
from rfbulk.core.model import SKIPPED, RefusalReason


@pytest.mark.parametrize("suffix", sorted(ACCEPTED_VIDEOS))
def test_every_video_is_one_in_any_case_and_no_image(suffix: str) -> None:
    for name in (f"clip.{suffix}", f"clip.{suffix.upper()}", f"a.b.{suffix}"):
        assert VIDEOS.format_of(name.encode()) is Format.ACCEPTED
        assert IMAGES.format_of(name.encode()) is not Format.ACCEPTED
    assert VIDEOS.format_of(f".{suffix}".encode()) is Format.OTHER


@pytest.mark.parametrize("suffix", sorted(ACCEPTED_IMAGES))
def test_no_image_is_a_video(suffix: str) -> None:
    assert VIDEOS.refused[VIDEOS.format_of(f"a.{suffix}".encode())] is RefusalReason.NOT_A_VIDEO


@pytest.mark.parametrize(("name", "format_"), [(b"a.ts", Format.UNSUPPORTED_VIDEO), (b"a.txt", Format.OTHER)])
def test_videos_of_other_formats_are_named_and_the_rest_is_skipped(name: bytes, format_: Format) -> None:
    assert VIDEOS.format_of(name) is format_
    assert (VIDEOS.refused[format_] in SKIPPED) is (format_ is Format.OTHER)


def test_a_name_that_is_no_text_is_no_video() -> None:
    assert VIDEOS.format_of(b"a.mp\xff4") is Format.OTHER
    assert VIDEOS.format_of(b"a") is Format.OTHER
