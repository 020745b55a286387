"""A verifier in Google Cloud Storage's place: no emulator on PyPI lists by the XML API, none looks at a signature.

It takes a request only with a service account's own token (RS256) or a V4 signature (GOOG4-RSA-SHA256), which it
checks with the account's public key, by Google's description and with none of the code that made them. What it does
not prove: that Google itself answers as it does. URLs are signed for Google's own host, wherever they lead.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

HOST = "storage.googleapis.com"
ACCOUNT = "rfbulk@example.iam.gserviceaccount.com"


@dataclass
class Kept:
    """An object: its bytes, its generation, and when it came."""

    data: bytes
    generation: int
    at: float

    @property
    def etag(self) -> str:
        return f'"{hashlib.md5(self.data, usedforsecurity=False).hexdigest()}-{self.generation}"'


@dataclass
class GoogleStore:
    """The store: objects by bucket and key, and what befalls it, by key: a status, `short`, `replaced`, `gone`."""

    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    buckets: dict[str, dict[str, Kept]] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    page_size: int = 1000
    list_seconds: float = 0.0
    url: str = ""
    generation: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def put(self, bucket: str, key: str, data: bytes) -> None:
        with self.lock:
            self.generation += 1
            self.buckets[bucket][key] = Kept(data, self.generation, time.time())

    @property
    def account(self) -> str:
        """The account's key file."""
        pem = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        values = {
            "type": "service_account",
            "client_email": ACCOUNT,
            "private_key_id": "k",
            "private_key": pem.decode(),
        }
        return json.dumps(values)

    def verify(self, data: bytes, signature: bytes) -> bool:
        try:
            self.key.public_key().verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            return False
        return True

    def fault(self, key: str) -> str:
        with self.lock:
            waiting = self.faults.get(key, [])
            return waiting.pop(0) if waiting else ""

    def is_permitted(self, target: str, bearer: str) -> bool:
        query = urlsplit(target).query
        return self._is_signed(target) if "X-Goog-Signature" in query else self._is_token(bearer)

    def _is_token(self, bearer: str) -> bool:
        signed, _, signature = bearer.removeprefix("Bearer ").rpartition(".")
        if not signed or not self.verify(signed.encode(), _unbase64(signature)):
            return False
        claims: dict[str, Any] = json.loads(_unbase64(signed.partition(".")[2]))
        return bool(claims["iss"] == ACCOUNT and claims["exp"] > time.time())

    def _is_signed(self, target: str) -> bool:
        parts = urlsplit(target)
        pairs = dict(parse_qsl(parts.query))
        given = bytes.fromhex(pairs.pop("X-Goog-Signature"))
        query = "&".join(sorted(f"{quote(name, safe='~')}={quote(value, safe='~')}" for name, value in pairs.items()))
        path = quote(unquote(parts.path), safe="/~")
        canonical = "\n".join(["GET", path, query, f"host:{HOST}", "", "host", "UNSIGNED-PAYLOAD"])
        scope = pairs["X-Goog-Credential"].partition("/")[2]
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join(["GOOG4-RSA-SHA256", pairs["X-Goog-Date"], scope, digest])
        began = datetime.strptime(pairs["X-Goog-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
        lasts = int(pairs["X-Goog-Expires"])
        return lasts <= 604_800 and time.time() < began + lasts and self.verify(text.encode(), given)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    store: GoogleStore

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
        self.store.requests.append(f"{self.command} {key or parts.query}")
        objects = self.store.buckets.get(bucket)
        fault = self.store.fault(key or "list")
        if fault == "replaced":
            self.store.put(bucket, key, self.store.buckets[bucket][key].data[::-1])
        if fault == "gone":
            del self.store.buckets[bucket][key]
        if fault.isdigit():
            self._refuse(int(fault), "Injected")
        elif not self.store.is_permitted(self.path, self.headers.get("Authorization", "")):
            self._refuse(403, "SignatureDoesNotMatch")
        elif objects is None:
            self._refuse(404, "NoSuchBucket")
        elif not key:
            self._list(objects, dict(parse_qsl(parts.query)))
        elif key not in objects:
            self._refuse(404, "NoSuchKey")
        else:
            self._give(objects[key], is_short=fault == "short")

    def _give(self, kept: Kept, *, is_short: bool) -> None:
        if self.headers.get("If-Match", kept.etag) != kept.etag:
            self._refuse(412, "PreconditionFailed")
            return
        begin, _, end = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
        first, behind = int(begin or 0), min(int(end or len(kept.data)) + 1, len(kept.data))
        data = kept.data[first:behind]
        self.send_response(206 if begin else 200)
        self.send_header("ETag", kept.etag)
        self.send_header("x-goog-generation", str(kept.generation))
        self.send_header("Last-Modified", formatdate(kept.at, usegmt=True))
        self.send_header("Content-Length", str(len(data)))
        if begin:
            self.send_header("Content-Range", f"bytes {first}-{behind - 1}/{len(kept.data)}")
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(data[: len(data) // 2] if is_short else data)
        self.close_connection = is_short

    def _list(self, objects: dict[str, Kept], query: dict[str, str]) -> None:
        time.sleep(self.store.list_seconds)
        begin = max(query.get("continuation-token", ""), query.get("start-after", ""))
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        keys = (key for key in objects if key.startswith(prefix))
        found = sorted({_shared(key, prefix, delimiter) for key in keys} if delimiter else keys)
        found = [key for key in found if key > begin]
        page = found[: self.store.page_size]
        more = len(found) > len(page)
        rows = "".join(
            _row(key, objects[key])
            if key in objects
            else f"<CommonPrefixes><Prefix>{escape(key)}</Prefix></CommonPrefixes>"
            for key in page
        )
        token = f"<NextContinuationToken>{escape(page[-1])}</NextContinuationToken>" if more else ""
        self._answer(
            200, f"<ListBucketResult><IsTruncated>{str(more).lower()}</IsTruncated>{token}{rows}</ListBucketResult>"
        )

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, f"<Error><Code>{code}</Code><Message>{self.path}</Message></Error>")

    def _answer(self, status: int, text: str) -> None:
        body = f"<?xml version='1.0' encoding='UTF-8'?>{text}".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class _Server(ThreadingHTTPServer):
    request_queue_size = 100

    def handle_error(self, *_: object) -> None:
        """A client that was killed needs no words."""


def _shared(key: str, prefix: str, delimiter: str) -> str:
    """Return what a listing of one level shows of a key."""
    name, found, _ = key[len(prefix) :].partition(delimiter)
    return prefix + name + found


def _row(key: str, kept: Kept) -> str:
    at = datetime.fromtimestamp(kept.at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return (
        f"<Contents><Key>{escape(key)}</Key><Generation>{kept.generation}</Generation><LastModified>{at}</LastModified>"
        f"<ETag>{escape(kept.etag)}</ETag><Size>{len(kept.data)}</Size></Contents>"
    )


def _unbase64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@contextmanager
def google_store() -> Iterator[GoogleStore]:
    """Serve a store on this machine."""
    store = GoogleStore()
    handler = type("Handler", (_Handler,), {"store": store})
    with _Server(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        store.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield store
        server.shutdown()
        thread.join()
