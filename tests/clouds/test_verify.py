"""An audit of what went from a bucket, by either road: silent where all agree, and naming what has changed since."""

from __future__ import annotations

from collections import Counter

import pytest

from rfbulk import Client, ObjectOptions, VerifyReport
from tests.clouds.test_references import Secure, quick, secure, trusting  # noqa: F401 - fixtures
from tests.clouds.test_relay import images
from tests.support.clouds import Bucket
from tests.support.folders import quick as quick_upload

pytestmark = pytest.mark.anyio


def named(report: VerifyReport) -> Counter[str]:
    assert report.closes
    return Counter(difference.kind.value for difference in report.differences)


@pytest.fixture
def filled(bucket: Bucket) -> Bucket:
    bucket.put_all({f"photos/{key}": data for key, data in images(30).items()})
    return bucket


async def test_a_relay_is_audited_against_the_bucket(client: Client, filled: Bucket) -> None:
    await client.upload_images(f"{filled.url}/photos/", "spring", options=quick_upload())
    for source in (None, f"{filled.url}/photos/", f"{filled.url}/photos"):
        report = await client.verify("spring", source)
        assert (named(report), report.books.same, report.agrees) == (Counter(), 30, True)
    keys = sorted(images(30))
    filled.delete(f"photos/{keys[0]}")
    filled.put(f"photos/{keys[1]}", b"\xff\xd8 another image, of another size")
    filled.put("photos/new.jpg", b"\xff\xd8new")
    report = await client.verify("spring")
    assert named(report) == {"gone": 1, "changed": 1, "new": 1}


async def test_references_to_a_bucket_are_audited_against_it(
    secure: Secure,  # noqa: F811 - a fixture
    trusting: Client,  # noqa: F811
    filled: Bucket,
) -> None:
    source, objects = f"{filled.url}/photos/", ObjectOptions(exclude=("*.png",))
    report = await trusting.ingest_bucket(source, "linked", objects=objects, options=quick())
    audit = await trusting.verify("linked")
    assert (named(audit), audit.books.same) == (Counter(), report.sent)
    filled.put("photos/new.jpg", b"\xff\xd8new")
    audit = await trusting.verify("linked", source)
    assert named(audit) == {"new": 1}
    assert secure.bucket is filled
