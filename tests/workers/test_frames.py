"""Frames between processes: what is none of them is refused in one way."""

from __future__ import annotations

import io

import msgspec
import pytest
from rich.pretty import pretty_repr

from rfbulk.core.fetching import FetchJob
from rfbulk.core.secrets import SignedUrl
from rfbulk.workers.frames import Fetch, FrameWriter, SetUp, read_order


def test_an_order_whose_url_is_no_text_is_refused_like_any_other() -> None:
    """Found by fuzzing: the hook for URLs answered with an error that nobody expects."""
    out = io.BytesIO()
    FrameWriter(out).write(Fetch(1, (FetchJob(1, SignedUrl("u"), b"/x", b"/x/.s", "a.jpg"),)))
    said = out.getvalue()
    assert said.count(b"\xa1u") == 1
    with pytest.raises(msgspec.ValidationError, match="text of a URL"):
        read_order(io.BytesIO(said.replace(b"\xa1u", b"\xcc\x07")))  # as long, and a number


def test_a_password_of_a_proxy_is_not_shown() -> None:
    set_up = SetUp({"https_proxy": "http://user:c4n4ry@proxy:3128"}, 5.0, None, True, 5.0)
    assert "c4n4ry" not in f"{set_up!r} {pretty_repr(set_up)}"
