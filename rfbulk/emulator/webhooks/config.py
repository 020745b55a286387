"""The configuration that a shard's tar may end with: whom to tell, of which ingest, about what."""

from __future__ import annotations

import msgspec

from rfbulk.emulator.webhooks.shapes import CATEGORIES, STATUS


class NotificationConfig(msgspec.Struct, frozen=True, rename="camel"):
    """Whom to tell. Fields that are not known here are passed over."""

    ingest_id: str
    notifications_url: str = msgspec.field(name="notificationsURL")
    notification_categories: list[str] | None = None

    @property
    def categories(self) -> list[str]:
        """About what; the status of the ingest unless something else was asked for."""
        return known_categories(self.notification_categories)


def read_config(raw: bytes | None) -> NotificationConfig | None:
    """Return a configuration, or None if there is none that can be read."""
    try:
        return None if raw is None else msgspec.json.decode(raw, type=NotificationConfig)
    except ValueError:
        return None


def known_categories(asked: list[str] | None) -> list[str]:
    """Return the categories that are known here, the default ones if nothing was asked for."""
    return [name for name in CATEGORIES if name in asked] if asked else [STATUS]
