"""What is not known of the service is a switch, and each position of each switch does what it says."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from rfbulk.emulator.options import SecondPut
    from tests.emulator.conftest import MakeTar, OpenPeer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("statement", "in_field", "in_header"),
    [("field", True, False), ("header", False, True), ("both", True, True), ("none", False, False)],
)
async def test_the_limit_is_stated_where_the_switch_says(
    open_peer: OpenPeer, statement: str, in_field: bool, in_header: bool
) -> None:
    async with open_peer(limit_statement=statement, max_shard_bytes=123) as peer:
        grant = await peer.grant()
        assert in_field == (grant.get("maxFileSizeBytes") == 123)
        assert in_header == (grant["extensionHeaders"].get("x-goog-content-length-range") == "0,123")


async def test_a_limit_that_no_header_states_fails_the_shard_at_indexing(open_peer: OpenPeer) -> None:
    async with open_peer(limit_statement="field", max_shard_bytes=123) as peer:
        assert (await peer.upload()).status == 200
        shard = peer.emulator.ledger("b1").shards[0]
        assert (shard.status, shard.failure) == ("failed", "the archive is larger than 123 bytes")


@pytest.mark.parametrize("stated", [True, False])
async def test_the_method_is_stated_or_not(open_peer: OpenPeer, stated: bool) -> None:
    async with open_peer(state_method=stated) as peer:
        assert stated == ("method" in await peer.grant())


async def test_a_second_put_replaces_the_first(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(if_generation_match=False, second_put="replaces") as peer:
        grant = await peer.grant()
        for name in ("old.png", "new.png"):
            assert (await peer.put(grant, make_tar({name: b"x"}))).status == 200
            await peer.emulator.settled()
        ledger = peer.emulator.ledger("b1")
        assert ledger.names == {"new.png": 1}
        assert [shard.puts for shard in ledger.shards] == [2]


async def test_a_second_put_before_indexing_leaves_one_copy(open_peer: OpenPeer) -> None:
    async with open_peer(if_generation_match=False, second_put="replaces", index_delay_seconds=0.02) as peer:
        grant = await peer.grant()
        await peer.put(grant)
        await peer.put(grant)
        await peer.emulator.settled()
        assert set(peer.emulator.ledger("b1").hashes.values()) == {1}


async def test_a_second_put_is_indexed_again(open_peer: OpenPeer) -> None:
    async with open_peer(if_generation_match=False, second_put="indexes-again") as peer:
        grant = await peer.grant()
        await peer.put(grant)
        await peer.put(grant)
        await peer.emulator.settled()
        assert set(peer.emulator.ledger("b1").hashes.values()) == {2}
        assert (await peer.get("/count")).json == {"count": 4}


@pytest.mark.parametrize(
    ("second_put", "hashes"), [("replaces", [1]), ("indexes-again", [1, 1])], ids=["replaces", "indexes-again"]
)
@pytest.mark.parametrize("delay", [0.0, 0.02])
async def test_a_second_put_of_a_video_does_as_one_of_a_shard(
    open_peer: OpenPeer, second_put: SecondPut, hashes: list[int], delay: float
) -> None:
    """Of another video of the same name nothing is replaced: that has a grant of its own."""
    async with open_peer(if_generation_match=False, second_put=second_put, index_delay_seconds=delay) as peer:
        grants = [
            (await peer.call("POST", "/upload/video", fileName="a.mp4")).json["signedURLDetails"] for _ in range(2)
        ]
        for grant, content in ((grants[0], b"first"), (grants[1], b"other"), (grants[0], b"again")):
            assert (await peer.put(grant, content)).status == 200
            if not delay:
                await peer.emulator.settled()
        await peer.emulator.settled()
        found = peer.emulator.ledger("b1").hashes
    again, other = (hashlib.sha256(content).hexdigest() for content in (b"again", b"other"))
    assert (found[again], found[other], found.total()) == (1, 1, 1 + len(hashes))


@pytest.mark.parametrize("listed", [True, False])
async def test_unfilled_shards_are_listed_or_not(open_peer: OpenPeer, listed: bool) -> None:
    async with open_peer(list_unfilled_shards=listed) as peer:
        await peer.grant()
        await peer.upload()
        assert len((await peer.get("/shards")).json["shards"]) == 1 + listed


@pytest.mark.parametrize("named", [True, False])
async def test_the_upload_url_names_the_shard_or_not(open_peer: OpenPeer, named: bool) -> None:
    async with open_peer(shard_id_in_url=named) as peer:
        grant = await peer.grant()
        shard_id = (await peer.get("/shards")).json["shards"][0]["shardId"]
        assert named == (shard_id in grant["uploadURL"])


@pytest.mark.parametrize(("mode", "count"), [("indexed", 1), ("accepted", 2)])
async def test_count_counts_what_the_switch_says(open_peer: OpenPeer, make_tar: MakeTar, mode: str, count: int) -> None:
    async with open_peer(count_mode=mode) as peer:
        await peer.upload(make_tar({"good.png": b"x", "bad.txt": b"x"}))
        assert (await peer.get("/count")).json == {"count": count}


@pytest.mark.parametrize(
    ("mode", "names", "failed"),
    [("keep-both", {"a.png": 2, "b.png": 1}, 0), ("last-wins", {"a.png": 1, "b.png": 1}, 0), ("fail", {"a.png": 1}, 1)],
)
async def test_equal_names_in_two_shards(
    open_peer: OpenPeer, make_tar: MakeTar, mode: str, names: dict[str, int], failed: int
) -> None:
    async with open_peer(equal_names=mode) as peer:
        await peer.upload(make_tar({"a.png": b"first"}))
        await peer.upload(make_tar({"a.png": b"second"} if mode == "fail" else {"a.png": b"second", "b.png": b"x"}))
        ledger = peer.emulator.ledger("b1")
        assert ledger.names == names
        assert len(ledger.failed) == failed
        assert (await peer.get("/count")).json == {"count": sum(names.values())}


@pytest.mark.parametrize(("mode", "status", "count"), [("keep-both", 200, 2), ("last-wins", 200, 1), ("fail", 409, 1)])
async def test_equal_names_in_simple_upload(open_peer: OpenPeer, mode: str, status: int, count: int) -> None:
    async with open_peer(equal_names=mode) as peer:
        await peer.image("a.png", b"first")
        assert (await peer.image("a.png", b"second")).status == status
        assert (await peer.get("/count")).json == {"count": count}


async def test_the_date_header_runs_ahead_by_the_skew(open_peer: OpenPeer) -> None:
    async with open_peer(date_skew_seconds=3 * 3600) as peer:
        answer = await peer.put(await peer.grant())
        ahead = parsedate_to_datetime(answer.headers["Date"]) - datetime.now(UTC)
        assert abs(ahead.total_seconds() - 3 * 3600) < 60
        assert answer.status == 200


async def test_signed_urls_begin_with_the_public_url(open_peer: OpenPeer) -> None:
    async with open_peer(public_url="https://storage.example:8443/") as peer:
        grant = await peer.grant()
        assert grant["uploadURL"].startswith("https://storage.example:8443/storage/")
        grant["uploadURL"] = grant["uploadURL"].replace("https://storage.example:8443", peer.emulator.url)
        headers = {**grant["extensionHeaders"], "Host": "storage.example:8443"}
        assert (await peer.put(grant, headers=headers)).status == 200


async def test_pages_have_the_default_size(open_peer: OpenPeer) -> None:
    async with open_peer(page_size=1) as peer:
        await peer.upload()
        assert len((await peer.get("/list")).json["filesMetadata"]) == 1


@pytest.mark.parametrize(("asked", "status", "rows"), [("kept", 200, 1), ("ignored", 200, 2), ("refused", 400, 0)])
async def test_a_page_size_that_is_asked_for_is_kept_to_ignored_or_refused(
    open_peer: OpenPeer, asked: str, status: int, rows: int
) -> None:
    async with open_peer(asked_page_size=asked, page_size=2) as peer:
        await peer.upload()
        answer = await peer.get("/list", pageSize="1")
        assert (answer.status, len(answer.json.get("filesMetadata", ()))) == (status, rows)
        assert (await peer.get("/list")).status == 200


async def test_a_count_store_counts_names_without_hashes(open_peer: OpenPeer) -> None:
    async with open_peer(store="count") as peer:
        await peer.upload()
        ledger = peer.emulator.ledger("b1")
        assert (ledger.names, ledger.hashes) == ({"a.png": 1, "b.jpg": 1}, {})


async def test_latency_delays_each_answer(open_peer: OpenPeer) -> None:
    async with open_peer(latency_seconds=0.001) as peer:
        assert (await peer.upload()).status == 200
