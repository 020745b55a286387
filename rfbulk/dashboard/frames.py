"""Frames of a picture that changes: each painted once, however many look at it, and at most four a second.

Who has the frame before gets what changed; who has missed one gets the whole. So a slow reader costs nobody anything:
there is no queue, only the latest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

FRAME_SECONDS: Final = 0.25


class Paints(Protocol):
    """What there is to see. `revision` differs when it differs; `whole` and `changes` are as in `Painter`."""

    @property
    def revision(self) -> int:
        """A number that rises with each change."""

    def whole(self) -> dict[str, Any]:
        """Return all of it."""

    def changes(self) -> dict[str, Any]:
        """Return what is different since the last call."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What to send, as a line of JSON, and its number, to be given back for the next."""

    number: int
    data: bytes


class Frames:
    """Gives each reader its next frame. `is_over` once nothing will change any more."""

    def __init__(self, picture: Paints) -> None:
        self.is_over = False
        self._picture = picture
        self._number = 0
        self._revision = -1
        self._painted = float("-inf")
        self._changes = b""
        self._whole: bytes | None = None

    def next(self, seen: int, now: float) -> Frame | None:
        """Return what a reader lacks who has seen frame `seen` (0: none), None if nothing."""
        self._advance(now)
        if seen == self._number:
            return None
        if seen == self._number - 1 and seen:
            return Frame(self._number, self._changes)
        if self._whole is None:
            self._whole = _encoded("whole", self._picture.whole())
        return Frame(self._number, self._whole)

    def close(self) -> None:
        """Nothing will change any more: the last frame is painted at once."""
        self.is_over = True
        self._painted = float("-inf")

    def _advance(self, now: float) -> None:
        revision = self._picture.revision
        if revision == self._revision or now - self._painted < FRAME_SECONDS:
            return
        self._revision, self._painted, self._whole = revision, now, None
        self._number += 1
        self._changes = _encoded("changes", self._picture.changes())


def _encoded(kind: str, values: dict[str, Any]) -> bytes:
    try:
        return msgspec.json.encode({"kind": kind} | values)
    except UnicodeEncodeError:  # names of files may be no text
        return msgspec.json.encode({"kind": kind} | _as_text(values))


def _as_text(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode()
        case dict():
            return {_as_text(key): _as_text(each) for key, each in value.items()}
        case list() | tuple():
            return [_as_text(each) for each in value]
        case _:
            return value
