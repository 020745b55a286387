"""What the folder store has answered for is there in the next process, and signed URLs stay good."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest
from yarl import URL

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.conftest import MakeTar, OpenPeer

pytestmark = pytest.mark.anyio


async def test_everything_is_there_after_a_restart(open_peer: OpenPeer, tmp_path: Path) -> None:
    async with open_peer(store="folder", directory=tmp_path) as peer:
        await peer.upload()
        granted = await peer.grant()
        url = peer.emulator.url
        ledger = peer.emulator.ledger("b1")
        listed = (await peer.get("/list")).json["filesMetadata"]
        metadata = (await peer.get("")).json
        token = (await peer.get("/list", pageSize="1")).json["nextPageToken"]
    async with open_peer(store="folder", directory=tmp_path) as peer:
        assert peer.emulator.url == url
        assert peer.emulator.ledger("b1") == ledger
        assert (await peer.get("")).json == metadata
        assert (await peer.send("GET", URL(listed[0]["downloadURL"], encoded=True))).body == b"first"
        assert (await peer.get("/list", nextPageToken=token)).status == 200
        assert (await peer.put(granted)).status == 200
        await peer.emulator.settled()
        assert set(peer.emulator.ledger("b1").hashes.values()) == {2}
        assert (await peer.put(granted)).status == 412


async def test_a_stored_shard_is_indexed_by_the_next_process(open_peer: OpenPeer, tmp_path: Path) -> None:
    async with open_peer(store="folder", directory=tmp_path, index_delay_seconds=3600) as peer:
        await peer.put(await peer.grant())
        assert peer.emulator.ledger("b1").names == {}
    async with open_peer(store="folder", directory=tmp_path) as peer:
        await peer.emulator.settled()
        assert peer.emulator.ledger("b1").names == {"a.png": 1, "b.jpg": 1}
    async with open_peer(store="folder", directory=tmp_path) as peer:
        await peer.emulator.settled()
        assert peer.emulator.ledger("b1").names == {"a.png": 1, "b.jpg": 1}


async def test_simple_files_failed_files_and_videos_last(
    open_peer: OpenPeer, make_tar: MakeTar, tmp_path: Path
) -> None:
    ledgers = []
    async with open_peer(store="folder", directory=tmp_path) as peer:
        await peer.upload(make_tar({"good.png": b"x", "bad.txt": b"x"}))
        peer.batch_id = "simple"
        await peer.image("one.png", b"1")
        peer.batch_id = "videos"
        grant = (await peer.call("POST", "/upload/video", fileName="a.mp4")).json["signedURLDetails"]
        await peer.put(grant, b"frames")
        await peer.emulator.settled()
        ledgers.append([peer.emulator.ledger(name) for name in ("b1", "simple", "videos")])
    async with open_peer(store="folder", directory=tmp_path) as peer:
        ledgers.append([peer.emulator.ledger(name) for name in ("b1", "simple", "videos")])
    assert ledgers[0] == ledgers[1]
    assert [len(ledger.names) for ledger in ledgers[0]] == [1, 1, 1]


async def test_a_half_written_event_is_forgotten(open_peer: OpenPeer, tmp_path: Path) -> None:
    """A process killed within a write has not answered for it."""
    async with open_peer(store="folder", directory=tmp_path) as peer:
        await peer.upload()
    with (tmp_path / "events.jsonl").open("ab") as journal:
        journal.write(b'{"type":"gra')
    for _ in range(2):
        async with open_peer(store="folder", directory=tmp_path) as peer:
            assert set(peer.emulator.ledger("b1").names.values()) == {1}
            peer.batch_id = "b2"
            await peer.grant()


async def test_a_half_written_object_is_cleared_away(open_peer: OpenPeer, tmp_path: Path) -> None:
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "abandoned.part").write_bytes(b"half")
    async with open_peer(store="folder", directory=tmp_path):
        assert list((tmp_path / "objects").iterdir()) == []


async def test_another_port_is_taken_when_the_earlier_one_is_not_free(open_peer: OpenPeer, tmp_path: Path) -> None:
    async with open_peer(store="folder", directory=tmp_path) as peer:
        port = int(peer.emulator.url.rsplit(":", 1)[1])
    with socket.create_server(("127.0.0.1", port)):
        async with open_peer(store="folder", directory=tmp_path) as peer:
            assert peer.emulator.url != f"http://127.0.0.1:{port}"
            assert (await peer.upload()).status == 200


async def test_only_the_owner_may_read_the_keys(open_peer: OpenPeer, tmp_path: Path) -> None:
    async with open_peer(store="folder", directory=tmp_path):
        modes = [(tmp_path / name).stat().st_mode & 0o777 for name in ("identity.json", "events.jsonl")]
    assert modes == [0o600, 0o600]
