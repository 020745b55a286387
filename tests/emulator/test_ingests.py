"""Ingests without uploads are checked, known again, indexed as what they are, and told of."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from tests.support.receiver import receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.conftest import JSON, Answer, OpenPeer, Peer

pytestmark = pytest.mark.anyio


def references(count: int, kind: str = "image", suffix: str = "png", **more: Any) -> JSON:
    rows = [{"name": f"{number}.{suffix}", "url": f"https://example.com/{number}?signed"} for number in range(count)]
    return {f"{kind}References": rows, **more}


async def ingest(peer: Peer, body: JSON, kind: str = "image") -> Answer:
    url = f"{peer.batches_url}/{peer.batch_id}/bulk-upload/{kind}-references"
    data = io.BytesIO(orjson.dumps(body))  # aiohttp warns of large bodies in one piece
    answer = await peer.send("POST", url, params={"api_key": "emulator", "displayName": "Mine"}, data=data)
    await peer.emulator.settled()
    return answer


async def query(peer: Peer, body: JSON) -> Answer:
    url = f"{peer.batches_url}/{peer.batch_id}/roboql-ingest"
    answer = await peer.send("POST", url, params={"api_key": "emulator"}, json=body)
    await peer.emulator.settled()
    return answer


async def test_references_to_images_come_into_shards_of_500(peer: Peer) -> None:
    answer = (await ingest(peer, references(1001, ingestId="i1"))).json
    assert (answer["ingestId"], answer["duplicated"], len(answer["shardIds"])) == ("i1", False, 3)
    shards = (await peer.get("/shards")).json["shards"]
    assert [shard["shardId"] for shard in shards] == answer["shardIds"]
    assert [shard["shardObjectsCount"] for shard in shards] == [500, 500, 1]
    assert {shard["statusType"] for shard in shards} == {"success"}
    row = (await peer.get("/list")).json["filesMetadata"][0]
    assert row == {
        "downloadURL": "https://example.com/0?signed",
        "fileName": "0.png",
        "contentType": "image",
        "shardId": answer["shardIds"][0],
    }
    batch = (await peer.get("")).json["batch"]
    assert (batch["batchType"], batch["batchContentType"], batch["displayName"]) == ("sharded-batch", "images", "Mine")


async def test_references_to_videos_have_no_shards(peer: Peer) -> None:
    answer = (await ingest(peer, references(2, "video", "mp4", ingestId="i1"), "video")).json
    assert answer == {"ingestId": "i1", "duplicated": False}
    assert (await peer.get("/count")).json == {"count": 2}
    assert (await peer.get("")).json["batch"]["batchContentType"] == "videos"


@pytest.mark.parametrize("mode", ["indexed", "accepted"])
async def test_references_are_counted_once(open_peer: OpenPeer, mode: str) -> None:
    async with open_peer(count_mode=mode) as peer:
        await ingest(peer, references(3))
        assert (await peer.get("/count")).json == {"count": 3}


@pytest.mark.parametrize("named", [True, False])
async def test_the_same_ingest_is_known_again(peer: Peer, named: bool) -> None:
    """Without a name of its own, an ingest is known by what it asks for."""
    name: dict[str, Any] = {"ingestId": "i1"} if named else {}
    body = references(3, **name)
    first, second = (await ingest(peer, body)).json, (await ingest(peer, body)).json
    assert second == {**first, "duplicated": True}
    assert (await peer.get("/count")).json == {"count": 3}
    other = references(4, **({"ingestId": "i2"} if named else {}))
    assert not (await ingest(peer, other)).json["duplicated"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"imageReferences": []},
        {"imageReferences": [{"name": "a.png"}]},
        {"imageReferences": [{"name": "a.png", "url": "http://example.com/a"}]},
        {"imageReferences": [{"name": "a.png", "url": "https:///a"}]},
        {"imageReferences": [{"name": "a.png", "url": "https://user@example.com/a"}]},
        {"imageReferences": [{"name": "", "url": "https://example.com/a"}]},
        {"imageReferences": [{"name": "a/b.png", "url": "https://example.com/a"}]},
        {"imageReferences": [{"name": "a.png", "url": "https://example.com/a"}] * 2},
        {"imageReferencesURL": "http://example.com/list"},
        {**references(1), "imageReferencesURL": "https://example.com/list"},
        {**references(1), "notificationsURL": "nowhere"},
        {**references(1), "unknown": 1},
        references(1, "video"),
        references(20_001),
    ],
    ids=lambda body: str(body)[:60],
)
async def test_what_asks_for_no_ingest_is_refused(peer: Peer, body: JSON) -> None:
    answer = await ingest(peer, body)
    assert (answer.status, "invalid references" in answer.json["error"]) == (400, True)
    assert (await peer.get("")).status == 404


async def test_twenty_thousand_references_are_taken(peer: Peer) -> None:
    assert len((await ingest(peer, references(20_000))).json["shardIds"]) == 40


async def test_a_list_elsewhere_is_accepted_and_fails_for_want_of_a_network(peer: Peer) -> None:
    assert (await ingest(peer, {"imageReferencesURL": "https://example.com/list", "ingestId": "i1"})).status == 200
    (shard,) = (await peer.get("/shards")).json["shards"]
    assert shard["statusType"] == "error"
    assert "offline" in shard["statusMetadata"]["errorDetails"]["reason"]


async def test_the_end_of_an_ingest_is_told(peer: Peer) -> None:
    async with receiver() as taker:
        more: dict[str, Any] = {
            "notificationsURL": taker.url,
            "notificationCategories": ["ingest-status", "files-status"],
        }
        answer = (await ingest(peer, references(2, ingestId="i1", **more))).json
        peer.batch_id = "b2"
        await ingest(peer, references(1, "video", "mp4", ingestId="i2", notificationsURL=taker.url), "video")
        await peer.emulator.notifications_settled()
        told = {(body["ingest_id"], body["shard_id"], body["notification"]["type"]): body for body in taker.bodies}
        assert set(told) == {
            ("i1", answer["shardIds"][0], "ingest-status-notification-v1"),
            ("i1", answer["shardIds"][0], "ingest-files-status-notification-v1"),
            ("i2", None, "ingest-status-notification-v1"),
        }


async def test_a_query_fills_its_batch_later(peer: Peer) -> None:
    body = {"query": "tag:street", "displayName": "Streets", "ingestId": "i1"}
    assert (await query(peer, body)).json == {"status": "ok", "ingestId": "i1"}
    assert (await query(peer, body)).status == 200
    assert (await peer.get("")).json["batch"]["displayName"] == "Streets"
    assert (await peer.get("/count")).json == {"count": 5}
    (shard,) = (await peer.get("/shards")).json["shards"]
    assert (shard["statusType"], shard["shardObjectsCount"]) == ("success", 5)


@pytest.mark.parametrize("body", [{}, {"query": ""}, {"query": "q", "unknown": 1}], ids=str)
async def test_what_asks_for_nothing_is_refused(peer: Peer, body: JSON) -> None:
    assert (await query(peer, body)).status == 400


async def test_ingests_last_and_unfinished_ones_go_on(open_peer: OpenPeer, tmp_path: Path) -> None:
    options: dict[str, Any] = {"store": "folder", "directory": tmp_path}
    async with open_peer(**options, index_delay_seconds=3600) as peer:
        url = f"{peer.batches_url}/b1/bulk-upload/image-references"
        body = references(2, ingestId="i1")
        first = (await peer.send("POST", url, params={"api_key": "emulator"}, json=body)).json
        shard = (await peer.get("/shards")).json["shards"][0]
        assert (shard["statusType"], shard["shardObjectsCount"]) == ("info", 0)
    for _ in range(2):
        async with open_peer(**options) as peer:
            await peer.emulator.settled()
            assert (await peer.get("/count")).json == {"count": 2}
            assert (await ingest(peer, body)).json == {**first, "duplicated": True}


async def test_ingests_meet_faults(peer: Peer) -> None:
    peer.emulator.faults.add("references:swallow,times=2", "roboql:status=503")
    assert (await query(peer, {"query": "q"})).status == 503
    with pytest.raises(Exception, match=r"."):
        await ingest(peer, references(1))
    assert len(peer.emulator.faults.unconsumed()) == 1


async def test_references_are_not_read_by_a_job_but_listed(peer: Peer) -> None:
    await ingest(peer, references(1))
    specification = {"type": "workflows-processing-specification-v1", "workspace": "emulator", "workflowId": "w"}
    body = {
        "type": "simple-image-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": "b1"},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": specification,
    }
    url = f"{peer.emulator.url}/batch-processing/v1/external/emulator/jobs/j1"
    await peer.send("POST", url, json=body, params={"api_key": "emulator"})
    await peer.emulator.jobs_settled()
    stages = (await peer.send("GET", f"{url}/stages", params={"api_key": "emulator"})).json["stages"]
    table = await peer.emulator.read_file(stages[0]["outputBatches"][0], "results-0000.jsonl", part="results")
    assert b"the emulator fetches nothing" in table
