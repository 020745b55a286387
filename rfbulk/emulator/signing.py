"""Google V4 signed URLs, made and verified with the emulator's own HMAC key.

Pure: requests come as plain values and the time is given. It never looks at a body.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ALGORITHM = "GOOG4-HMAC-SHA256"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_ACCESS_ID = "GOOGEMULATOR"
_SCOPE = "auto/storage/goog4_request"
_REQUIRED = ("X-Goog-Algorithm", "X-Goog-Credential", "X-Goog-Date", "X-Goog-Expires", "X-Goog-SignedHeaders")


class SignatureRefusedError(Exception):
    """A signed URL was not honoured: the store's status, error code and message."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """The parts of a request that a signature covers; the query as it stood on the wire."""

    method: str
    path: str
    query: str
    headers: Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class UrlGrant:
    """What a signed URL shall permit: one method on one path, with exactly these extension headers."""

    method: str
    base_url: str
    path: str
    headers: Mapping[str, str]
    seconds: int


class Signer:
    """Makes signed URLs and verifies requests that carry one."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, grant: UrlGrant, now: float) -> str:
        """Return the URL that permits `grant` from `now` on.

        The caller must send exactly the grant's headers with it, and its host.
        """
        date = datetime.fromtimestamp(now, UTC)
        host = grant.base_url.split("://", 1)[1].rstrip("/")
        headers = {"host": host, **{name.lower(): value for name, value in grant.headers.items()}}
        parameters = {
            "X-Goog-Algorithm": ALGORITHM,
            "X-Goog-Credential": f"{_ACCESS_ID}/{date:%Y%m%d}/{_SCOPE}",
            "X-Goog-Date": date.strftime(_DATE_FORMAT),
            "X-Goog-Expires": str(grant.seconds),
            "X-Goog-SignedHeaders": ";".join(sorted(headers)),
        }
        path = _canonical_path(grant.path)
        query = _canonical_query(list(parameters.items()))
        signature = self._signature(grant.method, path, parameters, headers)
        return f"{grant.base_url.rstrip('/')}{path}?{query}&X-Goog-Signature={signature}"

    def verify(self, request: SignedRequest, now: float) -> None:
        """Accept a request that was signed by this key, is unchanged, and has not expired.

        Raises:
            SignatureRefusedError: it is anything else.
        """
        pairs = parse_qsl(request.query, keep_blank_values=True)
        parameters = dict(pairs)
        given = parameters.pop("X-Goog-Signature", "")
        if not given or len(parameters) != len(pairs) - 1 or any(name not in parameters for name in _REQUIRED):
            raise SignatureRefusedError(403, "AccessDenied", "The request carries no complete V4 signature.")
        headers = _signed_headers(request.headers, parameters["X-Goog-SignedHeaders"].split(";"))
        wanted = self._signature(request.method, _canonical_path(request.path), parameters, headers)
        if not hmac.compare_digest(wanted.encode(), given.encode()):
            raise _mismatch("The signature we calculated does not match the one that was sent.")
        _check_expiry(parameters, now)

    def _signature(self, method: str, path: str, parameters: Mapping[str, str], headers: Mapping[str, str]) -> str:
        names = sorted(headers)
        canonical = "\n".join(
            [
                method,
                path,
                _canonical_query(list(parameters.items())),
                *(f"{name}:{headers[name]}" for name in names),
                "",
                ";".join(names),
                "UNSIGNED-PAYLOAD",
            ]
        )
        scope = parameters["X-Goog-Credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join([parameters["X-Goog-Algorithm"], parameters["X-Goog-Date"], scope, digest])
        key = b"GOOG4" + self._secret
        for piece in scope.split("/"):
            key = hmac.digest(key, piece.encode(), "sha256")
        return hmac.new(key, text.encode(), "sha256").hexdigest()


def _signed_headers(sent: Sequence[tuple[str, str]], names: Sequence[str]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in sent:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    # Google signs every extension header; one that is sent beyond them was not granted.
    unknown = sorted(name for name in values if name.startswith("x-goog-") and name not in names)
    if unknown:
        raise _mismatch(f"Headers that were not signed: {', '.join(unknown)}.")
    missing = sorted(name for name in names if name not in values)
    if missing:
        raise _mismatch(f"Signed headers that were not sent: {', '.join(missing)}.")
    return {name: ",".join(values[name]) for name in names}


def _check_expiry(parameters: Mapping[str, str], now: float) -> None:
    date = datetime.strptime(parameters["X-Goog-Date"], _DATE_FORMAT).replace(tzinfo=UTC)
    if now >= date.timestamp() + int(parameters["X-Goog-Expires"]):
        raise SignatureRefusedError(400, "ExpiredToken", "The provided token has expired.")


def _mismatch(message: str) -> SignatureRefusedError:
    return SignatureRefusedError(403, "SignatureDoesNotMatch", message)


def _canonical_path(path: str) -> str:
    return quote(unquote(path), safe="/~")


def _canonical_query(pairs: Sequence[tuple[str, str]]) -> str:
    return "&".join(sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs))
