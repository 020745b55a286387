"""What a store says of an error: XML by Google, Amazon and Azure, read for two texts and never believed further."""

from __future__ import annotations

import re
from typing import Final

MAX_STORE_ERROR_BYTES: Final = 64 << 10
"""What is looked at of a store's error; they have a few hundred bytes."""

_ERROR_FIELDS: Final = {
    name: re.compile(rb"<%b>([^<]{0,4096})" % name.encode())
    for name in ("Code", "Message", "AuthenticationErrorDetail")
}


def parse_store_error(body: bytes) -> tuple[str, str]:
    """Return code and message of a store's XML error, "" where there is none. Neither is safe to show as it is.

    No XML parser touches it: two fields are wanted, and entities of a stranger's document are never expanded.
    Azure says why a signature is refused in a field of its own, which is put in front of the message.
    """
    head = body[:MAX_STORE_ERROR_BYTES]
    code, message, detail = (_text_of(pattern.search(head)) for pattern in _ERROR_FIELDS.values())
    return code[:64], f"{detail} {message}".strip()


def _text_of(match: re.Match[bytes] | None) -> str:
    if match is None:
        return ""
    from xml.sax.saxutils import unescape  # noqa: PLC0415 - it loads a dozen modules, and errors are rare

    return unescape(match[1].decode(errors="replace")).strip()
