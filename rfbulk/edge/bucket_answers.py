"""What the library's errors mean, told without its own words: those hold URLs, which may hold a SAS."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from rfbulk.core.retry_after import is_passing_status
from rfbulk.edge.bucket_troubles import BucketTrouble
from rfbulk.errors import NotAuthorised, RfbulkError, SourceError

if TYPE_CHECKING:
    from rfbulk.core.objects import Address

_STATUS: Final = re.compile(r"non-2xx status code: ([0-9]{3})")
_CODE: Final = re.compile(r"<Code>([A-Za-z0-9]{1,60})</Code>")
_INVALID_KEY: Final = re.compile(r"""Path "(.{1,1024}?)"(?: contained|: Encountered)""", re.DOTALL)
_METADATA: Final = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google\.internal|metadata/identity")
_BAD_CREDENTIALS: Final = frozenset(
    {
        "AuthenticationFailed",
        "AuthorizationFailure",
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidAuthenticationInfo",
        "InvalidToken",
        "NoAuthenticationInformation",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    }
)
"""Codes of refusals that meet every object alike: the credentials are at fault, not the object."""

_NO_BUCKET: Final = frozenset({"NoSuchBucket", "ContainerNotFound", "ContainerBeingDeleted"})


class ObjectGone(Exception):
    """There is no object of that key."""


class ObjectReplaced(ObjectGone):
    """There is no longer the version that was begun with."""


class KeyMisspelled(Exception):
    """A page holds a key that the library cannot spell, and is lost with it."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key


class ObjectDenied(Exception):
    """That object may not be read."""


def translated(error: Exception, address: Address, *, is_listing: bool) -> Exception:
    """Tell what an error of the library means.

    ============================================ ==========================
    what happened                                becomes
    ============================================ ==========================
    404 / 412 of an object                       ObjectGone / ObjectReplaced
    404 of the bucket                            SourceError
    401, a code that blames the credentials      NotAuthorised
    403 of a listing / of an object              NotAuthorised / ObjectDenied
    a redirect: the bucket is elsewhere          SourceError
    a key that the library cannot spell          KeyMisspelled of a listing, else SourceError
    408, 429, 5xx, no connection, cut short      BucketTrouble
    any other answer                             SourceError
    ============================================ ==========================
    """
    text, kind = str(error), type(error).__name__
    status = int(found[1]) if (found := _STATUS.search(text)) else 0
    code = found[1] if (found := _CODE.search(text)) else ""
    if code in _NO_BUCKET or (is_listing and status == 404):
        return _unreadable(SourceError, address, "there is no such bucket", "check its name and its account")
    if status == 412 or kind == "PreconditionError":  # it was replaced while it was read
        return ObjectReplaced()
    if isinstance(error, FileNotFoundError) or status == 404:  # 404: of a stream's rest
        return ObjectGone()
    if kind == "InvalidPathError" or (isinstance(error, ValueError) and not status):
        return _misspelled(text, address, is_listing=is_listing)
    if _METADATA.search(text):
        return _unreadable(NotAuthorised, address, "no credentials were found", "set the cloud's variables")
    said = f"the store answered {status} {code}".rstrip()
    if status == 401 or code in _BAD_CREDENTIALS or (status == 403 and is_listing):
        return _unreadable(NotAuthorised, address, said, "check the credentials, and that they may list and read")
    if status == 403:
        return ObjectDenied(said)
    if status // 100 == 3 or "redirect" in text.lower():
        return _unreadable(SourceError, address, "the bucket is in another region", "set AWS_REGION")
    if status and not is_passing_status(status):
        return _unreadable(SourceError, address, said, "check the address and the endpoint")
    return BucketTrouble(said if status else "no answer came from the store")


def _misspelled(text: str, address: Address, *, is_listing: bool) -> Exception:
    found = _INVALID_KEY.search(text)
    if found and is_listing:
        return KeyMisspelled(found[1])
    return misspelled(found[1] if found else None, address)


def misspelled(key: str | None, address: Address) -> RfbulkError:
    """Return the error of a bucket that cannot be listed past a key."""
    cause = (
        "it holds a key that cannot be read"
        if key is None
        else f"the key {key!r} has an empty component, `.`, `..`, or a control character in it"
    )
    return _unreadable(SourceError, address, cause, "rename the object, or name folders beside it")


def _unreadable(kind: type[RfbulkError], address: Address, cause: str, advice: str) -> RfbulkError:
    return kind("read source", address.url, cause=cause, advice=advice)
