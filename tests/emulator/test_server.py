"""The emulator begins and ends cleanly, alone and for other processes."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import ssl
import struct
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
import pytest
import trustme
from blockbuster import blockbuster_ctx
from yarl import URL

from rfbulk.emulator import Emulator, EmulatorOptions, Made, serve
from tests.support.receiver import receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.conftest import OpenPeer, Peer

pytestmark = pytest.mark.anyio

JOB: dict[str, Any] = {
    "type": "simple-image-processing-v1",
    "jobInput": {"type": "staging-batch-input-v1", "batchId": "b1", "partName": "images"},
    "computeConfiguration": {"type": "compute-configuration-v2"},
    "processingSpecification": {
        "type": "workflows-processing-specification-v1",
        "workspace": "emulator",
        "workflowId": "w",
        "persistImagesOutputs": True,
    },
}


async def test_serve_tells_its_url_and_runs_until_cancelled() -> None:
    urls: list[str] = []
    ready = anyio.Event()

    def on_ready(url: str) -> None:
        urls.append(url)
        ready.set()

    async with anyio.create_task_group() as tasks, aiohttp.ClientSession() as session:
        tasks.start_soon(serve, EmulatorOptions(), on_ready)
        await ready.wait()
        async with session.get(urls[0], params={"api_key": "emulator"}) as response:
            assert response.status == 200
        tasks.cancel_scope.cancel()


async def test_a_port_that_was_asked_for_and_is_taken_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        emulator = Emulator(EmulatorOptions(port=taken.getsockname()[1]))
        with pytest.raises(OSError, match="in use"):
            await emulator.__aenter__()


async def test_an_error_of_the_callers_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError):
        async with Emulator():
            raise KeyError


async def test_leaving_does_not_wait_for_indexing(open_peer: OpenPeer) -> None:
    async with open_peer(index_delay_seconds=3600) as peer:
        await peer.put(await peer.grant())


async def test_an_emulator_that_has_not_been_entered_has_no_ledger() -> None:
    with pytest.raises(RuntimeError):
        Emulator().ledger("b1")


async def test_it_speaks_tls(open_peer: OpenPeer) -> None:
    authority = trustme.CA(key_type=trustme.KeyType.ECDSA)
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("127.0.0.1", key_type=trustme.KeyType.ECDSA).configure_cert(server)
    authority.configure_trust(client)
    async with open_peer(tls=server) as peer:
        assert peer.emulator.url.startswith("https://")
        async with peer.session.get(peer.emulator.url, params={"api_key": "emulator"}, ssl=client) as response:
            assert response.status == 200


async def test_another_process_can_look_inside(peer: Peer) -> None:
    url = f"{peer.emulator.url}/_emulator"
    assert (await peer.send("POST", f"{url}/faults", json=["count:status=429", "put:reset"])).json == {"added": 2}
    assert (await peer.get("/count")).status == 429
    faults = (await peer.send("GET", f"{url}/faults")).json
    assert [fault["operation"] for fault in faults["consumed"]] == ["count"]
    assert [fault["operation"] for fault in faults["unconsumed"]] == ["put"]
    peer.emulator.faults.clear()
    await peer.upload()
    assert (await peer.send("GET", f"{url}/settled")).json == {"settled": True}
    ledger = (await peer.send("GET", f"{url}/ledger/b1")).json
    assert ledger["hashes"][hashlib.sha256(b"first").hexdigest()] == 1
    assert ledger["shards"][0]["status"] == "indexed"
    requests = (await peer.send("GET", f"{url}/requests")).json
    assert (requests["requests"]["put"], requests["peaks"]["put"]) == (1, 1)


@pytest.mark.parametrize("body", [b"not json", b'["put:explode"]', b"3"])
async def test_faults_that_cannot_be_read_are_refused(peer: Peer, body: bytes) -> None:
    assert (await peer.send("POST", f"{peer.emulator.url}/_emulator/faults", data=body)).status == 400


async def test_nothing_blocks_the_loop(open_peer: OpenPeer, tmp_path: Path) -> None:
    """Tests of clients run the emulator in their own loop, where it must not be what they wait for."""
    with blockbuster_ctx("rfbulk.emulator"):
        async with open_peer(store="folder", directory=tmp_path) as peer:
            await peer.upload()
            url = (await peer.get("/list")).json["filesMetadata"][0]["downloadURL"]
            assert (await peer.send("GET", URL(url, encoded=True))).body == b"first"


@pytest.mark.parametrize("store", ["memory", "folder"])
async def test_neither_exports_nor_jobs_nor_webhooks_block_the_loop(
    open_peer: OpenPeer, tmp_path: Path, store: str
) -> None:
    linked = tmp_path / "linked.bin"
    linked.write_bytes(b"x" * 3_000_000)
    options: dict[str, Any] = {"store": store, **({"directory": tmp_path / "d"} if store == "folder" else {})}
    with blockbuster_ctx("rfbulk.emulator"):
        async with open_peer(**options) as peer, receiver() as taker:
            await peer.emulator.add_sample_batch("b1")
            await peer.emulator.add_batch("b1", parts={"large": [("l.bin", linked), ("m.bin", Made(3_000_000))]})
            for part in ("results", "archives", "large"):
                for row in (await peer.get("/list", partName=part)).json["filesMetadata"]:
                    assert (await peer.send("GET", URL(row["downloadURL"], encoded=True))).status == 200
            url = f"{peer.emulator.url}/batch-processing/v1/external/emulator/jobs/j1"
            asked = {**JOB, "notificationsURL": taker.url}
            assert (await peer.send("POST", url, json=asked, params={"api_key": "emulator"})).status == 200
            await peer.emulator.jobs_settled()
            await peer.emulator.notifications_settled()
            assert taker.named("job_state") == ["success"]


async def test_the_ledger_of_an_unknown_batch_is_empty(peer: Peer) -> None:
    assert peer.emulator.ledger("unknown").granted == 0


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    """An upload whose source has changed cuts its connection: the log of a server is for what is wrong with it."""
    async with Emulator() as emulator:
        url = URL(emulator.url)
        target = f"/data-staging/v1/external/{emulator.workspace}/batches/b/upload/image?fileName=a.jpg"
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(
            f"POST {target}&api_key={emulator.api_key} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n"
            "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode()
        )
        await writer.drain()
        while not emulator.requests["image"]:  # noqa: ASYNC110 - the emulator sets no event
            await anyio.sleep(0.001)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        assert await reader.read() == b""
    assert caplog.text == ""
