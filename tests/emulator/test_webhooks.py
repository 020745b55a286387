"""Notifications arrive until they are taken, in the service's shapes, or as badly as a switch says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rfbulk.emulator import WebhookOptions
from rfbulk.emulator.images import sample_image
from rfbulk.emulator.webhooks.delivering import is_loopback
from tests.support.receiver import receiver

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.conftest import MakeTar, OpenPeer, Peer

QUICK = {"first_seconds": 0.001, "cap_seconds": 0.002}


def hooks(**options: Any) -> WebhookOptions:
    return WebhookOptions(**{**QUICK, **options})


async def tell(peer: Peer, url: str, *names: str) -> None:
    for name in names or ("one",):
        await peer.emulator.notify(url, {"job_state": "success", "name": name})
    await peer.emulator.notifications_settled()


def config(url: str, *categories: str) -> bytes:
    asked = f', "notificationCategories": {list(categories)}'.replace("'", '"') if categories else ""
    return f'{{"ingestId": "i1", "notificationsURL": "{url}"{asked}}}'.encode()


pytestmark = pytest.mark.anyio


async def test_a_shard_that_was_indexed_is_told(peer: Peer, make_tar: MakeTar) -> None:
    async with receiver() as taker:
        await peer.upload(make_tar({"a.png": b"x", "notification_config.json": config(taker.url)}))
        await peer.emulator.notifications_settled()
        shard_id = peer.emulator.ledger("b1").shards[0].id
        (body,) = taker.bodies
        assert len(body.pop("event_id")) == 32
        assert body == {
            "type": "roboflow-data-staging-notification-v1",
            "ingest_id": "i1",
            "batch_id": "b1",
            "shard_id": shard_id,
            "delivery_attempt": 1,
            "notification": {"type": "ingest-status-notification-v1", "success": True, "error_details": None},
        }
        assert peer.emulator.ledger("b1").names == {"a.png": 1}


@pytest.mark.parametrize("store", ["memory", "count"])
async def test_files_are_told_one_by_one_when_asked_for(open_peer: OpenPeer, make_tar: MakeTar, store: str) -> None:
    async with open_peer(store=store) as peer, receiver() as taker:
        files = {"a.png": b"x", "b.txt": b"x", "notification_config.json": config(taker.url, "files-status")}
        await peer.upload(make_tar(files))
        await peer.emulator.notifications_settled()
        assert taker.named("notification") == [
            {
                "type": "ingest-files-status-notification-v1",
                "success": False,
                "ingested_files": ["a.png"],
                "failed_files": [{"type": "invalid-file", "file_name": "b.txt", "reason": "unsupported format"}],
                "content_truncated": False,
            }
        ]


async def test_a_shard_that_failed_is_told_with_its_reason(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(limit_statement="field", max_shard_bytes=123) as peer, receiver() as taker:
        await peer.upload(make_tar({"a.png": b"x", "notification_config.json": config(taker.url)}))
        await peer.emulator.notifications_settled()
        told = taker.bodies[0]["notification"]
        assert (told["success"], told["error_details"]["reason"]) == (False, "the archive is larger than 123 bytes")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"ingestId": "i1"}', b"x" * 3000])
async def test_a_configuration_that_cannot_be_read_tells_nobody(peer: Peer, make_tar: MakeTar, content: bytes) -> None:
    await peer.upload(make_tar({"a.png": b"x", "notification_config.json": content}))
    assert peer.emulator.deliveries == []
    assert peer.emulator.ledger("b1").names == {"a.png": 1}


async def test_the_end_of_a_job_is_told(peer: Peer, make_tar: MakeTar) -> None:
    async with receiver() as taker:
        await peer.upload(make_tar({"a.png": sample_image(1)}))
        for job_id, batch in (("good", "b1"), ("aborted", "b1")):
            if job_id == "aborted":
                await peer.send("POST", f"{peer.emulator.url}/_emulator/job-scripts", json=[{"end": "stall"}])
            await start(peer, job_id, batch, taker.url)
            if job_id == "aborted":
                await peer.send("POST", f"{jobs_url(peer)}/aborted/abort", params={"api_key": "emulator"})
            await peer.emulator.jobs_settled()
        await peer.emulator.notifications_settled()
        assert sorted(zip(taker.named("job_id"), taker.named("job_state"), strict=True)) == [
            ("aborted", "fail"),
            ("good", "success"),
        ]
        assert set(taker.named("type")) == {"roboflow-batch-job-notification-v1"}


def jobs_url(peer: Peer) -> str:
    return f"{peer.emulator.url}/batch-processing/v1/external/emulator/jobs"


async def start(peer: Peer, job_id: str, batch: str, url: str) -> None:
    specification = {"type": "workflows-processing-specification-v1", "workspace": "emulator", "workflowId": "w"}
    body = {
        "type": "simple-image-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": batch},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": specification,
        "notificationsURL": url,
    }
    answer = await peer.send("POST", f"{jobs_url(peer)}/{job_id}", json=body, params={"api_key": "emulator"})
    assert answer.status == 200


@pytest.mark.parametrize(("mode", "key"), [("bearer", "Bearer rf_w7"), ("bare", "rf_w7"), ("none", None)])
async def test_the_key_is_sent_as_the_switch_says(open_peer: OpenPeer, mode: Any, key: str | None) -> None:
    options = hooks(authorization=mode, workspace_id="w7")
    async with open_peer(webhooks=options) as peer, receiver() as taker:
        await tell(peer, taker.url)
        assert taker.keys == [key]


async def test_a_notification_is_sent_again_until_it_is_taken(open_peer: OpenPeer) -> None:
    async with open_peer(webhooks=hooks()) as peer, receiver(500, 302, 401, 204) as taker:
        await tell(peer, taker.url)
        assert taker.named("delivery_attempt") == [1, 2, 3, 4]
        assert len(set(taker.named("event_id"))) == 1
        assert [each.status for each in peer.emulator.deliveries] == [500, 302, 401, 204]
        assert [each.was_taken for each in peer.emulator.deliveries] == [False, False, False, True]


async def test_it_is_given_up_at_last(open_peer: OpenPeer) -> None:
    async with open_peer(webhooks=hooks(attempts=3)) as peer, receiver(*[500] * 9) as taker:
        await tell(peer, taker.url)
        assert len(taker.bodies) == 3


async def test_nobody_who_listens_is_an_attempt_too(open_peer: OpenPeer) -> None:
    async with open_peer(webhooks=hooks(attempts=2)) as peer:
        await tell(peer, "http://127.0.0.1:1/hook")
        assert [(each.attempt, each.status) for each in peer.emulator.deliveries] == [(1, None), (2, None)]
        assert all(each.problem for each in peer.emulator.deliveries)


async def test_duplicates_and_contradictions_have_the_same_event_id(open_peer: OpenPeer) -> None:
    async with open_peer(webhooks=hooks(duplicates=2, conflicting=True)) as peer, receiver() as taker:
        await tell(peer, taker.url)
        assert taker.named("job_state") == ["success", "success", "success", "fail"]
        assert taker.named("delivery_attempt") == [1, 2, 3, 4]
        assert len(set(taker.named("event_id"))) == 1


async def test_an_ingest_is_contradicted_too(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(webhooks=hooks(conflicting=True)) as peer, receiver() as taker:
        await peer.upload(make_tar({"a.png": b"x", "notification_config.json": config(taker.url)}))
        await peer.emulator.notifications_settled()
        assert [told["success"] for told in taker.named("notification")] == [True, False]


async def test_each_second_notification_overtakes_the_one_ahead(open_peer: OpenPeer) -> None:
    async with open_peer(webhooks=hooks(reorder=True)) as peer, receiver() as taker:
        await tell(peer, taker.url, "a", "b", "c")
        assert taker.named("name")[:2] == ["b", "a"]
        assert taker.named("name")[2] == "c"


@pytest.mark.parametrize(
    ("options", "problem"), [({}, "not on this machine"), ({"silent": True, "allow_remote": True}, "silent")]
)
async def test_what_may_not_be_sent_is_accounted_for(
    open_peer: OpenPeer, options: dict[str, Any], problem: str
) -> None:
    async with open_peer(webhooks=hooks(**options)) as peer:
        await tell(peer, "https://example.com/hook")
        assert [(each.attempt, each.problem) for each in peer.emulator.deliveries] == [(0, problem)]
        answer = await peer.send("GET", f"{peer.emulator.url}/_emulator/deliveries")
        assert answer.json["deliveries"][0]["problem"] == problem


@pytest.mark.parametrize(
    ("url", "is_here"),
    [
        ("http://127.0.0.1:80/x", True),
        ("http://127.9.9.9/x", True),
        ("http://[::1]:80/x", True),
        ("http://localhost/x", True),
        ("http://localhost.example.com/x", False),
        ("http://10.0.0.1/x", False),
        ("http://[::1/x", False),
        ("nonsense", False),
    ],
)
async def test_only_this_machine_is_this_machine(url: str, is_here: bool) -> None:
    assert is_loopback(url) == is_here


async def test_what_was_not_taken_is_sent_by_the_next_process(open_peer: OpenPeer, tmp_path: Path) -> None:
    async with receiver(500) as taker:
        options: dict[str, Any] = {"store": "folder", "directory": tmp_path}
        async with open_peer(**options, webhooks=hooks(first_seconds=3600, cap_seconds=3600)) as peer:
            await peer.emulator.notify(taker.url, {"name": "one"})
            while not peer.emulator.deliveries:
                await peer.send("GET", f"{peer.emulator.url}/_emulator/requests")
        async with open_peer(**options, webhooks=hooks()) as peer:
            await peer.emulator.notifications_settled()
        async with open_peer(**options, webhooks=hooks()) as peer:
            await peer.emulator.notifications_settled()
        assert taker.named("name") == ["one", "one"]
        assert len(set(taker.named("event_id"))) == 1


async def test_a_storm_arrives_whole(open_peer: OpenPeer) -> None:
    async with open_peer(webhooks=hooks(duplicates=1, reorder=True)) as peer, receiver() as taker:
        await tell(peer, taker.url, *[str(number) for number in range(100)])
        assert len(taker.bodies) == 200
        assert len(set(taker.named("event_id"))) == 100


@pytest.mark.parametrize(
    "options", [{"authorization": "none at all"}, {"attempts": 0}, {"duplicates": -1}, {"timeout_seconds": 0}], ids=str
)
async def test_options_that_cannot_work_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        WebhookOptions(**options)
