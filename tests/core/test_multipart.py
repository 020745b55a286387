"""The form around a file is read by others as it is meant, whatever the file is called."""

from __future__ import annotations

from email.parser import BytesParser

import pytest

from rfbulk.core.multipart import content_type, form_around


@pytest.mark.parametrize("name", ["a.jpg", "grüße aus köln.png", "100%.jpg", "two words.png"])
def test_the_field_and_the_file_are_called_like_the_image(name: str) -> None:
    head, tail = form_around(name, "edge")
    whole = b"Content-Type: " + content_type("edge").encode() + b"\r\n\r\n" + head + b"\0content\r\n\xff" + tail
    message = BytesParser().parsebytes(whole)
    (part,) = list(message.walk())[1:]
    assert part.get_payload(decode=True) == b"\0content\r\n\xff"
    assert f'name="{name}"; filename="{name}"'.encode() in head


def test_a_name_cannot_leave_its_place() -> None:
    head, _ = form_around('a"\r\nEvil: 1\x00.jpg', "edge")
    assert b"Evil: 1\r\n" not in head
    assert b'name="a%22%0D%0AEvil: 1%00.jpg"' in head
