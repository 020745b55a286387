"""Jobs are taken or refused, fail, stall, end, begin anew and outlive a process, as scripts and switches say."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from rfbulk.emulator import JobOptions, JobScript
from tests.emulator.jobcalls import HASHES, IMAGES, body, call, part_of, rows_of, run, show, stages

if TYPE_CHECKING:
    from pathlib import Path

    from tests.emulator.conftest import JSON, MakeTar, OpenPeer, Peer

pytestmark = pytest.mark.anyio


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


async def test_ends_can_be_parts_of_longer_words(open_peer: OpenPeer, make_tar: MakeTar) -> None:
    async with open_peer(jobs=JobOptions(status_words="long", task_files=4)) as peer:
        await peer.upload(make_tar(IMAGES))
        peer.emulator.script_jobs(JobScript(fail_tasks=1, tolerant=True))
        found = await run(peer, body())
        assert {stage["statusType"] for stage in found} == {"task-success-v1"}
        tasks = await tasks_of_first_stage(peer)
        assert [task["statusType"] for task in tasks] == ["task-error-v1", "task-success-v1"]


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (JobOptions, {"repeated_start": "x"}),
        (JobOptions, {"status_words": "x"}),
        (JobOptions, {"task_files": 0}),
        (JobScript, {"end": "x"}),
        (JobScript, {"seconds": -1.0}),
        (JobScript, {"fail_tasks": -1}),
    ],
    ids=str,
)
async def test_what_no_job_can_do_is_refused(options: Any, name: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(name))):
        options(**name)
