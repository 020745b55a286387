"""Jobs by the command line, against a service that really runs them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rfbulk import Client, UploadOptions
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, Ended

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
IMAGES = 12


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY, page_size=2, jobs=JobOptions(task_files=3))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / f"{number:03}.png").write_bytes(sample_image(number))
    return folder


@pytest.fixture
async def filled(client: Client, images: Path) -> Client:
    await client.upload_images(images, "spring", options=UploadOptions(quiet_seconds=0.1))
    return client


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


@pytest.fixture(autouse=True)
async def _all_scripts_are_played(emulator: Emulator) -> AsyncIterator[None]:
    yield
    assert emulator.unplayed_scripts() == []


def is_right(ended: Ended, code: int = 0) -> str:
    assert ended.code == code, ended
    return ended.out


async def test_every_job_command_works_and_has_its_json(
    filled: Client, commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    params = tmp_path / "params.json"
    params.write_text('{"classes": ["cat"], "confidence": 0.9}')
    line: list[str | Path] = ["job", "start", "images", "spring", "-w", "detect", "-j", "j-1", "--job-name", "May"]
    line += ["--params", params, "--param", "confidence=0.4", "--param", "label=plain text", "--machine-type", "gpu"]
    line += ["--image-outputs-to-save", "drawn", "--aggregation-format", "jsonl", "--machine-size", "s"]
    assert "started" in is_right(await commands.run(*line))
    assert "has been started before" in is_right(await commands.run(*line))
    assert "succeeded" in is_right(await commands.run("job", "wait", "j-1"))
    shown = (await commands.run("job", "show", "j-1", "--json")).json
    specification = shown["definition"]["processingSpecification"]
    assert specification["workflowParameters"] == {"classes": ["cat"], "confidence": 0.4, "label": "plain text"}
    assert specification["imagesOutputsToBePersisted"] == ["drawn"]
    assert shown["definition"]["computeConfiguration"]["workersPerMachine"] == 4
    assert "makes batch" in is_right(await commands.run("job", "show", "j-1"))
    assert "May" in is_right(await commands.run("job", "list"))
    assert [job["job_id"] for job in (await commands.run("job", "list", "--json")).lines] == ["j-1"]
    stages = (await commands.run("job", "stages", "j-1", "--json")).lines
    assert [stage["name"] for stage in stages] == ["processing", "export"]
    assert is_right(await commands.run("job", "stages", "j-1")).count("success") == 2
    tasks = (await commands.run("job", "tasks", "j-1", "processing", "--json")).lines
    assert len(tasks) == 4
    assert is_right(await commands.run("job", "tasks", "j-1", "processing")).count("100%") == 4
    assert is_right(await commands.run("job", "logs", "j-1", "--severity", "info"))
    assert (await commands.run("job", "logs", "j-1", "--json")).lines
    is_right(await commands.run("job", "restart", "j-1", "--machine", "cpu"))
    is_right(await commands.run("job", "wait", "j-1", "--json"))


async def test_exit_codes_tell_how_a_job_ended(filled: Client, commands: Commands, emulator: Emulator) -> None:
    emulator.script_jobs(JobScript(fail_tasks=1), JobScript(fail_tasks=1, tolerant=True), JobScript(end="stall"))
    start = ["job", "start", "images", "spring", "-w", "detect", "--wait"]
    assert "task" in is_right(await commands.run(*start, "-j", "bad"), 6)
    is_right(await commands.run(*start, "-j", "tolerant"), 3)
    is_right(await commands.run(*start, "-j", "stalled", "--timeout", "1s"), 7)
    is_right(await commands.run("job", "abort", "stalled"))
    is_right(await commands.run("job", "wait", "stalled"), 6)
    is_right(await commands.run("job", "wait", "nobody"), 2)
    is_right(await commands.run("job", "start", "images", "absent", "-w", "detect"), 1)
    is_right(await commands.run("job", "start", "images", "spring", "-w", "segment", "-j", "bad"), 2)


async def test_a_model_is_compiled(commands: Commands) -> None:
    line = ["job", "start", "trt", "--model-id", "project/3", "--device", "nvidia-l4", "--wait", "--json"]
    ended = await commands.run(*line)
    assert (ended.code, ended.json["state"]) == (0, "succeeded"), ended
