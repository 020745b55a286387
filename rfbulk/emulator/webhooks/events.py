"""What can happen to notifications, as small records. They are journaled, so their fields are a format."""

from __future__ import annotations

import msgspec


class NoticeDue(msgspec.Struct, frozen=True, tag="notice"):
    """Somebody is to be told."""

    event_id: str
    url: str
    body: dict[str, object]
    at: float


class NoticeSettled(msgspec.Struct, frozen=True, tag="notice-settled"):
    """Somebody was told, or it was given up."""

    event_id: str
    taken: bool


NoticeEvent = NoticeDue | NoticeSettled
