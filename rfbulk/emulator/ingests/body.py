"""The bodies that ask for ingests, read strictly. Pure."""

from __future__ import annotations

import hashlib
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

MAX_REFERENCES = 20_000

_Text = Annotated[str, Meta(min_length=1)]
_Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+")]


class Reference(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file elsewhere, and the name that it shall have."""

    name: _Text
    url: _Text


_References = Annotated[list[Reference], Meta(min_length=1, max_length=MAX_REFERENCES)]


class _Strict(msgspec.Struct, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    ingest_id: _Text | None = None
    notifications_url: _Url | None = msgspec.field(name="notificationsURL", default=None)


class Query(_Strict):
    """What the platform itself shall look up."""

    query: _Text
    display_name: _Text | None = None


class _Asked(_Strict):
    notification_categories: list[_Text] | None = None


class _Images(_Asked):
    references: _References | None = msgspec.field(name="imageReferences", default=None)
    list_url: _Text | None = msgspec.field(name="imageReferencesURL", default=None)


class _Videos(_Asked):
    references: _References | None = msgspec.field(name="videoReferences", default=None)
    list_url: _Text | None = msgspec.field(name="videoReferencesURL", default=None)


Asked = _Images | _Videos


def read_query(body: bytes) -> Query:
    """Read the body of a query.

    Raises:
        ValueError: it is none; the text says what is wrong and where.
    """
    return msgspec.json.decode(body, type=Query)


def read_references(body: bytes, *, videos: bool) -> Asked:
    """Read the body of an ingest of references: all https, no name twice, not too many.

    Raises:
        ValueError: it is none; the text says what is wrong and where.
    """
    asked: Asked = msgspec.json.decode(body, type=_Videos) if videos else msgspec.json.decode(body, type=_Images)
    if (asked.references is None) == (asked.list_url is None):
        raise ValueError("either references or the URL of a list of them must be given")
    if asked.list_url is not None:
        _check_url(asked.list_url, "the URL of the list")
    names = set()
    for place, reference in enumerate(asked.references or ()):
        _check_url(reference.url, f"`$.references[{place}].url`")
        if reference.name in names or "/" in reference.name:
            raise ValueError(f"names must be plain and unique - at `$.references[{place}].name`")
        names.add(reference.name)
    return asked


def ingest_id_of(asked: Asked | Query, body: bytes) -> str:
    """Return the ingest's name; without one, the same body has the same name, so that a repeated call is known."""
    return asked.ingest_id or f"ingest-{hashlib.sha256(body).hexdigest()[:32]}"


def _check_url(url: str, what: str) -> None:
    parts = urlsplit(url)
    if parts.scheme != "https" or not parts.hostname or "@" in parts.netloc:
        raise ValueError(f"only https URLs are taken - at {what}")
