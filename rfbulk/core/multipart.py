"""The body of a form with one file in it, but for the file's own bytes."""

from __future__ import annotations

import re
from typing import Final

_TO_ESCAPE: Final = re.compile(r'[\x00-\x1f"\x7f]')


def form_around(name: str, boundary: str) -> tuple[bytes, bytes]:
    """Return what stands in front of a file and behind it. Its field is called like the file, as the service wants.

    `boundary` must not occur in the file.
    """
    shown = _TO_ESCAPE.sub(lambda found: f"%{ord(found.group()):02X}", name)
    head = (
        f"--{boundary}\r\n"
        f'Content-Disposition: form-data; name="{shown}"; filename="{shown}"\r\n'
        "Content-Type: application/octet-stream\r\n\r\n"
    )
    return head.encode(), f"\r\n--{boundary}--\r\n".encode()


def content_type(boundary: str) -> str:
    """Return the type of such a body."""
    return f"multipart/form-data; boundary={boundary}"
