"""The store behind the signed URLs is as strict as the real one."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from crc32c import crc32c
from yarl import URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from tests.emulator.conftest import Answer, OpenPeer, Peer

pytestmark = pytest.mark.anyio


def assert_refused(answer: Answer, status: int, code: str) -> None:
    assert status == answer.status
    assert answer.headers["Content-Type"].startswith("application/xml")
    assert f"<Code>{code}</Code>".encode() in answer.body


async def test_an_object_is_stored_exactly_as_granted(peer: Peer) -> None:
    answer = await peer.upload()
    assert answer.status == 200
    checksum = base64.b64encode(crc32c(peer.tar).to_bytes(4, "big")).decode()
    assert answer.hashes == (f"crc32c={checksum}",)
    assert answer.headers["ETag"].startswith('"')
    assert peer.emulator.ledger("b1").hashes == {
        hashlib.sha256(b"first").hexdigest(): 1,
        hashlib.sha256(b"second").hexdigest(): 1,
    }


async def test_md5_comes_in_a_second_header_line_when_asked_for(open_peer: OpenPeer) -> None:
    async with open_peer(md5=True) as peer:
        answer = await peer.upload()
        md5 = base64.b64encode(hashlib.md5(peer.tar, usedforsecurity=False).digest()).decode()
        assert answer.hashes[1] == f"md5={md5}"


async def test_the_signed_url_has_googles_shape(peer: Peer) -> None:
    grant = await peer.grant()
    query = URL(grant["uploadURL"], encoded=True).query
    assert set(query) == {
        "X-Goog-Algorithm",
        "X-Goog-Credential",
        "X-Goog-Date",
        "X-Goog-Expires",
        "X-Goog-SignedHeaders",
        "X-Goog-Signature",
    }
    assert query["X-Goog-SignedHeaders"] == "host;x-goog-content-length-range;x-goog-if-generation-match"
    assert query["X-Goog-Expires"] == "3600"


@pytest.mark.parametrize("name", ["x-goog-content-length-range", "x-goog-if-generation-match"])
async def test_a_missing_extension_header_is_refused(peer: Peer, name: str) -> None:
    grant = await peer.grant()
    headers = {key: value for key, value in grant["extensionHeaders"].items() if key != name}
    assert_refused(await peer.put(grant, headers=headers), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("name", ["x-goog-content-length-range", "x-goog-if-generation-match"])
async def test_another_value_of_an_extension_header_is_refused(peer: Peer, name: str) -> None:
    grant = await peer.grant()
    headers = {**grant["extensionHeaders"], name: "1,2"}
    assert_refused(await peer.put(grant, headers=headers), 403, "SignatureDoesNotMatch")


async def test_an_extension_header_that_was_not_granted_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    headers = {**grant["extensionHeaders"], "x-goog-acl": "public-read"}
    assert_refused(await peer.put(grant, headers=headers), 403, "SignatureDoesNotMatch")


async def test_a_tampered_path_is_refused(peer: Peer) -> None:
    first, second = await peer.grant(), await peer.grant()
    path = urlsplit(second["uploadURL"]).path
    swapped = {**first, "uploadURL": first["uploadURL"].replace(urlsplit(first["uploadURL"]).path, path)}
    assert_refused(await peer.put(swapped), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("old", "new"), [("X-Goog-Expires=3600", "X-Goog-Expires=9999"), ("X-Goog-Signature=", "X-Goog-Signature=00")]
)
async def test_a_tampered_query_is_refused(peer: Peer, old: str, new: str) -> None:
    grant = await peer.grant()
    tampered = {**grant, "uploadURL": grant["uploadURL"].replace(old, new)}
    assert_refused(await peer.put(tampered), 403, "SignatureDoesNotMatch")


async def test_an_unsigned_url_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    bare = {**grant, "uploadURL": grant["uploadURL"].split("?")[0]}
    assert_refused(await peer.put(bare), 403, "AccessDenied")


async def test_a_url_for_put_does_not_permit_get(peer: Peer) -> None:
    grant = await peer.grant()
    answer = await peer.send("GET", URL(grant["uploadURL"], encoded=True), headers=grant["extensionHeaders"])
    assert answer.status == 405


async def test_the_api_key_on_a_signed_url_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    leaky = {**grant, "uploadURL": grant["uploadURL"] + "&api_key=emulator"}
    assert_refused(await peer.put(leaky), 403, "SignatureDoesNotMatch")


async def test_an_authorization_header_on_a_signed_url_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    headers = {**grant["extensionHeaders"], "Authorization": "Bearer emulator"}
    assert_refused(await peer.put(grant, headers=headers), 400, "InvalidArgument")


async def test_another_host_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    headers = {**grant["extensionHeaders"], "Host": "storage.example"}
    assert_refused(await peer.put(grant, headers=headers), 403, "SignatureDoesNotMatch")


async def test_an_expired_url_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    peer.emulator.clock.advance(3600)
    assert_refused(await peer.put(grant), 400, "ExpiredToken")
    assert peer.emulator.ledger("b1").stored == 0


async def test_a_body_beyond_the_granted_range_is_refused(open_peer: OpenPeer) -> None:
    async with open_peer(max_shard_bytes=10) as peer:
        assert_refused(await peer.put(await peer.grant()), 400, "EntityTooLarge")
        assert peer.emulator.ledger("b1").stored == 0


async def test_a_body_without_a_length_is_refused(peer: Peer) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield peer.tar

    assert_refused(await peer.put(await peer.grant(), chunks()), 411, "MissingContentLength")


async def test_a_second_put_is_refused_when_the_first_was_granted_as_new(peer: Peer) -> None:
    grant = await peer.grant()
    assert (await peer.put(grant)).status == 200
    assert_refused(await peer.put(grant), 412, "PreconditionFailed")
    await peer.emulator.settled()
    assert set(peer.emulator.ledger("b1").hashes.values()) == {1}


async def test_an_object_that_was_never_granted_is_refused(peer: Peer) -> None:
    grant = await peer.grant()
    other = {**grant, "uploadURL": grant["uploadURL"].replace("/uploads/b1/", "/uploads/b2/")}
    assert_refused(await peer.put(other), 403, "SignatureDoesNotMatch")


@pytest.mark.parametrize("store", ["memory", "folder", "count"])
async def test_a_truncated_body_stores_nothing(open_peer: OpenPeer, tmp_path: Any, store: str) -> None:
    options = {"store": store, **({"directory": tmp_path} if store == "folder" else {})}
    async with open_peer(**options) as peer:
        grant = await peer.grant()
        await _send_truncated(peer, grant)
        assert (await peer.upload()).status == 200
        ledger = peer.emulator.ledger("b1")
        assert [shard.puts for shard in ledger.shards] == [0, 1]
        assert (await peer.put(grant)).status == 200
        assert not list(tmp_path.rglob("*.part"))


async def _send_truncated(peer: Peer, grant: Any) -> None:
    url = urlsplit(grant["uploadURL"])
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    headers = "".join(f"{name}: {value}\r\n" for name, value in grant["extensionHeaders"].items())
    head = f"PUT {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n{headers}Content-Length: {len(peer.tar)}\r\n"
    writer.write(head.encode() + b"\r\n" + peer.tar[:-1])
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_download_url_gives_the_very_bytes(peer: Peer) -> None:
    await peer.upload()
    files = (await peer.get("/list")).json["filesMetadata"]
    contents = {each["fileName"]: await peer.send("GET", URL(each["downloadURL"], encoded=True)) for each in files}
    assert {name: answer.body for name, answer in contents.items()} == {"a.png": b"first", "b.jpg": b"second"}


async def test_an_expired_download_url_is_refused(peer: Peer) -> None:
    await peer.upload()
    url = (await peer.get("/list")).json["filesMetadata"][0]["downloadURL"]
    peer.emulator.clock.advance(3600)
    assert_refused(await peer.send("GET", URL(url, encoded=True)), 400, "ExpiredToken")


async def test_a_count_store_has_no_contents_to_download(open_peer: OpenPeer) -> None:
    async with open_peer(store="count") as peer:
        await peer.upload()
        url = (await peer.get("/list")).json["filesMetadata"][0]["downloadURL"]
        assert_refused(await peer.send("GET", URL(url, encoded=True)), 404, "NoSuchKey")


async def test_a_large_file_comes_back_whole(peer: Peer, make_tar: Any) -> None:
    content = bytes(range(256)) * 10_000
    await peer.upload(make_tar({"large.png": content}))
    url = (await peer.get("/list")).json["filesMetadata"][0]["downloadURL"]
    assert (await peer.send("GET", URL(url, encoded=True))).body == content
