"""A data staging service of three calls whose grants are real SAS URLs of a container: what a store of Azure's takes.

Nothing is indexed: what arrived is looked up in the container.
"""

from __future__ import annotations

import io
import json
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal, TypeAlias

import obstore

from tests.support.clouds import Bucket, account_sas

GrantKind: TypeAlias = Literal["good", "no-type", "expired", "tampered"]


@dataclass
class AzureService:
    """The service. `script` says how the next grants are, in order; those behind it are good."""

    container: Bucket
    script: list[GrantKind] = field(default_factory=list)
    granted: list[GrantKind] = field(default_factory=list)
    clock_offset: float = 0.0
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def grant(self) -> dict[str, object]:
        with self.lock:  # shards ask at the same time, and no two may get one name
            kind: GrantKind = self.script.pop(0) if self.script else "good"
            self.granted.append(kind)
            number = len(self.granted)
        sas = account_sas("cw", seconds=-60.0 if kind == "expired" else 600.0)
        if kind == "tampered":
            sas = sas.replace("sp=cw", "sp=cwd")  # more than was signed
        endpoint = self.container.environment["AZURE_STORAGE_ENDPOINT"]
        return {
            "uploadURL": f"{endpoint}/{self.container.name}/shards/{number}.tar?{sas}",
            "method": "PUT",
            "extensionHeaders": {} if kind == "no-type" else {"x-ms-blob-type": "BlockBlob"},
        }

    def stored(self) -> list[tuple[str, bytes]]:
        """Return the members of all tars that were stored: names and bytes."""
        members: list[tuple[str, bytes]] = []
        for page in obstore.list(self.container.store, "shards", chunk_size=1000):
            for found in page:
                tar = bytes(obstore.get(self.container.store, found["path"]).bytes())
                with tarfile.open(fileobj=io.BytesIO(tar), mode="r:") as archive:
                    members += [(each.name, file.read()) for each in archive if (file := archive.extractfile(each))]
        return members


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    service: AzureService

    def do_GET(self) -> None:
        is_root = self.path.startswith("/?")
        self._answer(200 if is_root else 404, {"workspace": "azure"} if is_root else {"error": "no batch"})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._answer(200, {"status": "ok", "signedURLDetails": self.service.grant()})

    def date_time_string(self, _timestamp: float | None = None) -> str:
        return formatdate(time.time() + self.service.clock_offset, usegmt=True)

    def _answer(self, status: int, values: dict[str, object]) -> None:
        body = json.dumps(values).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def azure_service(container: Bucket) -> Iterator[AzureService]:
    """Serve it on this machine."""
    service = AzureService(container)
    handler = type("Handler", (_Handler,), {"service": service})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        service.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield service
        server.shutdown()
        thread.join()
