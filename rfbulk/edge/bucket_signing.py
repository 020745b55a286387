"""Makes signed URLs of objects on this machine, many at a time. No URL is held or told anywhere here.

Whatever signs, a URL is given out only if its path is the very key, escaped as strictly as clouds want it signed: the
library leaves `'`, `(`, `?` and `%` of Google's keys as they are, which leads to another object, or to none.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import quote, urlsplit

from rfbulk.core import azure_sas
from rfbulk.core.secrets import SignedUrl
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from obstore.store import AzureStore, GCSStore, S3Store

Signer: TypeAlias = Callable[[Sequence[str], float], "list[SignedUrl | None]"]
"""Signs keys for so many seconds. None stands for a key that no valid URL can be made of."""


def sign_with_library(store: S3Store | GCSStore | AzureStore, cloud: str, bucket: str) -> Signer:
    """Sign as the library does: by the keys, roles or service account that it reads with."""

    def sign(keys: Sequence[str], seconds: float) -> list[SignedUrl | None]:
        import obstore  # noqa: PLC0415 - an extra

        try:
            urls = obstore.sign(store, "GET", list(keys), timedelta(seconds=int(seconds)))
        except Exception as error:  # noqa: BLE001 - of any kind, and its text may hold what it signs with
            raise _cannot_sign(cloud, bucket, type(error).__name__) from None
        return [_if_sound(url, key) for url, key in zip(urls, keys, strict=True)]

    return sign


def sign_with_account_key(key: azure_sas.AccountKey, container: str) -> Signer:
    """Sign with an Azure account's key."""

    def sign(names: Sequence[str], seconds: float) -> list[SignedUrl | None]:
        ends_at = time.time() + seconds
        return [_if_sound(azure_sas.sign_blob(key, container, name, ends_at), name) for name in names]

    return sign


def sign_with_sas(endpoint: str, container: str, token: str) -> Signer:
    """Hand on the SAS that was given: with it nothing else can be signed.

    So everybody who gets such a URL may do what the SAS permits.
    """

    def sign(names: Sequence[str], seconds: float) -> list[SignedUrl | None]:
        _check_sas(token, container, time.time() + seconds)
        return [_if_sound(f"{azure_sas.blob_url(endpoint, container, name)}?{token}", name) for name in names]

    return sign


def _check_sas(token: str, container: str, needed: float) -> None:
    end = azure_sas.end_of_sas(token)
    if not azure_sas.may_read(token):
        cause = "the SAS does not permit reading"
    elif end is not None and end < needed:
        cause = f"the SAS ends at {datetime.fromtimestamp(end, UTC):%Y-%m-%d %H:%M} UTC, before --url-expiry does"
    else:
        return
    raise UsageError(
        "sign URLs of", f"az://{container}", cause=cause, advice="make another one, or use the account key"
    )


def _if_sound(url: str, key: str) -> SignedUrl | None:
    """Return the URL if its path ends with the key, and nothing in it can be read in two ways."""
    parts = urlsplit(url)
    return SignedUrl(url) if not parts.fragment and parts.path.endswith("/" + quote(key, safe="/")) else None


def _cannot_sign(cloud: str, bucket: str, kind: str) -> UsageError:
    return UsageError(
        "sign URLs of",
        f"{cloud}://{bucket}",
        cause=f"these credentials cannot sign ({kind})",
        advice="use a key, a role or a service account, or leave out --by-reference: the images are then relayed",
    )
