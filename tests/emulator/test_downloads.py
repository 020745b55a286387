"""Files come out of the store as they would out of the real one: ranges, tags, hashes, signatures."""

from __future__ import annotations

import base64
import hashlib
from email.utils import formatdate, parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pytest
from crc32c import crc32c
from yarl import URL

from rfbulk.emulator import DownloadOptions
from rfbulk.emulator.ranges import Span, UnsatisfiableError, asked_span, is_current

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.emulator.conftest import Answer, OpenPeer, Peer

CONTENT = bytes(range(256)) * 20  # 5,120 bytes, each place telling where it is
MD5 = hashlib.md5(CONTENT, usedforsecurity=False)


async def url_of(peer: Peer, content: bytes | Path = CONTENT, name: str = "a.jpg") -> str:
    await peer.emulator.add_batch("b1", parts={"p": [(name, content)]})
    url: str = (await peer.get("/list", partName="p")).json["filesMetadata"][-1]["downloadURL"]
    return url


async def fetch(peer: Peer, url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> Answer:
    return await peer.send(method, URL(url, encoded=True), headers=dict(headers or {}))


@pytest.mark.parametrize(
    ("text", "size", "span"),
    [
        (None, 10, None),
        ("bytes=0-3", 10, Span(0, 4)),
        ("bytes=4-", 10, Span(4, 10)),
        ("bytes=4-99", 10, Span(4, 10)),
        ("bytes=-3", 10, Span(7, 10)),
        ("bytes=-99", 10, Span(0, 10)),
        ("bytes=3-2", 10, None),
        ("bytes=-", 10, None),
        ("bytes=0-1,4-5", 10, None),
        ("lines=0-1", 10, None),
        ("nonsense", 10, None),
        ("bytes=10-", 10, UnsatisfiableError),
        ("bytes=-0", 10, UnsatisfiableError),
        ("bytes=0-", 0, UnsatisfiableError),
        ("bytes=-1", 0, UnsatisfiableError),
    ],
)
def test_a_range_is_read_as_the_table_says(text: str | None, size: int, span: Any) -> None:
    if span is UnsatisfiableError:
        with pytest.raises(UnsatisfiableError):
            asked_span(text, size)
    else:
        assert asked_span(text, size) == span


@pytest.mark.parametrize(
    ("if_range", "etag", "current"),
    [
        (None, None, True),
        ('"a"', '"a"', True),
        ('"a"', '"b"', False),
        ('"a"', None, False),
        ('W/"a"', 'W/"a"', False),
        ('"a"', 'W/"a"', False),
        (formatdate(1000, usegmt=True), '"a"', True),
        (formatdate(1001, usegmt=True), '"a"', False),
        ("yesterday", '"a"', False),
    ],
)
def test_a_range_is_given_only_of_the_file_that_is_meant(if_range: str | None, etag: str | None, current: bool) -> None:
    assert is_current(if_range, etag, 1000) == current


@pytest.mark.anyio
async def test_a_file_is_described_in_full(peer: Peer) -> None:
    answer = await fetch(peer, await url_of(peer))
    crc = base64.b64encode(crc32c(CONTENT).to_bytes(4, "big")).decode()
    assert (answer.status, answer.body) == (200, CONTENT)
    assert answer.hashes == (f"crc32c={crc}", f"md5={base64.b64encode(MD5.digest()).decode()}")
    assert answer.headers["ETag"] == f'"{MD5.hexdigest()}"'
    assert answer.headers["Content-Length"] == answer.headers["x-goog-stored-content-length"] == "5120"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Type"] == "image/jpeg"
    modified = parsedate_to_datetime(answer.headers["Last-Modified"])
    assert int(modified.timestamp()) == int(answer.headers["x-goog-generation"]) // 1_000_000
    assert peer.emulator.sent_bytes == 5120


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("name", "kind"), [("a.tar.gz", "application/gzip"), ("a.csv", "text/csv"), ("a.what", "application/octet-stream")]
)
async def test_the_kind_follows_from_the_name(peer: Peer, name: str, kind: str) -> None:
    assert (await fetch(peer, await url_of(peer, name=name))).headers["Content-Type"] == kind


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("asked", "start", "end"), [("bytes=10-19", 10, 20), ("bytes=5000-", 5000, 5120), ("bytes=-20", 5100, 5120)]
)
async def test_a_range_comes_alone_with_the_hash_of_the_whole(peer: Peer, asked: str, start: int, end: int) -> None:
    url = await url_of(peer)
    answer = await fetch(peer, url, {"Range": asked})
    assert (answer.status, answer.body) == (206, CONTENT[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/5120"
    assert answer.hashes == (await fetch(peer, url)).hashes


@pytest.mark.anyio
async def test_a_range_behind_the_end_is_refused(peer: Peer) -> None:
    answer = await fetch(peer, await url_of(peer), {"Range": "bytes=5120-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */5120")
    assert b"<Code>InvalidRange</Code>" in answer.body


@pytest.mark.anyio
async def test_a_range_of_another_version_is_answered_with_the_whole(peer: Peer) -> None:
    url = await url_of(peer)
    etag = (await fetch(peer, url)).headers["ETag"]
    assert (await fetch(peer, url, {"Range": "bytes=1-", "If-Range": etag})).status == 206
    assert (await fetch(peer, url, {"Range": "bytes=1-", "If-Range": '"other"'})).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize("store", ["memory", "folder"])
async def test_a_large_file_and_its_ranges_come_whole(open_peer: OpenPeer, tmp_path: Path, store: str) -> None:
    content = CONTENT * 1000
    (tmp_path / "linked.bin").write_bytes(content)
    options = {"store": store, **({"directory": tmp_path / "service"} if store == "folder" else {})}
    async with open_peer(**options) as peer:
        for given in (content, tmp_path / "linked.bin"):
            url = await url_of(peer, given)
            assert (await fetch(peer, url)).body == content
            assert (await fetch(peer, url, {"Range": "bytes=1000001-4000000"})).body == content[1000001:4000001]


@pytest.mark.anyio
async def test_an_empty_file_is_empty(peer: Peer) -> None:
    answer = await fetch(peer, await url_of(peer, b""))
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


@pytest.mark.anyio
async def test_a_linked_file_that_went_away_is_not_there(peer: Peer, tmp_path: Path) -> None:
    path = tmp_path / "linked.bin"
    path.write_bytes(b"x")
    url = await url_of(peer, path)
    path.unlink()
    assert (await fetch(peer, url)).status == 404


@pytest.mark.anyio
async def test_a_url_for_get_does_not_permit_head(peer: Peer) -> None:
    """The method is part of what is signed, at Google as at S3."""
    url = await url_of(peer)
    assert (await fetch(peer, url, method="HEAD")).status == 403
    assert (await fetch(peer, url)).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(("headers", "status", "length"), [({}, 200, "5120"), ({"Range": "bytes=0-9"}, 206, "10")])
async def test_a_url_for_head_describes_the_file(peer: Peer, headers: dict[str, str], status: int, length: str) -> None:
    await url_of(peer)
    place = peer.emulator.places("b1", "p")["a.jpg"]
    url = peer.emulator._entered.download_url(place, "a.jpg", "HEAD")
    answer = await fetch(peer, url, headers, method="HEAD")
    assert (answer.status, answer.headers["Content-Length"], answer.body) == (status, length, b"")
    assert answer.headers["ETag"] == f'"{MD5.hexdigest()}"'


@pytest.mark.anyio
async def test_an_expired_url_is_refused_and_a_fresh_one_is_not(open_peer: OpenPeer) -> None:
    async with open_peer(downloads=DownloadOptions(seconds=1)) as peer:
        url = await url_of(peer)
        peer.emulator.clock.advance(1)
        answer = await fetch(peer, url)
        assert (answer.status, b"<Code>ExpiredToken</Code>" in answer.body) == (400, True)
        fresh = (await peer.get("/list", partName="p")).json["filesMetadata"][0]["downloadURL"]
        assert (await fetch(peer, fresh)).status == 200


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("old", "new"), [("Expires=3600", "Expires=9999"), ("/5120/", "/5119/"), ("/0/5120", "/1/5119")]
)
async def test_a_tampered_url_is_refused(peer: Peer, old: str, new: str) -> None:
    url = await url_of(peer)
    answer = await fetch(peer, url.replace(old, new))
    assert (answer.status, b"<Code>SignatureDoesNotMatch</Code>" in answer.body) == (403, True)


@pytest.mark.anyio
async def test_s3_signs_describes_and_refuses_in_its_own_way(open_peer: OpenPeer) -> None:
    async with open_peer(downloads=DownloadOptions(dialect="s3", etag="opaque")) as peer:
        url = await url_of(peer)
        assert {"X-Amz-Date", "X-Amz-Expires", "X-Amz-Signature"} < set(URL(url, encoded=True).query)
        answer = await fetch(peer, url)
        assert (answer.body, answer.hashes) == (CONTENT, ())
        assert base64.b64decode(answer.headers["x-amz-checksum-crc32c"]) == crc32c(CONTENT).to_bytes(4, "big")
        assert base64.b64decode(answer.headers["Content-MD5"]) == MD5.digest()
        assert answer.headers["ETag"].endswith('-2"')
        assert "Content-MD5" not in (await fetch(peer, url, {"Range": "bytes=1-2"})).headers
        assert (await fetch(peer, url.replace("X-Amz-Expires=3600", "X-Amz-Expires=9999"))).status == 403
        peer.emulator.clock.advance(3600)
        expired = await fetch(peer, url)
        assert (expired.status, b"Request has expired" in expired.body) == (403, True)


@pytest.mark.anyio
@pytest.mark.parametrize(("hashes", "told"), [("both", 2), ("crc32c", 1), ("md5", 1), ("none", 0)])
@pytest.mark.parametrize("etag", ["md5", "opaque", "weak", "none"])
async def test_hashes_and_tags_are_told_as_the_switches_say(
    open_peer: OpenPeer, hashes: Any, told: int, etag: Any
) -> None:
    async with open_peer(downloads=DownloadOptions(hashes=hashes, etag=etag)) as peer:
        answer = await fetch(peer, await url_of(peer))
        assert (answer.body, len(answer.hashes)) == (CONTENT, told)
        tag = answer.headers.get("ETag")
        assert (tag == f'"{MD5.hexdigest()}"') == (etag == "md5")
        assert (tag is None) == (etag == "none")
        assert (tag or "").startswith("W/") == (etag == "weak")


@pytest.mark.anyio
@pytest.mark.parametrize("length", ["chunked", "unstated"])
@pytest.mark.parametrize("size", [0, 100, 3_000_000])
async def test_a_length_can_be_left_unsaid(open_peer: OpenPeer, length: Any, size: int) -> None:
    async with open_peer(downloads=DownloadOptions(length=length)) as peer:
        content = (CONTENT * 600)[:size]
        answer = await fetch(peer, await url_of(peer, content))
        assert answer.body == content
        assert "Content-Length" not in answer.headers
        assert ("Transfer-Encoding" in answer.headers) == (length == "chunked")


@pytest.mark.anyio
async def test_a_store_without_ranges_sends_the_whole(open_peer: OpenPeer) -> None:
    async with open_peer(downloads=DownloadOptions(ranges=False)) as peer:
        answer = await fetch(peer, await url_of(peer), {"Range": "bytes=1-2"})
        assert (answer.status, answer.body) == (200, CONTENT)
        assert "Accept-Ranges" not in answer.headers
