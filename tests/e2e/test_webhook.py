"""The receiver as a process: storms, kills, commands, and standing flows from ingest to results."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import aiohttp
import anyio
import anyio.lowlevel
import pytest
from aiohttp import web

from rfbulk import Client, UploadOptions, WorkflowJob
from rfbulk.core.notices import JobNotice, Notice
from rfbulk.edge.webhook import serve_app
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript, WebhookOptions
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, Running, chance_of, hashes_of, read, until
from tests.edge.test_notices_store import ingest_event, job_event

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
PUBLISHABLE = "rf_acme-7f3a"
HEADERS = {"Authorization": f"Bearer {PUBLISHABLE}"}
IMAGES = 12


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    webhooks = WebhookOptions(workspace_id="acme-7f3a", duplicates=1, first_seconds=0.05)
    return EmulatorOptions(api_key=KEY, jobs=JobOptions(task_files=3), webhooks=webhooks)


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()
    assert PUBLISHABLE not in "".join(path.read_text(errors="replace") for path in commands.said)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / f"{number:03}.png").write_bytes(sample_image(number))
    return folder


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(headers=HEADERS) as session:
        yield session


@asynccontextmanager
async def serving(
    commands: Commands, tmp_path: Path, *more: str | Path, port: int = 0
) -> AsyncIterator[tuple[Running, str]]:
    key_file = tmp_path / "publishable.key"
    key_file.write_text(PUBLISHABLE)
    line = ["webhook", "serve", "--port", str(port), "--key-file", key_file, "--json", *more]
    async with commands.started(*line) as running:
        url = str(json.loads((await until(lambda: read(running.out).splitlines()))[0])["url"])
        yield running, url


def lines(running: Running) -> list[dict[str, str]]:
    return [json.loads(line) for line in read(running.out).splitlines()[1:]]


def kept(commands: Commands) -> dict[str, int]:
    path = commands.state / "webhook" / "inbox.sqlite"
    with closing(
        sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    ) as db:  # else it folds the log, which breaks the seal
        return dict(db.execute("SELECT event_id, deliveries FROM notices").fetchall())


async def test_killed_in_a_storm_it_has_all_that_it_answered_for(
    commands: Commands, tmp_path: Path, http: aiohttp.ClientSession
) -> None:
    """What was answered 2xx is on disk after kill -9; what was not is sent again, and then there once."""
    events = [f"e-{number}" for number in range(1500)]
    taken: Counter[str] = Counter()
    chance = chance_of(7)

    async def send(url: str, event: str) -> None:
        try:
            async with http.post(url, data=job_event(event, attempt=1 + taken[event])) as response:
                taken[event] += response.status == 200
        except aiohttp.ClientError:
            pass  # it was killed: the sender tries again later

    async def storm(url: str, wanted: list[str], running: Running | None = None) -> None:
        async with anyio.create_task_group() as tasks:
            for number, event in enumerate(wanted):
                tasks.start_soon(send, url, event)
                if running is not None and number == len(wanted) // 2:
                    running.signal(signal.SIGKILL)
                if number % 20 == 0:
                    await anyio.lowlevel.checkpoint()

    chance.shuffle(events)
    async with serving(commands, tmp_path) as (running, url):
        await storm(url, events, running)
        assert (await running.ended()).code == 137
    answered = {event for event in events if taken[event]}
    assert 0 < len(answered) < len(events)
    assert answered <= set(kept(commands))
    async with serving(commands, tmp_path) as (running, url):
        await storm(url, [event for event in events if event not in answered])
        running.signal(signal.SIGTERM)
        assert (await running.ended()).code == 143
    assert set(kept(commands)) == set(events)


async def test_a_command_follows_each_event_that_the_service_confirms(
    commands: Commands, client: Client, emulator: Emulator, tmp_path: Path, images: Path, http: aiohttp.ClientSession
) -> None:
    await client.upload_images(images, "spring", options=UploadOptions(quiet_seconds=0.1))
    heard = tmp_path / "heard"
    heard.mkdir()
    script = tmp_path / "on-event.sh"
    script.write_text(f'#!/bin/sh\ncat > "{heard}/$RFBULK_EVENT_ID"\n')
    script.chmod(0o755)
    async with serving(commands, tmp_path, "--path", "/hook-1", "--exec", f"{script} now") as (running, url):
        for body in (ingest_event("real"), ingest_event("real"), ingest_event("made-up", "no-such-batch")):
            async with http.post(url, data=body) as response:
                assert response.status == 200
        async with http.post(url.replace("/hook-1", "/"), data=ingest_event("elsewhere")) as response:
            assert response.status == 404
        await until(lambda: "made-up" in read(running.err))
        await until(lambda: list(heard.iterdir()))
        running.signal(signal.SIGINT)
        assert (await running.ended()).code == 130
    assert {path.name: path.read_bytes() for path in heard.iterdir()} == {"real": ingest_event("real")}
    assert [line["delivery"] for line in lines(running)] == ["new", "repeated", "new"]
    assert emulator.requests["batch"] >= 2


async def test_an_ingest_that_has_ended_leads_to_results(
    commands: Commands, client: Client, emulator: Emulator, tmp_path: Path, images: Path
) -> None:
    """The standing flow: nobody says anything but `upload`, and the results come home. Killed in between, once."""
    out = tmp_path / "results"
    config = tmp_path / "flows.toml"
    flow = f'[[flow]]\nbatches = ["spring*"]\noutput = "{out}/{{batch}}"\nexpect = {IMAGES}\n'
    config.write_text(f'{flow}job = {{ workflow_id = "detect" }}\n')
    emulator.script_jobs(JobScript(seconds=1.0))
    async with serving(commands, tmp_path, "--run-config", config) as (running, url):
        options = UploadOptions(quiet_seconds=0.1, notifications_url=url, shard_images=4)
        await client.upload_images(images, "spring-1", options=options)
        await until(lambda: emulator.requests["start"])
        running.signal(signal.SIGKILL)
        await running.ended()
    port = int(url.split(":")[2].split("/")[0])
    async with serving(commands, tmp_path, "--run-config", config, port=port) as (running, _):
        done = await until(lambda: [line for line in lines(running) if line["event"] == "FlowEnded"], 20.0)
        assert "done" in done[0]["outcome"]
    assert emulator.requests["start"] == 1
    rows = [row for path in out.rglob("results-*.jsonl") for row in path.read_text().splitlines()]
    assert Counter(json.loads(row)["sha256"] for row in rows) == hashes_of(images)
    assert [path.name for path in out.iterdir()] == ["spring-1"]


async def test_a_receiver_within_an_application_wakes_who_waits(
    client: Client, emulator: Emulator, images: Path
) -> None:
    """The library: a sub-application of somebody's own, a callback, and a job that is told as soon as it has ended."""
    await client.upload_images(images, "spring", options=UploadOptions(quiet_seconds=0.1))
    emulator.script_jobs(JobScript(seconds=1.0))
    heard: list[Notice] = []
    has_heard = anyio.Event()

    async def hear(notice: Notice, _body: bytes) -> None:
        assert await client.confirms(notice)
        heard.append(notice)
        has_heard.set()

    async with client.webhook([PUBLISHABLE], on_notice=hear) as receiver:
        app = web.Application()
        app.add_subapp("/roboflow/", receiver.app)
        async with serve_app(app, "127.0.0.1", 0) as url:
            told = WorkflowJob(batch_id="spring", workflow_id="detect", notifications_url=f"{url}/roboflow/")
            started = await client.start_job(told)
            report = await client.wait_for_job(started.job_id, is_new=True)
            await emulator.notifications_settled()
            with anyio.fail_after(10.0):
                await has_heard.wait()
    assert report.succeeded
    assert isinstance(heard[0], JobNotice)
    assert (heard[0].job_id, len(heard)) == (started.job_id, 1)


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--key-file", "absent"], "key file"),
        (["--exec", "echo 'open"], "quotation"),
        (["--path", "hook"], "begins with /"),
        (["--run-config", "absent.toml"], "flows"),
    ],
)
async def test_what_cannot_be_is_refused_at_once(commands: Commands, tmp_path: Path, more: list[str], why: str) -> None:
    key_file = tmp_path / "publishable.key"
    key_file.write_text(PUBLISHABLE)
    ended = await commands.run("webhook", "serve", "--key-file", key_file, *more)
    assert (ended.code, why in ended.err) == (2, True), ended
