"""Shards go to Azure's signed URLs, which Azurite verifies: signature, permission, end, and the type of the blob."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk import Client, RfbulkError, Settings, UploadReport
from rfbulk.core.model import RefusalReason
from tests.clouds.conftest import QUICK
from tests.support.azure_service import AzureService, GrantKind, azure_service
from tests.support.clouds import Bucket
from tests.support.folders import quick

pytestmark = pytest.mark.anyio
CANARY = "azure-canary-key"


@pytest.fixture
def service(container: Bucket) -> Iterator[AzureService]:
    with azure_service(container) as service:
        yield service
        assert service.script == []


@pytest.fixture
def images(tmp_path: Path) -> dict[str, bytes]:
    folder = tmp_path / "images"
    folder.mkdir()
    found = {f"ü {number}.jpg": b"%d" % number * 700 for number in range(60)}
    for name, data in found.items():
        (folder / name).write_bytes(data)
    return found


async def upload(service: AzureService, tmp_path: Path) -> UploadReport:
    settings = Settings(api_url=service.url, state_dir=tmp_path / "state", retry=QUICK)
    async with Client(CANARY, settings=settings) as client:
        options = quick(wait=False, shard_images=20)
        return await client.upload_images(tmp_path / "images", "blobs", options=options)


async def test_shards_land_byte_for_byte(service: AzureService, images: dict[str, bytes], tmp_path: Path) -> None:
    report = await upload(service, tmp_path)
    assert (report.sent, report.closes, report.has_failures) == (60, True, False)
    assert sorted(images.items()) == sorted(service.stored())
    assert report.unverified_shards == 3  # Azure tells an MD5, which is not compared


async def test_a_put_without_the_blobs_type_is_refused_and_its_images_are_named(
    service: AzureService, images: dict[str, bytes], tmp_path: Path
) -> None:
    service.script = ["no-type"]
    report = await upload(service, tmp_path)
    assert (report.sent, report.failed, report.closes) == (40, 20, True)
    assert {failure.reason for failure in report.failures} == {RefusalReason.REFUSED_BY_SERVICE}
    assert len(service.stored()) == 40
    assert "sig=" not in str(report.failures)


@pytest.mark.parametrize("kind", ["expired", "tampered"])
async def test_a_signature_that_is_not_honoured_is_answered_with_a_new_grant(
    service: AzureService, images: dict[str, bytes], tmp_path: Path, kind: GrantKind
) -> None:
    """The service's clock is behind, so that an expired one is believed to be good until Azure refuses it."""
    service.script, service.clock_offset = [kind], -3600.0
    report = await upload(service, tmp_path)
    assert (report.sent, report.closes, report.has_failures) == (60, True, False)
    assert sorted(images.items()) == sorted(service.stored())
    assert len(service.granted) == 4
    assert report.retries == {"forbidden": 1}


async def test_a_signature_that_is_never_honoured_fails_and_nothing_of_it_is_told(
    service: AzureService, images: dict[str, bytes], tmp_path: Path
) -> None:
    service.script = ["tampered"] * 6
    try:
        told = str(await upload(service, tmp_path))
    except RfbulkError as error:
        told = f"{error} {error.report}"
    assert service.stored() == []
    assert "sig=" not in told
    assert CANARY not in told
