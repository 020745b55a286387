"""Page tokens: opaque, signed, and good for the one listing that gave them.

Pure. A token that was changed, or comes from another listing, is refused.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
from dataclasses import dataclass

import msgspec

_SIGNATURE_BYTES = 16


class BadTokenError(Exception):
    """A page token was not made by this emulator for this listing."""


class _Place(msgspec.Struct, array_like=True, frozen=True):
    listing: str
    offset: int
    nonce: str


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Where a page begins and how many elements it may have."""

    offset: int
    size: int


class PageTokens:
    """Writes and reads the tokens that lead from page to page."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.digest(secret, b"page tokens", "sha256")

    def write(self, listing: str, offset: int) -> str:
        """Return a token for `offset` of `listing`; no two are alike, even for one place."""
        body = msgspec.json.encode(_Place(listing, offset, secrets.token_hex(4)))
        return base64.urlsafe_b64encode(self._sign(body) + body).decode().rstrip("=")

    def read(self, listing: str, token: str) -> int:
        """Return the offset that a token stands for.

        Raises:
            BadTokenError: the token was tampered with or belongs to another listing.
        """
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError) as error:
            raise BadTokenError from error
        signature, body = raw[:_SIGNATURE_BYTES], raw[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._sign(body)):
            raise BadTokenError
        place = msgspec.json.decode(body, type=_Place)
        if place.listing != listing:
            raise BadTokenError
        return place.offset

    def _sign(self, body: bytes) -> bytes:
        return hmac.digest(self._secret, body, "sha256")[:_SIGNATURE_BYTES]
