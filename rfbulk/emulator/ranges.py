"""Which bytes of a file a download asks for. Pure.

| asked | given |
| --- | --- |
| nothing, another unit, several ranges, or what cannot be read | the whole file |
| `bytes=a-b`, `bytes=a-`, `bytes=-n` | that range, cut to the file |
| a range that begins behind the file, or the last nought bytes | refused |
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes from `start` up to, but not with, `end`."""

    start: int
    end: int

    @property
    def size(self) -> int:
        """How many bytes they are."""
        return self.end - self.start

    def said(self, whole: int) -> str:
        """Return it as `Content-Range` says it, of a file of `whole` bytes."""
        return f"bytes {self.start}-{self.end - 1}/{whole}"


class UnsatisfiableError(Exception):
    """None of the bytes that were asked for are there."""


def asked_span(text: str | None, size: int) -> Span | None:
    """Return the range that a `Range` header asks for, or None for the whole file.

    Raises:
        UnsatisfiableError: the file has no such bytes.
    """
    match = _RANGE.fullmatch((text or "").strip())
    if match is None:
        return None
    first, last = match.groups()
    if first:
        return _from_place(int(first), int(last) if last else None, size)
    if not last:
        return None
    if not int(last) or not size:
        raise UnsatisfiableError
    return Span(max(size - int(last), 0), size)


def _from_place(first: int, last: int | None, size: int) -> Span | None:
    if last is not None and last < first:
        return None
    if first >= size:
        raise UnsatisfiableError
    return Span(first, size if last is None else min(last + 1, size))


def is_current(if_range: str | None, etag: str | None, modified: int) -> bool:
    """Tell whether a range may be given: without `If-Range`, or if the file is still the one that it names.

    A weak tag is never enough, and a date must be the very second.
    """
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return etag is not None and not etag.startswith("W/") and if_range == etag
    try:
        return int(parsedate_to_datetime(if_range).timestamp()) == modified
    except ValueError:
        return False
