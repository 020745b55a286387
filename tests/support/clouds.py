"""Clouds on this machine, started by the tests: S3 as moto plays it, Azurite, and a verifier in Google's place.

| cloud | server | what it proves |
| --- | --- | --- |
| s3 | moto's, of PyPI | listing, reading, keys as S3 has them; it looks at no signature |
| az | Azurite, of npm | listing, reading; SAS: signature, permissions and expiry; `x-ms-blob-type` |
| gs | `google_store`, our own | tokens and V4 signatures by Google's description; its answers are as we know them |
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import obstore
from obstore.store import AzureStore, S3Store

from tests.support.google_store import GoogleStore, google_store

if TYPE_CHECKING:
    from rfbulk.emulator import Emulator

ROOT = Path(__file__).parents[2]
AZURITE = ROOT / ".venv" / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
"""Where `make clouds` puts it."""

ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Azurite's own, known to everybody."""

_NUMBERS = itertools.count(1)
_MOTO = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


@dataclass
class Bucket:
    """A bucket of its own for a test, and the variables by which it is found."""

    scheme: str
    name: str
    environment: dict[str, str]
    store: Any = field(repr=False)
    secrets: tuple[str, ...] = ()

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.name}"

    def put(self, key: str, data: bytes) -> None:
        if isinstance(self.store, GoogleStore):
            self.store.put(self.name, key, data)
        else:
            obstore.put(self.store, key, data)

    def put_all(self, objects: Mapping[str, bytes]) -> None:
        """Put many, some at a time."""
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(self.put, objects.keys(), objects.values()))

    def delete(self, key: str) -> None:
        if isinstance(self.store, GoogleStore):
            del self.store.buckets[self.name][key]
        else:
            obstore.delete(self.store, key)


NewBucket = Callable[[], Bucket]


@contextmanager
def moto() -> Iterator[NewBucket]:
    """Serve S3 from a process of its own, which ends with its standard input."""
    command = [sys.executable, "-W", "ignore", "-c", _MOTO]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        url = f"http://127.0.0.1:{int(process.stdout.readline())}"

        def new_bucket() -> Bucket:
            name = f"pictures-{next(_NUMBERS)}"
            _request("PUT", f"{url}/{name}")
            secret = "s3-secret-canary-4e0b"
            environment = {
                "AWS_ENDPOINT_URL": url,
                "AWS_ACCESS_KEY_ID": "AKIACANARY",
                "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_REGION": "us-east-1",
            }
            store = S3Store(
                name,
                endpoint=url,
                access_key_id="AKIACANARY",
                secret_access_key=secret,
                region="us-east-1",
                client_options={"allow_http": True},
            )
            return Bucket("s3", name, environment, store, (secret,))

        yield new_bucket
        process.communicate()


@contextmanager
def google() -> Iterator[NewBucket]:
    """Serve the verifier in Google's place."""
    with google_store() as store:

        def new_bucket() -> Bucket:
            name = f"pictures-{next(_NUMBERS)}"
            store.buckets[name] = {}
            environment = {"GOOGLE_BASE_URL": store.url, "GOOGLE_SERVICE_ACCOUNT_KEY": store.account}
            return Bucket("gs", name, environment, store, (store.account,))

        yield new_bucket


def azurite_is_missing() -> str:
    """Return why Azurite cannot be started, nothing if it can."""
    if shutil.which("node") is None:
        return "node is missing, so Azurite is not tried: install node and npm, then `make clouds`"
    return "" if AZURITE.exists() else "Azurite is not installed, so it is not tried: `make clouds` does it with npm"


@contextmanager
def azurite() -> Iterator[NewBucket]:
    """Serve Azure's blobs by Azurite."""
    options = ["--inMemoryPersistence", "--skipApiVersionCheck", "--disableTelemetry", "--silent"]
    command = ["node", str(AZURITE), "--blobHost", "127.0.0.1", "--blobPort", "0", *options]
    process = subprocess.Popen(command, stdout=-1, stderr=subprocess.DEVNULL, text=True, cwd="/")
    with process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "successfully listens" in line)
        endpoint = f"http://127.0.0.1:{int(line.rsplit(':', 1)[1])}/{ACCOUNT}"

        def new_bucket() -> Bucket:
            name = f"pictures-{next(_NUMBERS)}"
            _request("PUT", f"{endpoint}/{name}?restype=container&{account_sas()}")
            environment = {
                "AZURE_STORAGE_ACCOUNT_NAME": ACCOUNT,
                "AZURE_STORAGE_ACCOUNT_KEY": ACCOUNT_KEY,
                "AZURE_STORAGE_ENDPOINT": endpoint,
            }
            store = AzureStore(
                name,
                endpoint=endpoint,
                account_name=ACCOUNT,
                account_key=ACCOUNT_KEY,
                client_options={"allow_http": True},
            )
            return Bucket("az", name, environment, store, (ACCOUNT_KEY,))

        yield new_bucket
        process.terminate()
        process.communicate()


def account_sas(permissions: str = "rwdlac", *, seconds: float = 3600.0, key: str = ACCOUNT_KEY) -> str:
    """Sign a SAS of the whole account, by Azure's description and with none of the code that is tried."""
    version = "2021-06-08"
    end = (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = [ACCOUNT, permissions, "b", "sco", "", end, "", "https,http", version, "", ""]
    digest = hmac.digest(base64.b64decode(key), "\n".join(fields).encode(), "sha256")
    values = {"sv": version, "ss": "b", "srt": "sco", "sp": permissions, "se": end, "spr": "https,http"}
    return urlencode(values | {"sig": base64.b64encode(digest).decode()}, quote_via=quote)


def _request(method: str, url: str) -> None:
    with urllib.request.urlopen(urllib.request.Request(url, method=method), timeout=10):  # noqa: S310 - loopback
        pass


def references_in(emulator: Emulator, batch: str) -> dict[str, str]:
    """Return what the service was given for a batch: URLs by name."""
    ingests = emulator._entered.state.ingests
    shards = [shard for (of, _), accepted in ingests.items() if of == batch for shard in accepted.shards]
    return {name: url for shard in shards for name, url in shard.references}


def hash_of(data: bytes) -> str:
    """Hash an image as the emulator's ledger does."""
    return hashlib.sha256(data).hexdigest()


def all_clouds() -> bool:
    """Whether all clouds are asked for: `make clouds` says so, and then none may be skipped."""
    return os.environ.get("RFBULK_TEST_CLOUDS") == "all"
