"""What a store's answer says of the bytes that it holds."""

from __future__ import annotations

import binascii
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from rfbulk.core.fetching import Check

if TYPE_CHECKING:
    from collections.abc import Mapping

_CRC32C_BYTES: Final = 4
_MD5_BYTES: Final = 16
_ETAG_MD5: Final = re.compile(r'"([0-9a-fA-F]{32})"')
_NO_MD5_ETAG: Final = ("x-amz-server-side-encryption-customer-algorithm", "x-amz-server-side-encryption-aws-kms-key-id")


class StoredHashes(NamedTuple):
    """Hashes of a whole object; None where the store tells none.

    `etag_md5` is an ETag that looks like an MD5. Stores need not mean it so: a match proves, a difference does not.
    """

    crc32c: int | None = None
    md5: bytes | None = None
    etag_md5: bytes | None = None

    @property
    def needs_md5(self) -> bool:
        """Tell whether nothing better than an MD5 is told."""
        return self.crc32c is None and (self.md5 is not None or self.etag_md5 is not None)

    @property
    def proves(self) -> bool:
        """Tell whether a whole object can be told from a damaged one."""
        return self.crc32c is not None or self.md5 is not None


class Whole(NamedTuple):
    """By what an object was found whole; None if it is not. `detail` says what is odd."""

    check: Check | None
    detail: str = ""


def google_hashes(text: str) -> dict[str, str]:
    """Return the base64 texts of an `x-goog-hash` by the names of their hashes."""
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def crc32c_of(text: str | None) -> int | None:
    """Return the CRC32C that a header's base64 spells, None if it spells none."""
    value = _decoded(text, _CRC32C_BYTES)
    return None if value is None else int.from_bytes(value, "big")


def stored_hashes(headers: Mapping[str, str], *, is_partial: bool) -> StoredHashes:
    """Return the best that the headers of an answer to a GET, names in lower case, tell of the whole object.

    =============================== =========================== ================================================
    header                          of                          not believed
    =============================== =========================== ================================================
    x-goog-hash                     the object as it is stored  where the store unpacked it on the way
    x-amz-checksum-crc32c           the object                  of an object stored in pieces (`…-7`)
    Content-MD5                     what was sent               in the answer to a range
    x-ms-blob-content-md5           the object
    ETag of 32 hexadecimal digits   the object, at S3           weak ones, `…-7`, keys of KMS or of the customer
    =============================== =========================== ================================================
    """
    if headers.get("x-goog-stored-content-encoding", "identity") != "identity":
        return StoredHashes()
    google = google_hashes(headers["x-goog-hash"]) if "x-goog-hash" in headers else {}
    crc32c = crc32c_of(google.get("crc32c") or headers.get("x-amz-checksum-crc32c"))
    if crc32c is not None:
        return StoredHashes(crc32c)
    md5_texts = (
        google.get("md5"),
        headers.get("x-ms-blob-content-md5"),
        None if is_partial else headers.get("content-md5"),
    )
    md5 = next((value for text in md5_texts if (value := _decoded(text, _MD5_BYTES)) is not None), None)
    etag = None if any(name in headers for name in _NO_MD5_ETAG) else _ETAG_MD5.fullmatch(headers.get("etag", ""))
    return StoredHashes(None, md5, bytes.fromhex(etag[1]) if etag else None)


def judge_whole(stored: StoredHashes, crc32c: int, md5: bytes | None, *, is_delimited: bool) -> Whole:
    """Tell by what an object that has come to its end is whole. The strongest that the store tells decides.

    ======================== ============ =====================================
    the store tells          and it is    the object is
    ======================== ============ =====================================
    a CRC32C                 equal        whole by it
    a CRC32C                 different    damaged
    an MD5                   equal        whole by it
    an MD5                   different    damaged
    an ETag like an MD5      equal        whole by it
    an ETag like an MD5      different    as below: not every store means one
    where it ends                         whole by its length
    nothing                               unverified
    ======================== ============ =====================================
    """
    if stored.crc32c is not None:
        return Whole(Check.CRC32C) if stored.crc32c == crc32c else Whole(None, "its CRC32C is not the store's")
    if stored.md5 is not None:
        return Whole(Check.MD5) if stored.md5 == md5 else Whole(None, "its MD5 is not the store's")
    if stored.etag_md5 is not None and stored.etag_md5 == md5:
        return Whole(Check.MD5)
    odd = "" if stored.etag_md5 is None else "its ETag looks like an MD5 and is not that of the content"
    return Whole(Check.LENGTH if is_delimited else Check.NONE, odd)


def _decoded(text: str | None, length: int) -> bytes | None:
    if not text:
        return None
    try:
        value = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return value if len(value) == length else None
