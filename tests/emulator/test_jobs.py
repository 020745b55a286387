"""Jobs read what is staged, and leave results, archives and logs behind, shown as the service shows them."""

from __future__ import annotations

import csv
import hashlib
import io
import tarfile
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from rfbulk.emulator import JobOptions, NewFile
from rfbulk.emulator.images import sample_image
from tests.emulator.jobcalls import HASHES, IMAGES, body, call, part_of, rows_of, run, show, stages

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.conftest import JSON, MakeTar, OpenPeer, Peer

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("way", ["sharded", "simple", "part"])
@pytest.mark.parametrize("store", ["memory", "folder"])
async def test_each_image_is_read_and_found_in_the_results(
    open_peer: OpenPeer, make_tar: MakeTar, tmp_path: Path, store: str, way: str
) -> None:
    options = {"store": store, **({"directory": tmp_path} if store == "folder" else {})}
    async with open_peer(**options, jobs=JobOptions(task_files=3)) as peer:
        asked = body()
        if way == "sharded":
            await peer.upload(make_tar(IMAGES))
        elif way == "simple":
            for name, content in IMAGES.items():
                await peer.image(name, content)
        else:
            await peer.emulator.add_batch("b1", parts={"p": list(IMAGES.items())})
            asked = body(jobInput={"partName": "p"})
        processing, export = await run(peer, asked)
        rows = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
        assert Counter(row["sha256"] for row in rows) == HASHES
        assert [row["image"] for row in rows] == list(IMAGES)
        assert [(row["width"], row["height"], row["format"]) for row in rows] == [
            (20 + number, 20 + number, "png") for number in range(7)
        ]
        assert [row["bytes"] for row in rows] == [len(content) for content in IMAGES.values()]
        assert (processing["tasksNumber"], export["tasksNumber"]) == (3, 1)


async def test_results_can_be_tables(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    processing, _ = await run(peer, body(aggregationFormat="csv"))
    tables = await part_of(peer, processing["outputBatches"][0], "results")
    assert list(tables) == ["results-0000.csv"]
    rows = list(csv.DictReader(io.StringIO(tables["results-0000.csv"].decode())))
    assert Counter(row["sha256"] for row in rows) == HASHES
    assert rows[0] == {
        "image": "00.png",
        "sha256": hashlib.sha256(IMAGES["00.png"]).hexdigest(),
        "bytes": str(len(IMAGES["00.png"])),
        "format": "png",
        "width": "20",
        "height": "20",
        "error": "",
    }


async def test_images_are_kept_for_each_output_that_was_asked_for(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    processing, export = await run(peer, body(persistImagesOutputs=True, imagesOutputsToBePersisted=["one", "two"]))
    for name in ("one", "two"):
        assert await part_of(peer, processing["outputBatches"][0], name) == IMAGES
    peer.batch_id = export["outputBatches"][0]
    parts = (await peer.get("/parts")).json["batchParts"]
    assert [(part["partName"], part["contentType"], part["nestedContentType"]) for part in parts] == [
        ("results", "archives", "metadata"),
        ("one", "archives", "images"),
        ("two", "archives", "images"),
    ]


async def test_the_export_holds_archives_of_the_results(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    processing, export = await run(peer, body(persistImagesOutputs=True))
    for part in ("results", "visualization"):
        archives = await part_of(peer, export["outputBatches"][0], part)
        assert list(archives) == [f"{part}-0000.tar.gz"]
        assert unpacked(archives.popitem()[1]) == await part_of(peer, processing["outputBatches"][0], part)


def unpacked(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as members:
        return {each.name: opened.read() for each in members if (opened := members.extractfile(each)) is not None}


async def test_the_same_job_makes_the_same_bytes(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    seen = []
    for _ in range(2):
        async with open_peer() as peer:
            await peer.upload(make_tar(IMAGES))
            _, export = await run(peer, body())
            seen.append((export["outputBatches"], await part_of(peer, export["outputBatches"][0], "results")))
    assert seen[0] == seen[1]


async def test_videos_are_read_by_size_alone(peer: Peer) -> None:
    grant = (await peer.call("POST", "/upload/video", fileName="a.mp4")).json["signedURLDetails"]
    await peer.put(grant, b"frames")
    await peer.emulator.settled()
    processing, _ = await run(peer, body(kind="video", maxVideoFPS=2))
    rows = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
    assert rows == [
        {
            "video": "a.mp4",
            "sha256": hashlib.sha256(b"frames").hexdigest(),
            "bytes": 6,
            "format": None,
            "width": None,
            "height": None,
            "error": None,
        }
    ]


async def test_a_compilation_has_a_task_for_each_device(peer: Peer) -> None:
    asked = {"type": "trt-compilation-v1", "modelId": "m/1", "compilationDevices": ["nvidia-l4", "nvidia-t4"]}
    (stage,) = await run(peer, asked)
    assert (stage["processingStageName"], stage["tasksNumber"], stage["outputBatches"]) == ("compilation", 2, [])
    assert (await show(peer))["plannedStages"] == ["compilation"]


async def test_a_job_is_shown_with_all_that_clients_need(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    asked = body()
    await call(peer, "POST", "/j1", asked, name="My job")
    await peer.emulator.jobs_settled()
    job = await show(peer)
    assert {key: job[key] for key in ("jobId", "name", "jobDefinition", "currentStage", "plannedStages")} == {
        "jobId": "j1",
        "name": "My job",
        "jobDefinition": asked,
        "currentStage": "export",
        "plannedStages": ["processing", "export"],
    }
    assert (job["error"], job["isTerminal"], job["restartParametersOverride"]) == (False, True, [])
    assert isinstance(job["lastNotification"], dict)
    times = [job["createdAt"], job["lastUpdate"]]
    for stage in await stages(peer):
        assert stage["statusType"] == "success"
        assert isinstance(stage["notification"], str | dict)
        times += [stage["startTimestamp"], stage["lastEventTimestamp"]]
        for task in (await call(peer, "GET", f"/j1/stages/{stage['processingStageId']}/tasks")).json["tasks"]:
            assert (task["statusType"], task["progress"]) == ("success", 1.0)
            assert isinstance(task["notification"], str | dict)
            times.append(task["eventTimestamp"])
    assert all(datetime.fromisoformat(time).tzinfo is not None for time in times)


async def test_listings_come_in_pages_and_end_with_null(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(jobs=JobOptions(task_files=1)) as peer:
        await peer.upload(make_tar(IMAGES))
        for job_id in ("j1", "j2", "j3"):
            await run(peer, body(), job_id)
        stage_id = (await stages(peer))[0]["processingStageId"]
        for path, field, total in (
            ("", "jobs", 3),
            (f"/j1/stages/{stage_id}/tasks", "tasks", 7),
            ("/j1/logs", "logs", 4),
        ):
            token: dict[str, str] = {}
            seen: list[JSON] = []
            while True:
                page = (await call(peer, "GET", path, pageSize="2", **token)).json
                seen += page[field]
                if page["nextPageToken"] is None:
                    break
                token = {"nextPageToken": page["nextPageToken"]}
            assert len(seen) == total
            assert len({orjson.dumps(row) for row in seen}) == total


async def test_an_empty_listing_ends_with_null(peer: Peer) -> None:
    assert (await call(peer, "GET", "")).json == {"jobs": [], "nextPageToken": None}


async def test_logs_are_filtered_by_severity(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar({**IMAGES, "broken.png": b"no image"}))
    await run(peer, body())
    found = {
        severity: (await call(peer, "GET", "/j1/logs", severity=severity)).json["logs"]
        for severity in ("info", "warning", "error")
    }
    assert [log["logType"] for log in found["info"]] == ["job-accepted", "stage-started", "stage-started", "job-ended"]
    assert [log["payload"] for log in found["warning"]] == [
        {"name": "broken.png", "error": "not an image that can be read"}
    ]
    assert found["error"] == []
    assert found["warning"][0]["taskId"].startswith(found["warning"][0]["processingStageId"])
    assert (await call(peer, "GET", "/j1/logs", severity="loud")).status == 400


@pytest.mark.parametrize(
    ("broken", "rate", "state"), [(10, None, "success"), (11, None, "error"), (2, 0.1, "error"), (11, 1.0, "success")]
)
async def test_a_task_fails_when_more_images_fail_than_allowed(
    peer: Peer, make_tar: MakeTar, broken: int, rate: float | None, state: str
) -> None:
    await peer.upload(make_tar({f"{number}.png": b"no image" for number in range(broken)}))
    changes: dict[str, Any] = {} if rate is None else {"maxImageFailureRate": rate}
    found = await run(peer, body(**changes))
    assert found[0]["statusType"] == state
    assert (await show(peer))["error"] == (state == "error")
    assert len(found) == (1 if state == "error" else 2)


async def test_images_that_cannot_be_read_are_in_the_results(peer: Peer, make_tar: MakeTar) -> None:
    """Nothing that was staged is lost without a word."""
    await peer.upload(make_tar({"broken.png": b"no image"}))
    processing, _ = await run(peer, body(persistImagesOutputs=True))
    (row,) = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
    assert (row["sha256"], row["width"]) == (hashlib.sha256(b"no image").hexdigest(), None)
    assert row["error"] == "not an image that can be read"
    assert await part_of(peer, processing["outputBatches"][0], "visualization") == {}


async def test_a_batch_without_kept_contents_is_told_as_such(open_peer: OpenPeer) -> None:
    async with open_peer(store="count") as peer:
        await peer.upload()
        processing, _ = await run(peer, body())
        rows = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
        assert [(row["sha256"], row["error"]) for row in rows] == [(None, "the content was not kept")] * 2


async def test_equal_names_are_all_in_the_results(peer: Peer) -> None:
    files = [NewFile("a.png", sample_image(number), shard_id=f"s{number}") for number in range(3)]
    await peer.emulator.add_batch("b1", files=files, content_type="images")
    processing, _ = await run(peer, body())
    rows = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
    assert len({row["sha256"] for row in rows}) == 3
