"""V4 signed URLs as Google makes them, or as S3 does, made and verified with the emulator's own HMAC key.

Pure: requests come as plain values and the time is given. It never looks at a body.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_DATE_FORMAT = "%Y%m%dT%H%M%SZ"
_REQUIRED = ("Algorithm", "Credential", "Date", "Expires", "SignedHeaders")


@dataclass(frozen=True, slots=True)
class Dialect:
    """How one kind of store writes its signatures, and how it refuses an expired one."""

    prefix: str
    algorithm: str
    access_id: str
    scope: str
    key_prefix: bytes
    expired: tuple[int, str, str]


GOOGLE = Dialect(
    prefix="X-Goog-",
    algorithm="GOOG4-HMAC-SHA256",
    access_id="GOOGEMULATOR",
    scope="auto/storage/goog4_request",
    key_prefix=b"GOOG4",
    expired=(400, "ExpiredToken", "The provided token has expired."),
)
S3 = Dialect(
    prefix="X-Amz-",
    algorithm="AWS4-HMAC-SHA256",
    access_id="AKIAEMULATOR",
    scope="us-east-1/s3/aws4_request",
    key_prefix=b"AWS4",
    expired=(403, "AccessDenied", "Request has expired"),
)


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
    dialect: Dialect = GOOGLE


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
        dialect = grant.dialect
        parameters = {
            f"{dialect.prefix}Algorithm": dialect.algorithm,
            f"{dialect.prefix}Credential": f"{dialect.access_id}/{date:%Y%m%d}/{dialect.scope}",
            f"{dialect.prefix}Date": date.strftime(_DATE_FORMAT),
            f"{dialect.prefix}Expires": str(grant.seconds),
            f"{dialect.prefix}SignedHeaders": ";".join(sorted(headers)),
        }
        path = _canonical_path(grant.path)
        query = _canonical_query(list(parameters.items()))
        signature = self._signature(dialect, _canonical(grant.method, path, query, headers), parameters)
        return f"{grant.base_url.rstrip('/')}{path}?{query}&{dialect.prefix}Signature={signature}"

    def verify(self, request: SignedRequest, now: float) -> None:
        """Accept a request that was signed by this key, is unchanged, and has not expired.

        Raises:
            SignatureRefusedError: it is anything else.
        """
        parameters, given = _split_signature(request.query)
        dialect = S3 if f"{S3.prefix}Algorithm" in parameters else GOOGLE
        if not given or any(f"{dialect.prefix}{name}" not in parameters for name in _REQUIRED):
            raise SignatureRefusedError(403, "AccessDenied", "The request carries no complete V4 signature.")
        headers = _signed_headers(request.headers, dialect, parameters[f"{dialect.prefix}SignedHeaders"].split(";"))
        for path, query in _spellings(request, parameters):
            canonical = _canonical(request.method, path, query, headers)
            if hmac.compare_digest(self._signature(dialect, canonical, parameters).encode(), given.encode()):
                _check_expiry(dialect, parameters, now)
                return
        raise _mismatch("The signature we calculated does not match the one that was sent.")

    def _signature(self, dialect: Dialect, canonical: str, parameters: Mapping[str, str]) -> str:
        scope = parameters[f"{dialect.prefix}Credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        stated = [parameters[f"{dialect.prefix}Algorithm"], parameters[f"{dialect.prefix}Date"], scope, digest]
        key = _signing_key(self._secret, dialect.key_prefix, scope)
        return hmac.new(key, "\n".join(stated).encode(), "sha256").hexdigest()


@lru_cache(maxsize=16)
def _signing_key(secret: bytes, prefix: bytes, scope: str) -> bytes:
    """Derive the key of a day and a place. A page of a thousand URLs needs one."""
    key = prefix + secret
    for piece in scope.split("/"):
        key = hmac.digest(key, piece.encode(), "sha256")
    return key


def _split_signature(query: str) -> tuple[dict[str, str], str]:
    """Return a query's parameters and, apart from them, its signature; nothing if a name comes twice."""
    pairs = [piece.partition("=") for piece in query.split("&")]
    parameters = {unquote(name): unquote(value) for name, _, value in pairs}
    if len(parameters) < len(pairs):
        return {}, ""
    return parameters, parameters.pop(f"{GOOGLE.prefix}Signature", "") or parameters.pop(f"{S3.prefix}Signature", "")


def _spellings(request: SignedRequest, parameters: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return a request's path and query as they came, which is nearly always good enough, and as they should be."""
    as_sent = request.query.rpartition("&")[0]
    yield request.path, as_sent
    path, query = _canonical_path(request.path), _canonical_query(list(parameters.items()))
    if (path, query) != (request.path, as_sent):
        yield path, query


def _canonical(method: str, path: str, query: str, headers: Mapping[str, str]) -> str:
    names = sorted(headers)
    return "\n".join(
        [
            method,
            path,
            query,
            *(f"{name}:{headers[name]}" for name in names),
            "",
            ";".join(names),
            "UNSIGNED-PAYLOAD",
        ]
    )


def _signed_headers(sent: Sequence[tuple[str, str]], dialect: Dialect, names: Sequence[str]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in sent:
        values.setdefault(name.lower(), []).append(" ".join(value.split()))
    # Every extension header is signed; one that is sent beyond them was not granted.
    extension = dialect.prefix.lower()
    unknown = sorted(name for name in values if name.startswith(extension) and name not in names)
    if unknown:
        raise _mismatch(f"Headers that were not signed: {', '.join(unknown)}.")
    missing = sorted(name for name in names if name not in values)
    if missing:
        raise _mismatch(f"Signed headers that were not sent: {', '.join(missing)}.")
    return {name: ",".join(values[name]) for name in names}


def _check_expiry(dialect: Dialect, parameters: Mapping[str, str], now: float) -> None:
    date = datetime.fromisoformat(parameters[f"{dialect.prefix}Date"])
    if now >= date.timestamp() + int(parameters[f"{dialect.prefix}Expires"]):
        raise SignatureRefusedError(*dialect.expired)


def _mismatch(message: str) -> SignatureRefusedError:
    return SignatureRefusedError(403, "SignatureDoesNotMatch", message)


def _canonical_path(path: str) -> str:
    return quote(unquote(path), safe="/~")


def _canonical_query(pairs: Sequence[tuple[str, str]]) -> str:
    return "&".join(sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs))
