from __future__ import annotations

import base64
import hashlib

import pytest

from rfbulk.core.fetching import Check
from rfbulk.core.hashes import StoredHashes, Whole, crc32c_of, google_hashes, judge_whole, stored_hashes

MD5 = hashlib.md5(b"abc", usedforsecurity=False).digest()
TEXT = base64.b64encode(MD5).decode()
ETAG = f'"{MD5.hex()}"'
CRC, CRC_TEXT = 1, "AAAAAQ=="


@pytest.mark.parametrize(
    ("headers", "is_partial", "expected"),
    [
        ({}, False, StoredHashes()),
        ({"x-goog-hash": f"crc32c={CRC_TEXT}, md5={TEXT}"}, False, StoredHashes(CRC)),
        ({"x-goog-hash": f"md5={TEXT}"}, True, StoredHashes(None, MD5)),
        ({"x-goog-hash": f"crc32c={CRC_TEXT}", "x-goog-stored-content-encoding": "gzip"}, False, StoredHashes()),
        ({"x-goog-hash": f"crc32c={CRC_TEXT}", "x-goog-stored-content-encoding": "identity"}, False, StoredHashes(CRC)),
        ({"x-amz-checksum-crc32c": CRC_TEXT}, True, StoredHashes(CRC)),
        ({"x-amz-checksum-crc32c": CRC_TEXT + "-7"}, False, StoredHashes()),
        ({"content-md5": TEXT}, False, StoredHashes(None, MD5)),
        ({"content-md5": TEXT}, True, StoredHashes()),
        ({"x-ms-blob-content-md5": TEXT, "etag": '"0x8D"'}, True, StoredHashes(None, MD5)),
        ({"etag": ETAG}, False, StoredHashes(None, None, MD5)),
        ({"etag": f"W/{ETAG}"}, False, StoredHashes()),
        ({"etag": ETAG[:-1] + '-3"'}, False, StoredHashes()),
        ({"etag": ETAG, "x-amz-server-side-encryption-aws-kms-key-id": "k"}, False, StoredHashes()),
        ({"etag": ETAG, "x-goog-stored-content-encoding": "gzip"}, False, StoredHashes()),
        ({"content-md5": "nonsense", "x-goog-hash": "crc32c=AAA="}, False, StoredHashes()),
        ({"x-goog-hash": "=,,crc32c"}, False, StoredHashes()),
    ],
)
def test_the_best_hash_of_the_whole_object_is_told(
    headers: dict[str, str], is_partial: bool, expected: StoredHashes
) -> None:
    assert expected == stored_hashes(headers, is_partial=is_partial)


@pytest.mark.parametrize(
    ("stored", "is_delimited", "expected"),
    [
        (StoredHashes(CRC), True, Check.CRC32C),
        (StoredHashes(CRC + 1), True, None),
        (StoredHashes(None, MD5), False, Check.MD5),
        (StoredHashes(None, b"x" * 16), True, None),
        (StoredHashes(None, None, MD5), False, Check.MD5),
        (StoredHashes(None, None, b"x" * 16), True, Check.LENGTH),
        (StoredHashes(None, None, b"x" * 16), False, Check.NONE),
        (StoredHashes(), True, Check.LENGTH),
        (StoredHashes(), False, Check.NONE),
    ],
)
def test_the_strongest_word_of_the_store_decides(
    stored: StoredHashes, is_delimited: bool, expected: Check | None
) -> None:
    assert expected is judge_whole(stored, CRC, MD5, is_delimited=is_delimited).check


def test_an_etag_that_differs_is_told_and_fails_nothing() -> None:
    """Stores that encrypt with keys of their own give ETags that look like an MD5 and are none."""
    whole = judge_whole(StoredHashes(None, None, b"x" * 16), CRC, MD5, is_delimited=True)
    assert whole == Whole(Check.LENGTH, "its ETag looks like an MD5 and is not that of the content")


def test_md5_is_needed_only_where_nothing_better_is_told() -> None:
    needing = [StoredHashes(CRC, MD5).needs_md5, StoredHashes(None, MD5).needs_md5, StoredHashes().needs_md5]
    assert needing == [False, True, False]


@pytest.mark.parametrize("text", [None, "", "AAAA", "AAAAAAAA", "é", "AAAAA Q=="])
def test_nonsense_is_no_hash(text: str | None) -> None:
    assert crc32c_of(text) is None


def test_hashes_of_google_are_read_by_name() -> None:
    assert google_hashes("CRC32C=AAAAAQ==,md5 = x=") == {"crc32c": "AAAAAQ==", "md5": "x="}
