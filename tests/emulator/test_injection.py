"""Every fault does to a real connection what its table says, and is accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aiohttp
import anyio
import orjson
import pytest

from rfbulk.emulator import Fault

if TYPE_CHECKING:
    from tests.emulator.conftest import OpenPeer, Peer

pytestmark = pytest.mark.anyio


async def assert_good_again(peer: Peer) -> None:
    """The next request meets no fault, and every fault was used."""
    assert peer.emulator.faults.unconsumed() == []
    assert (await peer.upload()).status == 200


async def test_an_answer_comes_instead_of_the_work(peer: Peer) -> None:
    peer.emulator.faults.add(Fault("put", "answer", status=503, headers=(("Retry-After", "1"),), body="busy"))
    grant = await peer.grant()
    answer = await peer.put(grant)
    assert (answer.status, answer.headers["Retry-After"], answer.body) == (503, "1", b"busy")
    assert peer.emulator.ledger("b1").stored == 0
    assert (await peer.put(grant)).status == 200
    await assert_good_again(peer)


@pytest.mark.parametrize("operation", ["workspace", "batches"])
async def test_operations_without_a_batch_meet_faults(peer: Peer, operation: str) -> None:
    peer.emulator.faults.add(f"{operation}:status=429")
    url = peer.emulator.url if operation == "workspace" else peer.batches_url
    query = {"api_key": "emulator"}
    assert (await peer.send("GET", url, params=query)).status == 429
    assert (await peer.send("GET", url, params=query)).status == 200


@pytest.mark.parametrize("path", ["", "/count", "/shards", "/list", "/parts"])
async def test_operations_on_a_batch_meet_faults(peer: Peer, path: str) -> None:
    peer.emulator.faults.add(f"{path.strip('/') or 'batch'}:status=502")
    assert (await peer.get(path)).status == 502
    assert peer.emulator.faults.unconsumed() == []


async def test_uploads_through_the_api_meet_faults(peer: Peer) -> None:
    peer.emulator.faults.add("image:status=503", "video:status=503", "grant:status=503")
    assert (await peer.image("a.png", b"x")).status == 503
    assert (await peer.call("POST", "/upload/video", fileName="a.mp4")).status == 503
    assert (await peer.call("POST", "/bulk-upload/image-files")).status == 503
    assert peer.emulator.faults.unconsumed() == []


async def test_downloads_meet_faults(peer: Peer) -> None:
    await peer.upload()
    peer.emulator.faults.add("download:status=503")
    url = (await peer.get("/list")).json["filesMetadata"][0]["downloadURL"]
    assert (await peer.send("GET", url)).status == 503


@pytest.mark.parametrize("after_bytes", [0, 600])
async def test_a_reset_stores_nothing(peer: Peer, after_bytes: int) -> None:
    peer.emulator.faults.add(Fault("put", "reset", after_bytes=after_bytes))
    grant = await peer.grant()
    with pytest.raises(aiohttp.ClientError):
        await peer.put(grant)
    assert peer.emulator.ledger("b1").stored == 0
    assert (await peer.put(grant)).status == 200
    await assert_good_again(peer)


async def test_a_swallowed_answer_leaves_the_work_done(peer: Peer) -> None:
    peer.emulator.faults.add("put:swallow")
    grant = await peer.grant()
    with pytest.raises(aiohttp.ClientError):
        await peer.put(grant)
    assert peer.emulator.ledger("b1").stored == 1
    assert (await peer.put(grant)).status == 412
    await assert_good_again(peer)


async def test_a_swallowed_grant_leaves_an_unfilled_shard(peer: Peer) -> None:
    peer.emulator.faults.add("grant:swallow")
    with pytest.raises(aiohttp.ClientError):
        await peer.grant()
    await assert_good_again(peer)
    assert peer.emulator.ledger("b1").granted == 2


@pytest.mark.parametrize("after_bytes", [0, 600])
async def test_a_stall_is_silent_and_then_breaks(peer: Peer, after_bytes: int) -> None:
    peer.emulator.faults.add(Fault("put", "stall", after_bytes=after_bytes, seconds=0.01))
    grant = await peer.grant()
    with pytest.raises(aiohttp.ClientError):
        await peer.put(grant)
    assert peer.emulator.ledger("b1").stored == 0
    await assert_good_again(peer)


async def test_a_stall_does_not_keep_the_emulator_from_leaving(open_peer: OpenPeer) -> None:
    async with open_peer() as peer, anyio.create_task_group() as tasks:
        peer.emulator.faults.add("count:stall,seconds=3600")
        tasks.start_soon(peer.get, "/count")
        while not peer.emulator.requests["count"]:
            await anyio.lowlevel.checkpoint()
        tasks.cancel_scope.cancel()
    assert peer.emulator.faults.unconsumed() == []


async def test_slow_answers_are_late(peer: Peer) -> None:
    peer.emulator.faults.add("put:slow,seconds=0.01", "grant:slow,seconds=0.01")
    assert (await peer.upload()).status == 200
    await assert_good_again(peer)


async def test_slow_bodies_are_read_whole(peer: Peer) -> None:
    peer.emulator.faults.add("put:slow,bytes-per-second=1000000")
    assert (await peer.upload()).status == 200
    await assert_good_again(peer)
    assert set(peer.emulator.ledger("b1").hashes.values()) == {2}


async def test_a_corrupted_body_is_stored_and_its_hash_tells(peer: Peer) -> None:
    good = (await peer.upload()).hashes
    peer.emulator.faults.add("put:corrupt,after-bytes=512")
    grant = await peer.grant()
    answer = await peer.put(grant)
    assert answer.status == 200
    assert answer.hashes != good
    assert (await peer.put(grant)).status == 412
    await peer.emulator.settled()
    assert sum(peer.emulator.ledger("b1").hashes.values()) == 4
    assert len(peer.emulator.ledger("b1").hashes) == 3
    await assert_good_again(peer)


async def test_a_corrupted_object_gives_way_to_a_good_one_where_puts_replace(open_peer: OpenPeer) -> None:
    async with open_peer(if_generation_match=False) as peer:
        peer.emulator.faults.add("put:corrupt")
        grant = await peer.grant()
        bad, good = await peer.put(grant), await peer.put(grant)
        assert bad.hashes != good.hashes
        await peer.emulator.settled()
        assert set(peer.emulator.ledger("b1").hashes.values()) == {1}
        assert peer.emulator.ledger("b1").names == {"a.png": 1, "b.jpg": 1}
        await assert_good_again(peer)


async def test_a_corrupted_object_that_is_not_kept_can_be_sent_again(peer: Peer) -> None:
    peer.emulator.faults.add("put:corrupt,keep=false")
    grant = await peer.grant()
    bad = await peer.put(grant)
    assert peer.emulator.ledger("b1").stored == 0
    good = await peer.put(grant)
    assert (bad.status, good.status) == (200, 200)
    assert bad.hashes != good.hashes
    await assert_good_again(peer)


async def test_a_wrong_hash_is_told_of_a_good_object(peer: Peer) -> None:
    peer.emulator.faults.add("put:wrong-hash")
    lied = await peer.upload()
    assert lied.status == 200
    assert lied.hashes != (await peer.upload()).hashes
    assert set(peer.emulator.ledger("b1").hashes.values()) == {2}
    await assert_good_again(peer)


@pytest.mark.parametrize("operation", ["grant", "put"])
async def test_a_page_comes_instead_of_the_answer(peer: Peer, operation: str) -> None:
    grant = await peer.grant()
    peer.emulator.faults.add(f"{operation}:html")
    answer = await (peer.put(grant) if operation == "put" else peer.call("POST", "/bulk-upload/image-files"))
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert (peer.emulator.ledger("b1").granted, peer.emulator.ledger("b1").stored) == (1, 0)
    await assert_good_again(peer)


async def test_malformed_json_breaks_off(peer: Peer) -> None:
    await peer.grant()
    peer.emulator.faults.add("shards:malformed")
    with pytest.raises(orjson.JSONDecodeError):
        assert (await peer.get("/shards")).json
    await assert_good_again(peer)


async def test_wrong_types_are_still_json(peer: Peer) -> None:
    await peer.grant()
    peer.emulator.faults.add("count:wrong-type", "batch:wrong-type", "shards:wrong-type")
    assert (await peer.get("/count")).json == {"count": ["0"]}
    assert (await peer.get("")).json["batch"]["batchId"] == 2
    assert list((await peer.get("/shards")).json["shards"]) == ["first"]
    await assert_good_again(peer)


async def test_a_duplicate_token_leads_to_the_same_page(peer: Peer) -> None:
    await peer.upload()
    peer.emulator.faults.add("list:duplicate-token,after=1")
    token = (await peer.get("/list", pageSize="1")).json["nextPageToken"]
    page = (await peer.get("/list", pageSize="1", nextPageToken=token)).json
    assert page["nextPageToken"] == token
    await assert_good_again(peer)


async def test_a_cycle_leads_to_the_first_page(peer: Peer) -> None:
    await peer.upload()
    peer.emulator.faults.add("list:cycle")
    first = (await peer.get("/list")).json
    again = (await peer.get("/list", nextPageToken=first["nextPageToken"])).json
    assert [each["fileName"] for each in first["filesMetadata"]] == [f["fileName"] for f in again["filesMetadata"]]
    await assert_good_again(peer)


async def test_empty_pages_lead_on_with_ever_new_tokens(peer: Peer) -> None:
    await peer.upload()
    peer.emulator.faults.add("list:empty-pages,times=2")
    first = (await peer.get("/list")).json
    second = (await peer.get("/list", nextPageToken=first["nextPageToken"])).json
    third = (await peer.get("/list", nextPageToken=second["nextPageToken"])).json
    assert first["filesMetadata"] == second["filesMetadata"] == []
    assert first["nextPageToken"] != second["nextPageToken"]
    assert len(third["filesMetadata"]) == 2
    await assert_good_again(peer)
