"""The API's answers have the documented shapes, and its refusals the documented statuses."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from tests.emulator.conftest import MakeTar, OpenPeer, Peer

pytestmark = pytest.mark.anyio

BATCH_FIELDS = {
    "displayName": str,
    "batchId": str,
    "batchType": str,
    "batchContentType": str,
    "createdDate": str,
    "expiryDate": str,
}
SHARD_FIELDS = {
    "shardId": str,
    "statusName": str,
    "statusType": str,
    "eventTimestamp": str,
    "shardObjectsCount": int,
    "statusMetadata": dict,
}
FILE_FIELDS = {"downloadURL": str, "fileName": str, "contentType": str}


def assert_shape(value: Any, fields: Mapping[str, type]) -> None:
    for name, kind in fields.items():
        assert type(value[name]) is kind, name


async def test_the_key_leads_to_its_workspace(peer: Peer) -> None:
    answer = await peer.send("GET", peer.emulator.url, params={"api_key": "emulator"})
    assert answer.json["workspace"] == "emulator"


@pytest.mark.parametrize("query", [{}, {"api_key": "wrong"}, {"api_key": ""}])
@pytest.mark.parametrize("path", ["/", "/data-staging/v1/external/emulator/batches"])
async def test_a_missing_or_wrong_key_is_unauthorised(peer: Peer, path: str, query: dict[str, str]) -> None:
    answer = await peer.send("GET", peer.emulator.url + path, params=query)
    assert answer.status == 401
    assert_shape(answer.json, {"error": str})


async def test_another_workspace_is_forbidden(peer: Peer) -> None:
    url = peer.batches_url.replace("/external/emulator/", "/external/other/")
    assert (await peer.send("GET", url, params={"api_key": "emulator"})).status == 403


async def test_an_unknown_path_is_a_json_error(peer: Peer) -> None:
    answer = await peer.get("/nothing")
    assert answer.status == 404
    assert_shape(answer.json, {"error": str})


@pytest.mark.parametrize("path", ["", "/count", "/shards", "/list", "/parts"])
async def test_a_batch_does_not_exist_before_its_first_grant(peer: Peer, path: str) -> None:
    assert (await peer.get(path)).status == 404
    await peer.grant()
    assert (await peer.get(path)).status == (400 if path == "/parts" else 200)


@pytest.mark.parametrize("batch_id", ["Upper", "dot.ted", "a" * 65, "blank%20"])
async def test_an_impossible_batch_id_is_refused(peer: Peer, batch_id: str) -> None:
    peer.batch_id = batch_id
    assert (await peer.get("/count")).status == 400
    assert (await peer.call("POST", "/bulk-upload/image-files")).status == 400


async def test_a_grant_has_the_documented_shape(peer: Peer) -> None:
    answer = await peer.call("POST", "/bulk-upload/image-files")
    assert answer.json["status"] == "ok"
    assert_shape(answer.json["signedURLDetails"], {"uploadURL": str, "extensionHeaders": dict, "method": str})


async def test_a_batch_has_the_documented_shape(peer: Peer) -> None:
    await peer.grant(displayName="My images")
    await peer.grant(displayName="ignored")
    batch = (await peer.get("")).json["batch"]
    assert_shape(batch, BATCH_FIELDS)
    assert (batch["displayName"], batch["batchType"]) == ("My images", "sharded-batch")
    life = datetime.fromisoformat(batch["expiryDate"]) - datetime.fromisoformat(batch["createdDate"])
    assert life.days == 7


async def test_a_batch_without_a_display_name_is_named_by_its_id(peer: Peer) -> None:
    await peer.grant()
    assert (await peer.get("")).json["batch"]["displayName"] == "b1"


async def test_all_times_carry_a_zone(peer: Peer) -> None:
    await peer.upload()
    batch = (await peer.get("")).json["batch"]
    shard = (await peer.get("/shards")).json["shards"][0]
    for text in (batch["createdDate"], batch["expiryDate"], shard["eventTimestamp"]):
        assert datetime.fromisoformat(text).tzinfo is not None


async def test_a_shards_row_follows_its_life(open_peer: OpenPeer) -> None:
    async with open_peer(index_delay_seconds=0.05) as peer:
        grant = await peer.grant()
        registered = (await peer.get("/shards")).json["shards"][0]
        await peer.put(grant)
        uploaded = (await peer.get("/shards")).json["shards"][0]
        await peer.emulator.settled()
        indexed = (await peer.get("/shards")).json["shards"][0]
        rows = (registered, uploaded, indexed)
        assert [row["statusType"] for row in rows] == ["info", "info", "success"]
        assert [row["shardObjectsCount"] for row in rows] == [0, 0, 2]
        assert len({row["shardId"] for row in rows}) == 1
        for row in rows:
            assert_shape(row, SHARD_FIELDS)


async def test_a_failed_shard_says_why(peer: Peer) -> None:
    await peer.upload(b"no tar at all")
    row = (await peer.get("/shards")).json["shards"][0]
    assert row["statusType"] == "error"
    assert "malformed" in row["statusMetadata"]["errorDetails"]["reason"]
    assert (await peer.get("/count")).json == {"count": 0}


async def test_failed_files_are_named_in_the_shards_row(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar({"good.png": b"x", "bad.txt": b"x"}))
    row = (await peer.get("/shards")).json["shards"][0]
    assert (row["statusType"], row["shardObjectsCount"]) == ("success", 1)
    assert [each["fileName"] for each in row["statusMetadata"]["failedFiles"]] == ["bad.txt"]
    assert peer.emulator.ledger("b1").failed == {"bad.txt": "unsupported format"}


async def test_listed_files_have_the_documented_shape_and_their_shard(peer: Peer) -> None:
    await peer.upload()
    files = (await peer.get("/list")).json["filesMetadata"]
    shard = (await peer.get("/shards")).json["shards"][0]
    assert [each["fileName"] for each in files] == ["a.png", "b.jpg"]
    for each in files:
        assert_shape(each, {**FILE_FIELDS, "shardId": str})
        assert each["shardId"] == shard["shardId"]


async def test_paging_gives_each_element_once_and_ends_with_null(peer: Peer, make_tar: MakeTar) -> None:
    for letter in "abc":
        await peer.upload(make_tar({f"{letter}{number}.png": b"x" for number in range(3)}))
    pages = await peer.pages("/list", "filesMetadata", 4)
    assert [len(page) for page in pages] == [4, 4, 1]
    names = [each["fileName"] for page in pages for each in page]
    assert names == [f"{letter}{number}.png" for letter in "abc" for number in range(3)]
    assert [len(page) for page in await peer.pages("/shards", "shards", 2)] == [2, 1]


async def test_batches_are_listed_page_by_page(peer: Peer) -> None:
    for batch_id in ("b1", "b2", "b3"):
        peer.batch_id = batch_id
        await peer.grant()
    query = {"api_key": "emulator", "pageSize": "2"}
    first = (await peer.send("GET", peer.batches_url, params=query)).json
    query["nextPageToken"] = first["nextPageToken"]
    second = (await peer.send("GET", peer.batches_url, params=query)).json
    assert [batch["batchId"] for batch in first["batches"] + second["batches"]] == ["b1", "b2", "b3"]
    assert second["nextPageToken"] is None
    assert_shape(first["batches"][0], BATCH_FIELDS)


async def test_a_tampered_or_foreign_token_is_refused(peer: Peer) -> None:
    await peer.upload()
    token = (await peer.get("/list", pageSize="1")).json["nextPageToken"]
    changed = ("B" if token[0] == "A" else "A") + token[1:]
    for path, bad in (("/list", changed), ("/list", "nonsense!"), ("/list", "ä"), ("/shards", token)):
        assert (await peer.get(path, nextPageToken=bad)).status == 400


@pytest.mark.parametrize("size", ["0", "-1", "many", "1.5", ""])
async def test_an_impossible_page_size_is_refused(peer: Peer, size: str) -> None:
    await peer.grant()
    assert (await peer.get("/list", pageSize=size)).status == 400


async def test_naming_a_part_of_a_batch_without_parts_is_refused(peer: Peer) -> None:
    await peer.upload()
    assert (await peer.get("/list", partName="images")).status == 400
    assert (await peer.get("/count", partName="images")).status == 400


async def test_simple_upload_fills_a_simple_batch(peer: Peer) -> None:
    assert (await peer.image("one.png", b"1")).status == 200
    assert (await peer.image("two words ü.JPG", b"2")).status == 200
    assert (await peer.get("")).json["batch"]["batchType"] == "simple-batch"
    assert (await peer.get("/count")).json == {"count": 2}
    files = (await peer.get("/list")).json["filesMetadata"]
    assert [each["fileName"] for each in files] == ["one.png", "two words ü.JPG"]
    assert all("shardId" not in each for each in files)
    assert set(peer.emulator.ledger("b1").names.values()) == {1}


@pytest.mark.parametrize("name", ["movie.mp4", "no-extension", "up/one.png"])
async def test_simple_upload_refuses_what_is_no_image(peer: Peer, name: str) -> None:
    assert (await peer.image(name, b"x")).status == 400


async def test_simple_upload_refuses_an_empty_file(peer: Peer) -> None:
    assert (await peer.image("empty.png", b"")).status == 400
    assert peer.emulator.ledger("b1").stored == 0


async def test_a_simple_upload_without_a_file_part_is_refused(peer: Peer) -> None:
    assert (await peer.call("POST", "/upload/image", fileName="a.png")).status == 400


async def test_simple_and_bulk_upload_do_not_mix(peer: Peer) -> None:
    await peer.image("one.png", b"1")
    assert (await peer.call("POST", "/bulk-upload/image-files")).status == 409
    peer.batch_id = "b2"
    await peer.grant()
    assert (await peer.image("one.png", b"1")).status == 409


async def test_a_video_is_granted_stored_and_counted(peer: Peer) -> None:
    grant = (await peer.call("POST", "/upload/video", fileName="a.mp4")).json["signedURLDetails"]
    assert (await peer.get("/count")).json == {"count": 0}
    assert (await peer.put(grant, b"frames")).status == 200
    await peer.emulator.settled()
    assert (await peer.get("/count")).json == {"count": 1}
    assert (await peer.get("")).json["batch"]["batchContentType"] == "videos"
    assert (await peer.get("/shards")).json["shards"] == []
    assert (await peer.get("/list")).json["filesMetadata"][0]["contentType"] == "video"


async def test_a_video_of_no_known_format_is_refused(peer: Peer) -> None:
    assert (await peer.call("POST", "/upload/video", fileName="a.png")).status == 400


async def test_requests_are_counted_by_operation(peer: Peer) -> None:
    await peer.upload()
    await peer.upload()
    assert (peer.emulator.requests["grant"], peer.emulator.requests["put"]) == (2, 2)
    assert peer.emulator.peak_requests["put"] == 1
