"""An emulator and a plain client of it, on both event loops."""

from __future__ import annotations

import io
import tarfile
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import aiohttp
import orjson
import pytest
from yarl import URL

from rfbulk.emulator import Emulator, EmulatorOptions

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

JSON = Any  # bodies are looked into freely here; their shapes are what is tested


@pytest.fixture(
    params=[("asyncio", {"use_uvloop": False}), ("asyncio", {"use_uvloop": True})],
    ids=["asyncio", "uvloop"],
)
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    backend: tuple[str, dict[str, bool]] = request.param
    return backend


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes
    hashes: tuple[str, ...] = ()

    @property
    def json(self) -> JSON:
        return orjson.loads(self.body)


def make_tar(files: Mapping[str, bytes]) -> bytes:
    """Return a pax tar as the standard library writes it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


async def _once(content: bytes) -> AsyncIterator[bytes]:
    """Give a body that cannot be sent a second time: aiohttp would do so without a word."""
    yield content


@dataclass
class Peer:
    """Speaks to an emulator as any HTTP client would."""

    emulator: Emulator
    session: aiohttp.ClientSession
    batch_id: str = "b1"
    tar: bytes = field(default_factory=lambda: make_tar({"a.png": b"first", "b.jpg": b"second"}))

    @property
    def batches_url(self) -> str:
        return f"{self.emulator.url}/data-staging/v1/external/{self.emulator.workspace}/batches"

    async def call(self, method: str, path: str, **parameters: str) -> Answer:
        """Call the API with the key; `path` begins behind the batch."""
        query = {"api_key": self.emulator.api_key, **parameters}
        url = f"{self.batches_url}/{self.batch_id}{path}"
        return await self.send(method, url, params=query)

    async def get(self, path: str, **parameters: str) -> Answer:
        return await self.call("GET", path, **parameters)

    async def send(self, method: str, url: str | URL, **arguments: Any) -> Answer:
        async with self.session.request(method, url, **arguments) as response:
            assert response.status != 500, "the emulator itself failed"
            hashes = tuple(response.headers.getall("x-goog-hash", ()))
            return Answer(response.status, response.headers, await response.read(), hashes)

    async def grant(self, **parameters: str) -> JSON:
        answer = await self.call("POST", "/bulk-upload/image-files", **parameters)
        assert answer.status == 200
        return answer.json["signedURLDetails"]

    async def put(self, grant: JSON, body: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
        """PUT to a grant with its own headers, or with other ones; once, whatever the connection does."""
        sent = dict(grant["extensionHeaders"] if headers is None else headers)
        if body is None or isinstance(body, bytes):
            content = body or self.tar
            sent["Content-Length"] = str(len(content))
            body = _once(content)
        return await self.send(
            "PUT",
            URL(grant["uploadURL"], encoded=True),
            data=body,
            headers=sent,
            skip_auto_headers=["Content-Type", "Accept", "Accept-Encoding", "User-Agent"],
        )

    async def upload(self, body: bytes | None = None) -> Answer:
        """Grant, PUT, and wait until all is indexed."""
        answer = await self.put(await self.grant(), body)
        await self.emulator.settled()
        return answer

    async def image(self, name: str, content: bytes) -> Answer:
        form = aiohttp.FormData()
        form.add_field(name, content, filename=name)
        url = f"{self.batches_url}/{self.batch_id}/upload/image"
        query = {"api_key": self.emulator.api_key, "fileName": name}
        return await self.send("POST", url, params=query, data=form)

    async def pages(self, path: str, field_name: str, page_size: int) -> list[list[JSON]]:
        """Return a listing's elements page by page, following its tokens."""
        pages: list[list[JSON]] = []
        token: dict[str, str] = {}
        while True:
            body = (await self.get(path, pageSize=str(page_size), **token)).json
            pages.append(body[field_name])
            if body["nextPageToken"] is None:
                return pages
            token = {"nextPageToken": body["nextPageToken"]}


class OpenPeer(Protocol):
    def __call__(self, **options: Any) -> AbstractAsyncContextManager[Peer]: ...


@asynccontextmanager
async def _open_peer(**options: Any) -> AsyncIterator[Peer]:
    async with Emulator(EmulatorOptions(**options)) as emulator, aiohttp.ClientSession() as session:
        yield Peer(emulator, session)


@pytest.fixture
def open_peer() -> OpenPeer:
    """Open an emulator with options and a client of it."""
    return _open_peer


@pytest.fixture
async def peer(anyio_backend: object) -> AsyncIterator[Peer]:
    """An emulator as it is by default, and a client of it."""
    async with _open_peer() as opened:
        yield opened


class MakeTar(Protocol):
    def __call__(self, files: Mapping[str, bytes], /) -> bytes: ...


@pytest.fixture(name="make_tar")
def make_tar_fixture() -> MakeTar:
    return make_tar
