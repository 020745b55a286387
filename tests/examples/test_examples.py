"""The examples, run as their docstrings say."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import anyio
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, WebhookOptions
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, hash_of, hashes_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PUBLISHABLE = "rf_acme-7f3a"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the examples bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    webhooks = WebhookOptions(workspace_id="acme-7f3a", first_seconds=0.05)
    return EmulatorOptions(api_key=KEY, jobs=JobOptions(task_files=3), webhooks=webhooks)


@pytest.fixture
async def emulator(options: EmulatorOptions) -> AsyncIterator[Emulator]:
    async with Emulator(options) as emulator:
        yield emulator
        assert emulator.faults.unconsumed() == []


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


def a_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


def answers(port: int) -> bool:
    with socket.socket() as line:
        return line.connect_ex(("127.0.0.1", port)) == 0


def images(folder: Path, count: int) -> Path:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number:03}.png").write_bytes(sample_image(number))
    return folder


def example(name: str) -> tuple[str, ...]:
    return sys.executable, "-m", f"rfbulk.examples.{name}"


@asynccontextmanager
async def web_upload(commands: Commands, root: Path) -> AsyncIterator[Callable[[str], str]]:
    port = a_port()
    async with commands.started(root, "--port", str(port), program=example("web_upload")):
        await until(lambda: answers(port), 20)
        yield lambda path: f"http://127.0.0.1:{port}{path}"


async def test_the_web_application_uploads_and_tells_how_it_goes(
    commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    folder = images(tmp_path / "root" / "photos", 30)
    async with web_upload(commands, tmp_path / "root") as at, aiohttp.ClientSession() as session:
        async with session.get(at("/")) as page:
            assert "text/event-stream" not in page.headers["Content-Type"]
            assert "EventSource" in await page.text()
        async with session.post(at("/uploads"), data={"folder": "../..", "batch_id": "spring"}) as refused:
            assert refused.status == 400
        async with session.post(at("/uploads"), data={"folder": "photos", "batch_id": "spring"}) as begun:
            number = (await begun.json())["id"]
        async with session.get(at(f"/uploads/{number}/events")) as events:
            states = [json.loads(line[6:]) async for line in events.content if line.startswith(b"data: ")]
    assert (states[-1]["state"], states[-1]["sent"], states[-1]["planned"]) == ("done", 30, 30)
    assert {"running"} == {state["state"] for state in states[:-1]}
    assert hashes_of(folder) == emulator.ledger("spring").hashes


async def test_the_web_application_cancels_and_goes_on(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    folder = images(tmp_path / "root" / "photos", 12)
    emulator.faults.add("put:stall,seconds=30")
    asked = {"folder": "photos", "batch_id": "spring"}
    async with web_upload(commands, tmp_path / "root") as at, aiohttp.ClientSession() as session:
        await session.post(at("/uploads"), data=asked)
        await until(lambda: emulator.requests["put"] or None)
        async with session.delete(at("/uploads/0")) as cancelled:
            assert (await cancelled.json())["state"] == "cancelled"
        await session.post(at("/uploads"), data=asked)
        async with session.get(at("/uploads/1/events")) as events:
            states = [json.loads(line[6:]) async for line in events.content if line.startswith(b"data: ")]
    assert (states[-1]["state"], states[-1]["sent"]) == ("done", 12)
    assert hashes_of(folder) == emulator.ledger("spring").hashes


async def test_the_automation_makes_results_of_folders_that_are_complete(
    commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    monday, tuesday = images(tmp_path / "cameras" / "monday", 6), images(tmp_path / "cameras" / "tuesday", 3)
    (monday / "DONE").touch()
    key = tmp_path / "publishable.key"
    key.write_text(PUBLISHABLE)
    port, results = a_port(), tmp_path / "results"
    line: list[str | Path] = [tmp_path / "cameras", "--results", results, "--workflow-id", "detect", "--key-file", key]
    line += ["--public-url", f"http://127.0.0.1:{port}/roboflow/", "--port", str(port)]
    async with commands.started(*line, program=example("recurring")) as running:
        await running.said("files of results", seconds=40)
    assert any(path.is_file() for path in (results / "monday").rglob("*"))
    assert {"monday"} == {name for name in ("monday", "tuesday") if emulator.ledger(name).hashes}
    assert {hash_of(path.read_bytes()) for path in monday.glob("*.png")} == set(emulator.ledger("monday").hashes)
    assert not (tuesday / "DONE").exists()


async def test_the_script_uploads_audits_and_says_what_came_of_it(
    commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    folder = images(tmp_path / "photos", 12)
    ended = await commands.run(folder, "spring", program=example("bucket_upload"))
    assert (ended.code, "confirmed by the service: True" in ended.err) == (0, True)
    assert hashes_of(folder) == emulator.ledger("spring").hashes
    (folder / "empty.png").touch()
    ended = await commands.run(folder, "spring", program=example("bucket_upload"))
    assert (ended.code, "empty.png: empty" in ended.err) == (3, True)
    ended = await commands.run(tmp_path / "none", "spring", program=example("bucket_upload"))
    assert (ended.code, "read source" in ended.err) == (1, True)


async def test_the_script_uploads_from_a_bucket(commands: Commands, emulator: Emulator, tmp_path: Path) -> None:
    pytest.importorskip("obstore")
    pytest.importorskip("moto")
    from tests.support.clouds import moto  # noqa: PLC0415 - where there is one

    with moto() as new_bucket:
        bucket = await anyio.to_thread.run_sync(new_bucket)
        for number in range(6):
            await anyio.to_thread.run_sync(bucket.put, f"photos/{number}.png", sample_image(number))
        environment = {name: str(value) for name, value in bucket.environment.items()}
        ended = await commands.run(f"{bucket.url}/photos/", "spring", program=example("bucket_upload"), **environment)  # type: ignore[arg-type]  # names of variables
    assert (ended.code, sum(emulator.ledger("spring").hashes.values())) == (0, 6), ended
