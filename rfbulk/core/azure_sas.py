r"""Azure's signed URLs: a service SAS for reading one blob, made from the account's key.

The library that lists and reads signs the escaped form of a blob's name, which Azure refuses for every name with a
space or an umlaut in it; so this is done here. The text that is signed is Azure's own, of its version 2022-11-02:

    permissions \n start \n end \n /blob/account/container/name \n identifier \n IP \n protocol \n version \n
    resource \n snapshot \n encryption scope \n rscc \n rscd \n rsce \n rscl \n rsct
"""

from __future__ import annotations

import base64
import hmac
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import parse_qs, quote, urlencode

_VERSION: Final = "2022-11-02"
_DATE: Final = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True, slots=True, repr=False)
class AccountKey:
    """An Azure account and its key, which is a secret. `endpoint` is where its blobs are, without a `/` behind."""

    account: str
    endpoint: str
    key: bytes


def key_of(account: str, endpoint: str, text: str) -> AccountKey:
    """Read an account's key, which is base64.

    Raises:
        ValueError: it is not.
    """
    return AccountKey(account, endpoint.rstrip("/"), base64.b64decode(text, validate=True))


def sign_blob(key: AccountKey, container: str, name: str, ends_at: float) -> str:
    """Return a URL that lets everybody read a blob until `ends_at` (seconds since the epoch)."""
    end = datetime.fromtimestamp(ends_at, UTC).strftime(_DATE)
    resource = f"/blob/{key.account}/{container}/{name}"
    fields = ["r", "", end, resource, "", "", "", _VERSION, "b", "", "", "", "", "", "", ""]
    signature = base64.b64encode(hmac.digest(key.key, "\n".join(fields).encode(), "sha256")).decode()
    query = urlencode({"sv": _VERSION, "sr": "b", "sp": "r", "se": end, "sig": signature})
    return f"{blob_url(key.endpoint, container, name)}?{query}"


def blob_url(endpoint: str, container: str, name: str) -> str:
    """Return a blob's URL without anything that signs it."""
    return f"{endpoint.rstrip('/')}/{container}/{quote(name, safe='/~')}"


def end_of_sas(token: str) -> float | None:
    """Return when a SAS ends, in seconds since the epoch; None where it does not say."""
    values = parse_qs(token.lstrip("?")).get("se")
    try:
        end = datetime.fromisoformat(values[0]) if values else None
    except ValueError:
        return None
    return None if end is None else (end if end.tzinfo else end.replace(tzinfo=UTC)).timestamp()


def may_read(token: str) -> bool:
    """Tell whether a SAS permits reading."""
    return "r" in parse_qs(token.lstrip("?")).get("sp", [""])[0]
