"""The service is given URLs signed on this machine, each of which really leads to its object, and each once."""

from __future__ import annotations

import json
import os
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from rfbulk import Client, IngestOptions, IngestReport, ObjectOptions, Settings
from rfbulk.client.bucket_ingest import Objects, open_objects
from rfbulk.core import references as limits
from rfbulk.core.model import RefusalReason
from rfbulk.emulator import Emulator
from rfbulk.emulator.signing import SignedRequest, Signer
from rfbulk.errors import NotAuthorised, UsageError
from tests.clouds.conftest import QUICK
from tests.clouds.test_relay import ODD, images
from tests.support.clouds import Bucket, account_sas, references_in
from tests.support.tls_front import tls_front

pytestmark = pytest.mark.anyio
UNSIGNED = {"50%.jpg", "50%25.jpg", "q?x#y&z=+.jpg", "tilde~'(1)!.jpg"}
"""What the library cannot sign for Google; these are named."""

ENDPOINTS = {"s3": "AWS_ENDPOINT_URL", "gs": "GOOGLE_BASE_URL", "az": "AZURE_STORAGE_ENDPOINT"}


@dataclass
class Secure:
    """A bucket behind TLS, and the authority to trust."""

    bucket: Bucket
    authority: Path

    def fetch(self, url: str) -> bytes:
        """Fetch as the service would: with nothing but the URL."""
        context = ssl.create_default_context(cafile=str(self.authority))
        with urllib.request.urlopen(url, context=context, timeout=10) as answer:  # noqa: S310 - https
            data: bytes = answer.read()
        return data


def secured(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    name = ENDPOINTS[bucket.scheme]
    plain = urlsplit(bucket.environment[name])
    with tls_front(tmp_path, plain.port or 0) as (url, authority):
        monkeypatch.setenv(name, url + plain.path)
        yield Secure(bucket, authority)


@pytest.fixture
def secure(bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    yield from secured(bucket, tmp_path, monkeypatch)


@pytest.fixture
def secure_container(container: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    yield from secured(container, tmp_path, monkeypatch)


@pytest.fixture
def secure_google(google_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Secure]:
    yield from secured(google_bucket, tmp_path, monkeypatch)


@pytest.fixture
async def trusting(emulator: Emulator, tmp_path: Path) -> AsyncIterator[Client]:
    """A client that trusts the TLS in front of the clouds."""
    authority = tmp_path / "authority.pem"
    patient = replace(QUICK, budget_seconds=60.0)  # signing 20,000 URLs of Google's takes some seconds
    settings = Settings(api_url=emulator.url, state_dir=tmp_path / "state", retry=patient, ca_file=authority)
    async with Client(emulator.api_key, settings=settings) as client:
        yield client


@pytest.fixture
def small_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of a few references, so that small buckets take several."""
    monkeypatch.setitem(limits.MAX_REFERENCES, "images", 50)


def quick(**values: Any) -> IngestOptions:
    return IngestOptions(quiet_seconds=0.0, **values)


def books(report: IngestReport) -> tuple[int, int, int, int]:
    assert report.closes
    return report.planned, report.sent, report.requests, report.duplicated


@pytest.mark.usefixtures("small_requests")
async def test_the_service_gets_every_object_by_a_url_that_leads_to_it_and_again_none(
    secure: Secure, trusting: Client, emulator: Emulator
) -> None:
    objects = images(110) | {f"in/{key}": key.encode() for key in ODD}
    secure.bucket.put_all(objects | {"in/notes.txt": b"x"})
    source = f"{secure.bucket.url}/in"
    report = await trusting.ingest_bucket(source, "refs", options=quick())
    urls = references_in(emulator, "refs")
    unsigned = {failure.path.partition("/in/")[2] for failure in report.failures}
    expected = {key.removeprefix("in/"): data for key, data in objects.items()}
    assert sorted(data for key, data in expected.items() if key not in unsigned) == sorted(
        map(secure.fetch, urls.values())
    )
    assert {failure.reason for failure in report.failures} <= {RefusalReason.NAME}
    assert unsigned == (UNSIGNED if secure.bucket.scheme == "gs" else set())
    total = len(objects) - len(unsigned)
    assert books(report) == (total, total, 3, 0)
    requests = emulator.requests["references"]
    again = await trusting.ingest_bucket(source, "refs", options=quick())
    assert (again.already_sent, emulator.requests["references"]) == (total, requests)
    assert set(emulator.ledger("refs").names.values()) == {1}


@pytest.mark.usefixtures("small_requests")
async def test_an_answer_that_is_lost_and_a_checkpoint_that_is_gone_double_nothing(
    secure: Secure, trusting: Client, emulator: Emulator
) -> None:
    secure.bucket.put_all(images(110))
    emulator.faults.add("references:swallow", "references:status=503")
    report = await trusting.ingest_bucket(f"{secure.bucket.url}/in/**", "lost", options=quick())
    assert books(report) == (110, 110, 3, 1)
    again = await trusting.ingest_bucket(f"{secure.bucket.url}/in/**", "lost", options=quick(restart=True))
    assert books(again) == (110, 110, 3, 3)
    assert set(emulator.ledger("lost").names.values()) == {1}
    assert emulator.ledger("lost").names.total() == 110


async def test_an_ingest_is_named_by_its_objects_not_by_their_signatures(
    secure: Secure, trusting: Client, emulator: Emulator
) -> None:
    secure.bucket.put_all(images(5))
    reports = [
        await trusting.ingest_bucket(
            f"{secure.bucket.url}/in",
            "named",
            objects=ObjectOptions(url_expiry_seconds=seconds),
            options=quick(restart=True),
        )
        for seconds in (600, 3600)
    ]
    assert reports[0].ingest_ids == reports[1].ingest_ids
    assert reports[1].duplicated == 1


async def test_filters_and_names_are_those_of_uploads(secure: Secure, trusting: Client, emulator: Emulator) -> None:
    secure.bucket.put_all(dict.fromkeys(("in/a.jpg", "in/cam/b.jpg", "in/cam/c.png", "in/e.heic"), b"x"))
    objects = ObjectOptions(include=("*.jpg", "*.heic"), names="path")
    report = await trusting.ingest_bucket(f"{secure.bucket.url}/in", "names", objects=objects, options=quick())
    assert set(references_in(emulator, "names")) == {"in__a.jpg", "in__cam__b.jpg"}
    assert [failure.reason for failure in report.failures] == [RefusalReason.UNSUPPORTED_IMAGE]
    with pytest.raises(UsageError, match="--names path"):
        await trusting.ingest_bucket(f"{secure.bucket.url}/in", "names", options=quick())


async def test_videos_are_referred_to_as_well(secure: Secure, trusting: Client, emulator: Emulator) -> None:
    secure.bucket.put_all({"in/a.mp4": b"video", "in/b.jpg": b"image"})
    await trusting.ingest_bucket(f"{secure.bucket.url}/in", "films", "videos", options=quick())
    urls = references_in(emulator, "films")
    assert {name: secure.fetch(url) for name, url in urls.items()} == {"a.mp4": b"video"}


async def test_urls_that_are_not_https_are_refused_before_anything_is_asked_for(
    bucket: Bucket, client: Client, emulator: Emulator
) -> None:
    bucket.put_all(images(3))
    with pytest.raises(UsageError, match="not https"):
        await client.ingest_bucket(bucket.url, "plain", options=quick())
    assert emulator.requests["references"] == 0


# what each cloud's signature is worth


async def test_azure_honours_a_url_for_its_object_and_its_time_only(secure_container: Secure, trusting: Client) -> None:
    bucket = secure_container.bucket
    bucket.put_all({"a b.jpg": b"a", "other.jpg": b"other"})
    objects = Objects([bucket.url], "images", ObjectOptions())
    source = open_objects(objects, trusting._settings).opened[0].bucket
    [signed, ended] = [source.sign(["a b.jpg"], seconds)[0] for seconds in (600.0, -60.0)]
    assert signed is not None
    assert ended is not None
    assert secure_container.fetch(signed.reveal()) == b"a"
    for url in (ended.reveal(), signed.reveal().replace("a%20b", "other"), signed.reveal().replace("sp=r", "sp=rw")):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            secure_container.fetch(url)


async def test_a_sas_is_handed_on_if_it_reads_and_lasts(
    secure_container: Secure, trusting: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket = secure_container.bucket
    bucket.put_all(images(3))
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_KEY")
    day = ObjectOptions(url_expiry_seconds=86_400)
    for token in (account_sas("rl", seconds=3600), account_sas("l", seconds=172_800)):
        monkeypatch.setenv("AZURE_SAS_TOKEN", token)
        with pytest.raises(UsageError, match="SAS"):
            await trusting.ingest_bucket(bucket.url, "sas", objects=day, options=quick())
    monkeypatch.setenv("AZURE_SAS_TOKEN", account_sas("rl", seconds=172_800))
    await trusting.ingest_bucket(bucket.url, "sas", objects=day, options=quick())
    assert sorted(map(secure_container.fetch, references_in(emulator, "sas").values())) == sorted(images(3).values())


async def test_wrong_keys_are_told_without_them(
    bucket: Bucket, client: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_all(images(3))
    if bucket.scheme == "s3":
        pytest.skip("moto looks at no signature: it would take any key")
    wrong = {"az": ("AZURE_STORAGE_ACCOUNT_KEY", "d3Jvbmcta2V5LWNhbmFyeQ=="), "gs": ("GOOGLE_SERVICE_ACCOUNT_KEY", "")}
    name, key = wrong[bucket.scheme]
    monkeypatch.setenv(name, key or json.dumps(json.loads(bucket.environment[name]) | {"client_email": "canary@x"}))
    with pytest.raises(NotAuthorised) as raised:
        await client.upload_images(bucket.url, "wrong")
    assert all(secret not in str(raised.value) for secret in (key or "canary", *bucket.secrets))


async def test_s3_urls_are_signed_as_amazon_describes_it(
    secure: Secure, trusting: Client, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto looks at no signature, so the emulator's own verifier does."""
    if secure.bucket.scheme != "s3":
        pytest.skip("the other clouds' servers verify by themselves")
    secure.bucket.put_all({f"in/{key}": b"x" for key in ODD})
    await trusting.ingest_bucket(f"{secure.bucket.url}/in", "signed", options=quick())
    signer = Signer(secure.bucket.environment["AWS_SECRET_ACCESS_KEY"].encode())
    found = emulator._entered.state.ingests
    for accepted in found.values():
        for shard in accepted.shards:
            for _, url in shard.references:
                parts = urlsplit(url)
                request = SignedRequest("GET", parts.path, parts.query, [("host", parts.netloc)])
                signer.verify(request, accepted.at)


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(not os.environ.get("RFBULK_TEST_CLOUDS"), reason="signs 90,000 URLs: `make clouds` does")
async def test_forty_five_thousand_objects_are_asked_for_once_however_often_it_is_said(
    secure_google: Secure, emulator: Emulator, trusting: Client
) -> None:
    bucket = secure_google.bucket
    for number in range(45_000):
        bucket.put(f"in/{number % 30:02}/img-{number:05}.jpg", b"%d" % number)
    emulator.faults.add("references:swallow")
    report = await trusting.ingest_bucket(f"{bucket.url}/in", "many", options=quick())
    assert books(report) == (45_000, 45_000, 3, 1)
    asked = emulator.requests["references"]
    again = await trusting.ingest_bucket(f"{bucket.url}/in", "many", options=quick())
    assert (again.already_sent, emulator.requests["references"]) == (45_000, asked)
    anew = await trusting.ingest_bucket(f"{bucket.url}/in", "many", options=quick(restart=True))
    assert books(anew) == (45_000, 45_000, 3, 3)
    assert emulator.ledger("many").names.total() == 45_000
    assert set(emulator.ledger("many").names.values()) == {1}
