"""Jobs read what is staged, and leave results, archives, logs and states behind as the service does."""

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
from yarl import URL

from rfbulk.emulator import JobOptions, JobScript, NewFile
from rfbulk.emulator.images import sample_image

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.emulator.conftest import JSON, Answer, MakeTar, OpenPeer, Peer

pytestmark = pytest.mark.anyio

IMAGES = {f"{number:02}.png": sample_image(number) for number in range(7)}
HASHES = Counter(hashlib.sha256(content).hexdigest() for content in IMAGES.values())


def body(batch_id: str = "b1", kind: str = "image", **changes: Any) -> dict[str, Any]:
    """Return the body that starts a job; changes go to the specification if they are of it."""
    specification = {"type": "workflows-processing-specification-v1", "workspace": "emulator", "workflowId": "w1"}
    outer = {"maxParallelTasks", "maxImageFailureRate", "processingTimeoutSeconds", "notificationsURL"}
    return {
        "type": f"simple-{kind}-processing-v1",
        "jobInput": {"type": "staging-batch-input-v1", "batchId": batch_id, **changes.pop("jobInput", {})},
        "computeConfiguration": {"type": "compute-configuration-v2"},
        "processingSpecification": {**specification, **{k: v for k, v in changes.items() if k not in outer}},
        **{k: v for k, v in changes.items() if k in outer},
    }


async def call(peer: Peer, method: str, path: str, json: Any = None, **query: str) -> Answer:
    url = f"{peer.emulator.url}/batch-processing/v1/external/emulator/jobs{path}"
    arguments = {} if json is None else {"json": json}
    return await peer.send(method, url, params={"api_key": "emulator", **query}, **arguments)


async def show(peer: Peer, job_id: str = "j1") -> JSON:
    return (await call(peer, "GET", f"/{job_id}")).json["job"]


async def stages(peer: Peer, job_id: str = "j1") -> list[JSON]:
    found: list[JSON] = (await call(peer, "GET", f"/{job_id}/stages")).json["stages"]
    return found


async def run(peer: Peer, asked: Any, job_id: str = "j1") -> list[JSON]:
    """Run a job to its end and return its stages."""
    answer = await call(peer, "POST", f"/{job_id}", asked)
    assert answer.status == 200, answer.body
    await peer.emulator.jobs_settled()
    return await stages(peer, job_id)


async def part_of(peer: Peer, batch_id: str, part: str) -> dict[str, bytes]:
    """Download a whole part."""
    peer.batch_id = batch_id
    rows = (await peer.get("/list", partName=part)).json["filesMetadata"]
    return {row["fileName"]: (await peer.send("GET", URL(row["downloadURL"], encoded=True))).body for row in rows}


def rows_of(tables: Mapping[str, bytes]) -> list[JSON]:
    return [orjson.loads(line) for table in tables.values() for line in table.splitlines()]


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


async def test_scripted_tasks_fail_and_the_next_run_goes_as_usual(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(jobs=JobOptions(task_files=2)) as peer:
        await peer.upload(make_tar(IMAGES))
        peer.emulator.script_jobs(JobScript(fail_tasks=2))
        (stage,) = await run(peer, body())
        assert stage["statusType"] == "error"
        tasks = (await call(peer, "GET", f"/j1/stages/{stage['processingStageId']}/tasks")).json["tasks"]
        assert [task["statusType"] for task in tasks] == ["error", "error", "success", "success"]
        assert tasks[0]["notification"]["message"] == "The task failed, as it was told to"
        rows = rows_of(await part_of(peer, stage["outputBatches"][0], "results"))
        assert len(rows) == 3
        assert (await call(peer, "POST", "/j1/restart")).status == 200
        await peer.emulator.jobs_settled()
        assert [stage["statusType"] for stage in await stages(peer)] == ["success", "success"]
        assert peer.emulator.unplayed_scripts() == []


async def test_a_tolerant_job_succeeds_in_spite_of_failed_tasks(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    peer.emulator.script_jobs(JobScript(fail_tasks=1, tolerant=True))
    found = await run(peer, body())
    assert [stage["statusType"] for stage in found] == ["success", "success"]
    assert found[0]["notification"] == "1 tasks failed"


async def test_a_job_can_fail_at_its_end(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    peer.emulator.script_jobs(JobScript(end="fail"))
    assert len(await run(peer, body())) == 2
    assert (await show(peer))["error"]


async def test_a_stalled_job_is_ended_by_its_abortion(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    peer.emulator.script_jobs(JobScript(end="stall"))
    await call(peer, "POST", "/j1", body())
    while not any(task["progress"] == 0.5 for task in await tasks_of_first_stage(peer)):
        pass
    job = await show(peer)
    assert (job["isTerminal"], job["error"], job["currentStage"]) == (False, False, "processing")
    assert (await call(peer, "POST", "/j1/restart")).status == 409
    assert (await call(peer, "POST", "/j1/abort")).json["status"] == "ok"
    await peer.emulator.jobs_settled()
    job = await show(peer)
    assert (job["isTerminal"], job["error"]) == (True, True)
    assert (await call(peer, "POST", "/j1/abort")).status == 409


async def tasks_of_first_stage(peer: Peer) -> list[JSON]:
    found = await stages(peer)
    if not found:
        return []
    path = f"/j1/stages/{found[0]['processingStageId']}/tasks"
    tasks: list[JSON] = (await call(peer, "GET", path)).json["tasks"]
    return tasks


async def test_a_job_that_is_aborted_at_once_never_runs(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    peer.emulator.script_jobs(JobScript(seconds=3600))
    await call(peer, "POST", "/j1", body())
    assert (await call(peer, "POST", "/j1/abort")).status == 200
    await peer.emulator.jobs_settled()
    assert (await show(peer))["isTerminal"]


async def test_a_job_takes_the_time_it_is_told_to_and_shows_progress(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    peer.emulator.script_jobs(JobScript(seconds=0.05))
    await call(peer, "POST", "/j1", body())
    seen = set()
    while not (await show(peer))["isTerminal"]:
        seen |= {task["progress"] for task in await tasks_of_first_stage(peer)}
    assert seen & {0.25, 0.5, 0.75}


async def test_a_job_that_takes_too_long_fails(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    peer.emulator.script_jobs(JobScript(fail_tasks=1), JobScript(seconds=3600))
    await run(peer, body())
    override = {"type": "parameters-override-v1", "processingTimeoutSeconds": 0.01}
    assert (await call(peer, "POST", "/j1/restart", override)).status == 200
    await peer.emulator.jobs_settled()
    job = await show(peer)
    assert (job["error"], job["restartParametersOverride"]) == (True, [override])
    assert "processingTimeoutSeconds" in job["lastNotification"]["message"]


async def test_another_run_has_batches_of_its_own(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    first = await run(peer, body())
    await call(peer, "POST", "/j1/restart")
    await peer.emulator.jobs_settled()
    second = await stages(peer)
    assert {batch for stage in first for batch in stage["outputBatches"]}.isdisjoint(
        batch for stage in second for batch in stage["outputBatches"]
    )


@pytest.mark.parametrize(("mode", "status"), [("accepted", 200), ("conflict", 409)])
async def test_the_same_job_again_is_answered_as_the_switch_says(
    open_peer: OpenPeer, make_tar: MakeTar, mode: Any, status: int
) -> None:
    async with open_peer(jobs=JobOptions(repeated_start=mode)) as peer:
        await peer.upload(make_tar(IMAGES))
        first = await run(peer, body())
        assert (await call(peer, "POST", "/j1", body())).status == status
        await peer.emulator.jobs_settled()
        assert await stages(peer) == first


async def test_another_job_under_the_same_id_is_a_conflict(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    await run(peer, body())
    assert (await call(peer, "POST", "/j1", body(aggregationFormat="csv"))).status == 409


async def test_without_credits_no_job_begins(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(jobs=JobOptions(out_of_credits=True)) as peer:
        await peer.upload(make_tar(IMAGES))
        answer = await call(peer, "POST", "/j1", body())
        assert (answer.status, "credits" in answer.json["error"]) == (429, True)
        assert (await call(peer, "GET", "/j1")).status == 404


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        (body(batch_id="other"), "$.jobInput.batchId"),
        (body(kind="video"), "$.jobInput.batchId"),
        (body(jobInput={"partName": "p"}), "$.jobInput.partName"),
        (body(workspace="other"), "$.processingSpecification.workspace"),
        (body(unknown=1), "$.processingSpecification"),
        ({"type": "nonsense"}, "type"),
    ],
)
async def test_a_job_that_cannot_be_done_is_refused_with_the_place(peer: Peer, asked: JSON, place: str) -> None:
    await peer.upload()
    answer = await call(peer, "POST", "/j1", asked)
    assert (answer.status, place in answer.json["error"]) == (400, True)


async def test_a_batch_of_parts_needs_the_name_of_one(peer: Peer) -> None:
    await peer.emulator.add_batch("b1", parts={"p": list(IMAGES.items())})
    answer = await call(peer, "POST", "/j1", body())
    assert (answer.status, "$.jobInput.partName" in answer.json["error"]) == (400, True)


@pytest.mark.parametrize("job_id", ["UPPER", "a" * 21, "a.b"])
async def test_what_cannot_be_a_jobs_name_is_refused(peer: Peer, job_id: str) -> None:
    await peer.upload()
    assert (await call(peer, "POST", f"/{job_id}", body())).status == 400


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/j9"),
        ("GET", "/j9/stages"),
        ("GET", "/j9/logs"),
        ("GET", "/j9/stages/s/tasks"),
        ("POST", "/j9/abort"),
        ("POST", "/j9/restart"),
    ],
)
async def test_a_job_that_does_not_exist_is_not_found(peer: Peer, method: str, path: str) -> None:
    assert (await call(peer, method, path)).status == 404


async def test_what_overrides_nothing_is_refused(peer: Peer, make_tar: MakeTar) -> None:
    await peer.upload(make_tar(IMAGES))
    (stage, _) = await run(peer, body())
    assert (await call(peer, "POST", "/j1/restart", {"type": "other"})).status == 400
    assert (await call(peer, "GET", f"/j1/stages/{stage['processingStageId']}x/tasks")).status == 404


async def test_equal_names_are_all_in_the_results(peer: Peer) -> None:
    files = [NewFile("a.png", sample_image(number), shard_id=f"s{number}") for number in range(3)]
    await peer.emulator.add_batch("b1", files=files, content_type="images")
    processing, _ = await run(peer, body())
    rows = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
    assert len({row["sha256"] for row in rows}) == 3


async def test_jobs_last_and_an_unfinished_one_goes_on(open_peer: OpenPeer, make_tar: MakeTar, tmp_path: Path) -> None:
    options = {"store": "folder", "directory": tmp_path}
    async with open_peer(**options) as peer:
        await peer.upload(make_tar(IMAGES))
        first = await run(peer, body())
        peer.emulator.script_jobs(JobScript(seconds=0.01))
        await call(peer, "POST", "/j2", body())
    async with open_peer(**options) as peer:
        await peer.emulator.jobs_settled()
        assert await stages(peer) == first
        processing, _ = await stages(peer, "j2")
        rows = rows_of(await part_of(peer, processing["outputBatches"][0], "results"))
        assert Counter(row["sha256"] for row in rows) == HASHES
        assert not (await show(peer, "j2"))["error"]


@pytest.mark.parametrize(
    ("operation", "method", "path"),
    [
        ("jobs", "GET", ""),
        ("job", "GET", "/j1"),
        ("start", "POST", "/j1"),
        ("stages", "GET", "/j1/stages"),
        ("tasks", "GET", "/j1/stages/s/tasks"),
        ("logs", "GET", "/j1/logs"),
        ("abort", "POST", "/j1/abort"),
        ("restart", "POST", "/j1/restart"),
    ],
)
async def test_every_operation_meets_faults(peer: Peer, operation: str, method: str, path: str) -> None:
    peer.emulator.faults.add(f"{operation}:status=503")
    assert (await call(peer, method, path)).status == 503
    assert peer.emulator.faults.unconsumed() == []
