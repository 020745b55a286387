"""Upload a flat folder by blocking sockets in two threads: the least that Python can do, over plain HTTP or TLS.

    python threads.py FOLDER API BATCH [AUTHORITY]

No retries, checkpoint, hash or limits: what rfbulk's CPU time is compared with. It packs as rfbulk does, with heads
made by hand and one buffer for each thread, and asks for a grant before each shard.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
BUFFER_BYTES = 512 << 10
SHARD_FILES = 500
THREADS = 2
_TAIL = b"0" + bytes(100) + b"ustar\x0000" + bytes(247)


def main(folder: str, api: str, batch: str, authority: str = "") -> None:
    """Upload all of it."""
    context = ssl.create_default_context(cafile=authority) if authority else None
    shards = _shards(folder)
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        try:
            _Uploader(folder, api, batch, context).send_all(shards, lock)
        except BaseException as error:  # noqa: BLE001 - told by the main thread
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def _shards(folder: str) -> Iterator[list[tuple[str, int, int]]]:
    shard: list[tuple[str, int, int]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            status = entry.stat()
            shard.append((entry.name, status.st_size, int(status.st_mtime)))
            if len(shard) == SHARD_FILES:
                yield shard
                shard = []
    if shard:
        yield shard


class _Uploader:
    """One thread's connections and buffer."""

    def __init__(self, folder: str, api: str, batch: str, context: ssl.SSLContext | None) -> None:
        self._folder = os.open(folder, os.O_RDONLY)
        self._api = http.client.HTTPConnection(urlsplit(api).netloc)
        self._path = f"/data-staging/v1/external/bench/batches/{batch}/bulk-upload/image-files?api_key=bench"
        self._context = context
        self._store: http.client.HTTPConnection | None = None
        self._buffer = memoryview(bytearray(BUFFER_BYTES))

    def send_all(self, shards: Iterator[list[tuple[str, int, int]]], lock: threading.Lock) -> None:
        while True:
            with lock:
                shard = next(shards, None)
            if shard is None:
                return
            self._send(shard)

    def _send(self, shard: list[tuple[str, int, int]]) -> None:
        self._api.request("POST", self._path)
        details = json.loads(self._api.getresponse().read())["signedURLDetails"]
        url = urlsplit(details["uploadURL"])
        if self._store is None and self._context is not None:
            self._store = http.client.HTTPSConnection(url.netloc, context=self._context)
        store = self._store = self._store or http.client.HTTPConnection(url.netloc)
        store.putrequest("PUT", f"{url.path}?{url.query}", skip_accept_encoding=True)
        length = sum(BLOCK + (size + BLOCK - 1) // BLOCK * BLOCK for _, size, _ in shard) + 2 * BLOCK
        for name, value in {**details["extensionHeaders"], "Content-Length": length}.items():
            store.putheader(name, str(value))
        store.endheaders()
        for chunk in self._chunks(shard):
            store.sock.sendall(chunk)
        answer = store.getresponse()
        answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise SystemExit(f"the store answered {answer.status}")

    def _chunks(self, shard: list[tuple[str, int, int]]) -> Iterator[memoryview]:
        """Fill the buffer over and over: what is sent has been copied before it is filled again."""
        buffer, used = self._buffer, 0
        for name, size, mtime in shard:
            if used + 2 * BLOCK + size > BUFFER_BYTES:
                yield buffer[:used]
                used = 0
            buffer[used : used + BLOCK] = _head(name, size, mtime)
            used += BLOCK
            file = os.open(name, os.O_RDONLY, dir_fd=self._folder)
            left = size
            while left:
                count = os.readv(file, (buffer[used : used + left],))
                used, left = used + count, left - count
                if used == BUFFER_BYTES:
                    yield buffer
                    used = 0
            os.close(file)
            filler = -size % BLOCK
            buffer[used : used + filler] = bytes(filler)
            used += filler
        if used + 2 * BLOCK > BUFFER_BYTES:
            yield buffer[:used]
            used = 0
        buffer[used : used + 2 * BLOCK] = bytes(2 * BLOCK)
        yield buffer[: used + 2 * BLOCK]


def _head(name: str, size: int, mtime: int) -> bytes:
    front = name.encode().ljust(100, b"\0") + b"0000644\x000000000\x000000000\x00%011o\x00%011o\x00" % (size, mtime)
    return front + b"%06o\x00 " % (sum(front) + sum(_TAIL) + 8 * 32) + _TAIL


if __name__ == "__main__":
    main(*sys.argv[1:])
