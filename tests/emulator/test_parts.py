"""Batches of parts are listed part by part, page by page, and hold whatever was put into them."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import pytest
from yarl import URL

from rfbulk.emulator import Made, NewFile, NewPart

if TYPE_CHECKING:
    from pathlib import Path

    from rfbulk.emulator import NewParts
    from tests.emulator.conftest import JSON, OpenPeer, Peer

pytestmark = pytest.mark.anyio


async def contents(peer: Peer, part: str | None = None) -> list[tuple[str, bytes]]:
    """Return the names and bytes of all that is listed, each downloaded."""
    query = {} if part is None else {"partName": part}
    rows = (await peer.get("/list", pageSize="1000", **query)).json["filesMetadata"]
    return [(row["fileName"], (await download(peer, row)).body) for row in rows]


async def download(peer: Peer, row: JSON) -> JSON:
    return await peer.send("GET", URL(row["downloadURL"], encoded=True))


@pytest.mark.parametrize("store", ["memory", "folder", "count"])
async def test_parts_hold_what_was_put_into_them(open_peer: OpenPeer, tmp_path: Path, store: str) -> None:
    options = {"store": store, **({"directory": tmp_path / "service"} if store == "folder" else {})}
    (tmp_path / "kept.bin").write_bytes(b"kept" * 1000)
    async with open_peer(**options) as peer:
        parts: NewParts = {
            "given": [("a.jsonl", b"{}\n"), ("b.jsonl", b""), ("c.jsonl", b"third")],
            "others": [("kept.bin", tmp_path / "kept.bin"), ("made.bin", Made(3_000_000, seed=7))],
        }
        await peer.emulator.add_batch("b1", parts=parts)
        assert await contents(peer, "given") == [("a.jsonl", b"{}\n"), ("b.jsonl", b""), ("c.jsonl", b"third")]
        others = dict(await contents(peer, "others"))
        assert (others["kept.bin"], len(others["made.bin"])) == (b"kept" * 1000, 3_000_000)
        assert peer.emulator.ledger("b1").names.total() == 5


async def test_made_contents_differ_by_seed_and_are_the_same_each_time(peer: Peer) -> None:
    made = [("a", Made(5000, seed=1)), ("b", Made(5000, seed=2)), ("c", Made(5000, seed=1))]
    await peer.emulator.add_batch("b1", parts={"p": made})
    first, second, third = [body for _, body in await contents(peer, "p")]
    assert first != second
    assert first == third


async def test_parts_say_what_they_are(peer: Peer) -> None:
    parts: NewParts = {
        "results": NewPart([("a.jsonl", b"x")], description="found"),
        "images": [("a.png", b"x"), ("b.JPG", b"y")],
        "archives": NewPart([("a.tar.gz", b"x"), ("b.tar", b"y")], nested_content_type="images"),
        "all": [("a.png", b"x"), ("a.csv", b"y")],
        "none": [],
    }
    await peer.emulator.add_batch("b1", parts=parts, display_name="Mine")
    assert (await peer.get("/parts")).json["batchParts"] == [
        {"partName": "results", "partType": "simple-batch", "contentType": "metadata", "partDescription": "found"},
        {"partName": "images", "partType": "simple-batch", "contentType": "images"},
        {
            "partName": "archives",
            "partType": "simple-batch",
            "contentType": "archives",
            "nestedContentType": "images",
        },
        {"partName": "all", "partType": "simple-batch", "contentType": "mixed"},
        {"partName": "none", "partType": "simple-batch", "contentType": "metadata"},
    ]
    batch = (await peer.get("")).json["batch"]
    assert (batch["batchType"], batch["batchContentType"], batch["displayName"]) == ("multipart-batch", "mixed", "Mine")


async def test_a_part_is_listed_page_by_page(peer: Peer) -> None:
    files = [(f"{number}.txt", b"%d" % number) for number in range(7)]
    await peer.emulator.add_batch("b1", parts={"p": files, "q": files[:2]})
    token: dict[str, str] = {}
    sizes, names = [], []
    while True:
        page = (await peer.get("/list", partName="p", pageSize="3", **token)).json
        sizes.append(len(page["filesMetadata"]))
        names += [row["fileName"] for row in page["filesMetadata"]]
        if page["nextPageToken"] is None:
            break
        token = {"nextPageToken": page["nextPageToken"]}
        assert (await peer.get("/list", partName="q", **token)).status == 400
    assert sizes == [3, 3, 1]
    assert names == [name for name, _ in files]


async def test_a_part_is_counted_alone_and_the_batch_as_a_whole(peer: Peer) -> None:
    await peer.emulator.add_batch("b1", parts={"p": [("a", b"x"), ("b", b"x")], "q": [("a", b"x")]})
    assert (await peer.get("/count", partName="p")).json == {"count": 2}
    assert (await peer.get("/count")).json == {"count": 3}


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("/list", {}, 400),
        ("/list", {"partName": "other"}, 404),
        ("/count", {"partName": "other"}, 404),
        ("/parts", {}, 200),
    ],
)
async def test_a_batch_of_parts_is_asked_for_a_part(peer: Peer, path: str, query: dict[str, str], status: int) -> None:
    await peer.emulator.add_batch("b1", parts={"p": [("a", b"x")]})
    assert (await peer.get(path, **query)).status == status


async def test_a_row_says_all_that_is_known_of_a_file(peer: Peer) -> None:
    file = NewFile("a.tar.gz", b"x", shard_id="s1", content_type="archive", nested_content_type="image")
    await peer.emulator.add_batch("b1", parts={"p": [file]})
    row = (await peer.get("/list", partName="p")).json["filesMetadata"][0]
    del row["downloadURL"]
    assert row == {
        "fileName": "a.tar.gz",
        "partName": "p",
        "shardId": "s1",
        "contentType": "archive",
        "nestedContentType": "image",
    }


@pytest.mark.parametrize(
    "name",
    ["../evil.jpg", "/etc/evil.jpg", "..", "a/../b.jpg", "a\\b.jpg", "line\nbreak.jpg", "nul\0.jpg", "", "日本 #?.jpg"],
)
async def test_names_are_taken_as_they_come_and_can_be_downloaded(peer: Peer, name: str) -> None:
    await peer.emulator.add_batch("b1", parts={"p": [(name, b"content")]})
    assert await contents(peer, "p") == [(name, b"content")]


async def test_equal_names_of_two_shards_are_two_files(peer: Peer) -> None:
    files = [NewFile("a.png", b"first", shard_id="s1"), NewFile("a.png", b"second", shard_id="s2")]
    await peer.emulator.add_batch("b1", parts={"p": files})
    assert await contents(peer, "p") == [("a.png", b"first"), ("a.png", b"second")]


@pytest.mark.parametrize(("shard", "kind"), [(None, "simple-batch"), ("s1", "sharded-batch")])
async def test_files_without_parts_make_a_simple_or_sharded_batch(peer: Peer, shard: str | None, kind: str) -> None:
    await peer.emulator.add_batch("b1", files=[NewFile("a.png", b"x", shard_id=shard)])
    assert (await peer.get("")).json["batch"]["batchType"] == kind
    assert await contents(peer) == [("a.png", b"x")]
    assert (await peer.get("/parts")).status == 400


async def test_a_batch_can_be_added_to(peer: Peer) -> None:
    await peer.emulator.add_batch("b1", parts={"p": [("a", b"1")]})
    await peer.emulator.add_batch("b1", parts={"p": [("b", b"2")], "q": [("c", b"3")]})
    assert await contents(peer, "p") == [("a", b"1"), ("b", b"2")]
    assert await contents(peer, "q") == [("c", b"3")]


async def test_what_cannot_be_a_batch_is_refused(peer: Peer) -> None:
    await peer.emulator.add_batch("b1", parts={"p": []})
    arguments: list[tuple[str, dict[str, Any]]] = [
        ("b1", {"files": [("a", b"x")]}),
        ("b2", {"parts": {}, "files": [("a", b"x")]}),
        ("Ä", {}),
    ]
    for batch_id, asked in arguments:
        with pytest.raises(ValueError, match=r"batch"):
            await peer.emulator.add_batch(batch_id, **asked)


async def test_a_removed_batch_is_no_more(peer: Peer) -> None:
    await peer.upload()
    await peer.emulator.remove_batch("b1")
    assert (await peer.get("")).status == 404
    assert (await peer.upload()).status == 200
    assert peer.emulator.ledger("b1").names.total() == 2


async def test_batches_of_parts_last(open_peer: OpenPeer, tmp_path: Path) -> None:
    (tmp_path / "kept.bin").write_bytes(b"kept")
    parts: NewParts = {"p": [("a.txt", b"given"), ("kept.bin", tmp_path / "kept.bin"), ("made.bin", Made(50))]}
    seen = []
    async with open_peer(store="folder", directory=tmp_path / "service") as peer:
        await peer.emulator.add_batch("b1", parts=parts)
        await peer.emulator.add_batch("b2", parts=parts)
        await peer.emulator.remove_batch("b2")
        seen.append((await contents(peer, "p"), (await peer.get("/parts")).json))
    async with open_peer(store="folder", directory=tmp_path / "service") as peer:
        seen.append((await contents(peer, "p"), (await peer.get("/parts")).json))
        peer.batch_id = "b2"
        assert (await peer.get("")).status == 404
    assert seen[0] == seen[1]


async def test_another_process_can_make_and_remove_batches(peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "kept.bin").write_bytes(b"kept")
    files = [
        {"name": "a.txt", "text": "é"},
        {"name": "b.bin", "base64": base64.b64encode(b"\0\1").decode()},
        {"name": "c.bin", "size": 3, "seed": 1},
        {"name": "d.bin", "path": str(tmp_path / "kept.bin"), "shardId": "s1"},
    ]
    asked = {"batchId": "b1", "parts": {"p": {"files": files, "description": "said"}}}
    url = f"{peer.emulator.url}/_emulator/batches"
    assert (await peer.send("POST", url, json=asked)).json == {"batchId": "b1"}
    assert [body for _, body in await contents(peer, "p")] == ["é".encode(), b"\0\1", b"\0\0\0", b"kept"]
    assert (await peer.send("DELETE", f"{url}/b1")).status == 200
    assert (await peer.get("")).status == 404


@pytest.mark.parametrize(
    "asked",
    [
        [],
        {"batchId": "b1", "files": [{"name": "a"}]},
        {"batchId": "b1", "files": [{"name": "a", "text": "", "size": 1}]},
        {"batchId": "b1", "files": [{"name": "a", "path": "/nowhere/at/all"}]},
        {"batchId": "NO", "files": []},
        {"batchId": "b1", "unknown": 1},
    ],
    ids=str,
)
async def test_what_asks_for_no_batch_is_refused(peer: Peer, asked: JSON) -> None:
    answer = await peer.send("POST", f"{peer.emulator.url}/_emulator/batches", json=asked)
    assert answer.status == 400


async def test_the_sample_batch_has_files_tables_and_archives(peer: Peer) -> None:
    await peer.emulator.add_sample_batch("b1")
    await peer.emulator.add_sample_batch("b1")
    parts = [row["partName"] for row in (await peer.get("/parts")).json["batchParts"]]
    assert parts == ["results", "tables", "images", "archives"]
    names = {name: body for part in parts for name, body in await contents(peer, part)}
    assert len(names) == 3 + 1 + 24 + 3
    assert names["images-0.tar.gz"].startswith(b"\x1f\x8b")
