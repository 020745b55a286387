"""Every fault of a download does to its bytes what its table says, and is accounted for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from yarl import URL

from rfbulk.emulator import DownloadOptions, Fault

if TYPE_CHECKING:
    from tests.emulator.conftest import Answer, OpenPeer, Peer

pytestmark = pytest.mark.anyio

CONTENT = bytes(range(256)) * 20


async def url_of(peer: Peer) -> str:
    await peer.emulator.add_batch("b1", parts={"p": [("a.jpg", CONTENT)]})
    url: str = (await peer.get("/list", partName="p")).json["filesMetadata"][0]["downloadURL"]
    return url


async def fetch(peer: Peer, url: str, **headers: str) -> Answer:
    return await peer.send("GET", URL(url, encoded=True), headers={**headers})


async def received(peer: Peer, url: str) -> tuple[int, bytes, Exception | None]:
    """Return the announced length, what came, and how it ended."""
    body = bytearray()
    async with peer.session.get(URL(url, encoded=True)) as answer:
        try:
            async for chunk in answer.content.iter_any():
                body += chunk
        except aiohttp.ClientError as error:
            return answer.content_length or 0, bytes(body), error
        return answer.content_length or 0, bytes(body), None


async def assert_good_again(peer: Peer, url: str) -> None:
    assert peer.emulator.faults.unconsumed() == []
    assert (await fetch(peer, url)).body == CONTENT


@pytest.mark.parametrize(("action", "after"), [("reset", 1000), ("reset", 0), ("stall", 1000), ("truncate", 1000)])
async def test_an_answer_ends_early(peer: Peer, action: Any, after: int) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add(Fault("download", action, after_bytes=after, seconds=0.01))
    length, body, error = await received(peer, url)
    assert (length, body) == (5120, CONTENT[:after])
    assert error is not None
    await assert_good_again(peer, url)


async def test_an_answer_ends_in_the_middle_unless_told_where(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:truncate")
    assert (await received(peer, url))[1] == CONTENT[:2560]
    await assert_good_again(peer, url)


@pytest.mark.parametrize("action", ["reset", "stall", "swallow"])
async def test_no_answer_comes(peer: Peer, action: Any) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add(Fault("download", action, seconds=0.01, times=2))  # aiohttp asks again without a word
    with pytest.raises(aiohttp.ClientError):
        await fetch(peer, url)
    await assert_good_again(peer, url)


@pytest.mark.parametrize("length", ["chunked", "unstated"])
async def test_a_truncated_answer_without_a_length_looks_whole(open_peer: OpenPeer, length: Any) -> None:
    async with open_peer(downloads=DownloadOptions(length=length)) as peer:
        url = await url_of(peer)
        peer.emulator.faults.add("download:truncate,after-bytes=1000")
        assert (await received(peer, url))[1:] == (CONTENT[:1000], None)
        await assert_good_again(peer, url)


async def test_a_shorter_and_a_longer_answer_lie_about_the_length(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:shorter,after-bytes=10", "download:longer")
    assert await received(peer, url) == (10, CONTENT[:10], None)
    length, body, error = await received(peer, url)
    assert error is None
    assert length == len(body) > 5120
    assert body.startswith(CONTENT)
    await assert_good_again(peer, url)


async def test_one_byte_changes_on_the_way(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:corrupt,after-bytes=7", "download:corrupt")
    for place in (7, 2560):
        answer = await fetch(peer, url)
        assert [at for at in range(5120) if answer.body[at] != CONTENT[at]] == [place]
        assert answer.headers["ETag"] == f'"{hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()}"'
    await assert_good_again(peer, url)


async def test_a_wrong_hash_comes_with_good_bytes(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:wrong-hash")
    lie, truth = await fetch(peer, url), await fetch(peer, url)
    assert lie.body == CONTENT
    assert set(lie.hashes).isdisjoint(truth.hashes)
    await assert_good_again(peer, url)


async def test_an_unstated_length_comes_in_chunks(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:no-length")
    assert await received(peer, url) == (0, CONTENT, None)
    await assert_good_again(peer, url)


@pytest.mark.parametrize(("asked", "given"), [("bytes=10-19", (9, 19)), ("bytes=0-9", (0, 9)), ("bytes=0-0", (0, 2))])
async def test_another_range_than_asked_is_given(peer: Peer, asked: str, given: tuple[int, int]) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:wrong-range")
    await assert_unmet(peer, url)
    answer = await fetch(peer, url, Range=asked)
    start, end = given
    assert (answer.status, answer.body) == (206, CONTENT[start:end])
    assert answer.headers["Content-Range"] == f"bytes {start}-{end - 1}/5120"
    await assert_good_again(peer, url)


async def test_a_range_is_ignored(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:ignore-range")
    await assert_unmet(peer, url)
    answer = await fetch(peer, url, Range="bytes=10-19")
    assert (answer.status, answer.body) == (200, CONTENT)
    await assert_good_again(peer, url)


async def assert_unmet(peer: Peer, url: str) -> None:
    """Faults of ranges meet no other request."""
    assert (await fetch(peer, url)).status == 200
    assert len(peer.emulator.faults.unconsumed()) == 1


async def test_a_changed_file_is_another_one_from_then_on(peer: Peer) -> None:
    url = await url_of(peer)
    before = await fetch(peer, url)
    peer.emulator.faults.add("download:changed")
    answer = await fetch(peer, url, Range="bytes=1-", **{"If-Range": before.headers["ETag"]})
    assert answer.status == 200
    assert len(answer.body) == 5120
    assert answer.body != CONTENT
    assert answer.headers["ETag"] == f'"{hashlib.md5(answer.body, usedforsecurity=False).hexdigest()}"'
    assert answer.headers["Last-Modified"] != before.headers["Last-Modified"]
    assert (await fetch(peer, url)).body == answer.body == await peer.emulator.read_file("b1", "a.jpg", part="p")
    assert peer.emulator.faults.unconsumed() == []


async def test_a_slow_download_arrives_whole(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:slow,bytes-per-second=100000", "download:slow,seconds=0.01")
    assert await received(peer, url) == (5120, CONTENT, None)
    assert await received(peer, url) == (5120, CONTENT, None)
    await assert_good_again(peer, url)


async def test_a_page_of_html_comes_with_status_200(peer: Peer) -> None:
    url = await url_of(peer)
    peer.emulator.faults.add("download:html", "download:status=503,retry-after=1")
    assert (await fetch(peer, url)).headers["Content-Type"].startswith("text/html")
    assert (await fetch(peer, url)).status == 503
    await assert_good_again(peer, url)


@pytest.mark.parametrize(
    ("dialect", "status", "code"), [("google", 400, b"ExpiredToken"), ("s3", 403, b"AccessDenied")]
)
async def test_a_url_expires_before_its_time(open_peer: OpenPeer, dialect: Any, status: int, code: bytes) -> None:
    async with open_peer(downloads=DownloadOptions(dialect=dialect)) as peer:
        url = await url_of(peer)
        peer.emulator.faults.add("download:expired")
        answer = await fetch(peer, url)
        assert (answer.status, code in answer.body) == (status, True)
        await assert_good_again(peer, url)


async def test_a_grant_expires_before_its_time(peer: Peer) -> None:
    peer.emulator.faults.add("put:expired")
    grant = await peer.grant()
    answer = await peer.put(grant)
    assert (answer.status, b"ExpiredToken" in answer.body) == (400, True)
    assert (await peer.put(grant)).status == 200
