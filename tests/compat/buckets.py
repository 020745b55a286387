"""The client's road from buckets, which has their objects fetched by signed URLs, beside both of rfbulk's.

S3 is moto's and Azure is Azurite, each behind TLS, since no service takes URLs that are not https. Of Google there is
no server that the client's library (JSON API, OAuth) and ours (XML API) would both speak to. Of Azure's folders the
client signs what lies in them directly with a `/` too many if the folder is written with one, as it is with a glob:
such URLs lead nowhere, so those patterns are compared on S3 alone.
"""

from __future__ import annotations

import hashlib
import ssl
import urllib.request
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rfbulk.core.naming import source_path
from rfbulk.emulator.images import sample_image
from tests.compat.client import say
from tests.compat.roads import kind_of, rfbulk
from tests.support.clips import MARKS
from tests.support.clouds import ACCOUNT, ACCOUNT_KEY, Bucket, azurite, azurite_is_missing, moto, references_in
from tests.support.tls_front import tls_front

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.compat.client import Run
    from tests.support.clouds import NewBucket

IMAGES = 45
VIDEOS = 6
PATTERNS = (
    ("images", "in"),
    ("images", "in/day-*/*.png"),
    ("videos", "in"),
    ("videos", "in/day-*/clip-*.mp4"),
)
ON_S3 = (("images", "in/"), ("images", "in/**/*.png"), ("videos", "in/**/clip-*.mp4"))
SUFFIXES = {"images": ".png", "videos": ".mp4"}
DAYS = ("", "day-1/", "day-1/cam-2/", "day-2/")


@dataclass
class Clouds:
    """A bucket behind TLS, and what both clients need to find it."""

    run: Run
    bucket: Bucket
    environment: dict[str, str]
    authority: Path

    def compare(self, kind: str, pattern: str) -> None:
        """Fill three batches from what a pattern means, and compare what is in them."""
        source = f"{self.bucket.url}/{pattern}"
        name = f"{self.bucket.scheme}-{kind}-{hashlib.sha256(pattern.encode()).hexdigest()[:6]}"
        theirs, referred, relayed = (f"{name}-{road}" for road in ("theirs", "referred", "relayed"))
        command = [f"create-batch-of-{kind}", "--data-source", "cloud-storage", "--bucket-path", source]
        self.run.command(*command, "--batch-id", theirs, environment=self.environment)
        self.run.portal.call(self.run.emulator.settled)
        ours = ["upload", kind, source, "--names", "basename", "--quiet-period", "100ms", "--ca-file", self.authority]
        rfbulk(self.run, *map(str, ours), "--batch-id", referred, "--by-reference", environment=self.environment)
        rfbulk(self.run, *map(str, ours), "--batch-id", relayed, environment=self.environment)
        first, second, third = (self.run.emulator.ledger(batch) for batch in (theirs, referred, relayed))
        assert first.names, "nothing arrived"
        assert first.names == led_back(second.names) == led_back(third.names)
        assert all(each.endswith(SUFFIXES[kind]) for each in first.names)
        assert self.fetched(theirs) == self.fetched(referred), "the URLs lead to other objects"
        assert Counter(self.fetched(theirs).values()) == third.hashes
        kinds = [kind_of(self.run, batch) for batch in (theirs, referred, relayed)]
        assert kinds == kinds[:1] * 3, kinds

    def fetched(self, batch: str) -> dict[str, str]:
        """Fetch what the service was given URLs to, as it would; return hashes by name."""
        context = ssl.create_default_context(cafile=str(self.authority))
        hashes = {}
        for name, url in references_in(self.run.emulator, batch).items():
            with urllib.request.urlopen(url, context=context, timeout=10) as answer:  # noqa: S310 - https
                hashes[source_path(name).decode()] = hashlib.sha256(answer.read()).hexdigest()
        return hashes


def try_buckets(run: Run) -> None:
    """Let both clients read the same buckets."""
    _try_cloud(run, moto(), "AWS_ENDPOINT_URL")
    if why := azurite_is_missing():
        say(f"NOT TRIED  buckets of Azure: {why}")
    else:
        _try_cloud(run, azurite(), "AZURE_STORAGE_ENDPOINT")


def _try_cloud(run: Run, server: AbstractContextManager[NewBucket], endpoint: str) -> None:
    with server as new_bucket, _behind_tls(run, new_bucket(), endpoint) as clouds:
        clouds.bucket.put_all(_objects())
        for kind, pattern in PATTERNS + (ON_S3 if clouds.bucket.scheme == "s3" else ()):
            title = f"beside rfbulk: {kind} of {clouds.bucket.scheme}://bucket/{pattern}"
            run.step(title, partial(clouds.compare, kind, pattern))


def _objects() -> dict[str, bytes]:
    """Images and videos in some folders, no name twice, and what is neither."""
    images = {f"in/{DAYS[number % 4]}{number:03}.png": sample_image(number) for number in range(IMAGES)}
    clips = {f"in/{DAYS[number % 4]}clip-{number}.mp4": MARKS["mp4"] + b"%d" % number * 999 for number in range(VIDEOS)}
    return images | clips | {"in/notes.txt": b"notes", "other/x.png": sample_image(0), "other/x.mp4": b"other"}


@contextmanager
def _behind_tls(run: Run, bucket: Bucket, endpoint: str) -> Iterator[Clouds]:
    server = urlsplit(bucket.environment[endpoint])
    folder = run.folder / bucket.scheme
    folder.mkdir()
    with tls_front(folder, server.port or 0) as (url, authority):
        named = {"AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"}
        environment = dict.fromkeys(named, str(authority)) | bucket.environment | {endpoint: url + server.path}
        if bucket.scheme == "az":  # the one way by which the client's library hears of another endpoint
            environment = dict.fromkeys(named, str(authority))
            environment["AZURE_STORAGE_CONNECTION_STRING"] = (
                f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};"
                f"BlobEndpoint={url}{server.path};"
            )
        yield Clouds(run, bucket, environment, authority)


def led_back(names: Counter[str]) -> Counter[str]:
    """Count names as the files were called."""
    return Counter(source_path(name).decode() for name in names.elements())
