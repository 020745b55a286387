"""Killed at any named place and started again, a receiver keeps, follows and carries out each notification once."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from rfbulk.core.failpoints import OF_RUNS, OF_WEBHOOKS, Failpoint
from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript, NewFile, WebhookOptions
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, Running, hash_of, read, together, until
from tests.edge.test_notices_store import ingest_event

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
KILLED = 128 + 9
PUBLISHABLE = "rf_acme-7f3a"
BATCH = "spring"
EVENTS = 4
IMAGES = 6
SLOW_SECONDS = 30.0  # what a busy machine may take
OF_FLOWS = {Failpoint.FLOW_STARTED, Failpoint.FLOW_ENDED, Failpoint.FLOW_RECORDED}
TWICE = {Failpoint.FOLLOW_ENDED}
"""Between the end of a command and its record: there an event can be seen twice, as `--help` says."""

COMMAND = """#!/bin/sh
if [ -e "$(dirname "$0")/fail" ]; then rm "$(dirname "$0")/fail"; exit 1; fi
echo "$RFBULK_EVENT_ID" >> "$(dirname "$0")/heard"
"""


@asynccontextmanager
async def service() -> AsyncIterator[Emulator]:
    """One that notifies until it is heard, and then once more."""
    webhooks = WebhookOptions(
        workspace_id="acme-7f3a", attempts=1000, first_seconds=0.05, cap_seconds=0.1, duplicates=1
    )
    options = EmulatorOptions(api_key=KEY, jobs=JobOptions(JobScript(seconds=0.3), task_files=3), webhooks=webhooks)
    async with Emulator(options) as emulator:
        files = [NewFile(f"{number}.png", sample_image(number)) for number in range(IMAGES)]
        await emulator.add_batch(BATCH, files=files)
        yield emulator


def new_folder(above: Path, case: str) -> Path:
    folder = above / case.replace(":", "-")
    folder.mkdir()
    return folder


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port


@asynccontextmanager
async def serving(commands: Commands, port: int, *more: str | Path, failpoint: str = "") -> AsyncIterator[Running]:
    key_file = commands.home / "publishable.key"
    key_file.write_text(PUBLISHABLE)
    line = ["webhook", "serve", "--port", str(port), "--key-file", key_file, "--json", *more]
    async with commands.started(*line, RFBULK_FAILPOINT=failpoint) as running:
        yield running


async def stopped(running: Running) -> None:
    running.signal(signal.SIGTERM)
    assert (await running.ended()).code == 143


def inbox(commands: Commands, sql: str) -> list[tuple[str, ...]]:
    path = commands.state / "webhook" / "inbox.sqlite"
    if not path.exists():
        return []
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(sql).fetchall()


def done(commands: Commands) -> bool:
    return [row[0] for row in inbox(commands, "SELECT followed FROM notices")] == ["done"] * EVENTS


NOTICES = [
    *[f"{each}:{number}" for each in sorted(OF_WEBHOOKS - OF_FLOWS - {Failpoint.FOLLOW_FAILED}) for number in (1, 3)],
    f"{Failpoint.FOLLOW_FAILED}:1",
]


async def test_killed_anywhere_each_notification_is_kept_once_and_followed(tmp_path: Path) -> None:
    await together(lambda case: die_receiving(new_folder(tmp_path, case), case), NOTICES)


async def die_receiving(home: Path, failpoint: str) -> None:
    script = home / "on-event.sh"
    script.write_text(COMMAND)
    script.chmod(0o755)
    if failpoint.startswith(Failpoint.FOLLOW_FAILED):
        (home / "fail").touch()
    port = free_port()
    async with service() as emulator:
        commands = Commands(emulator.url, home)
        async with serving(commands, port, "--exec", script, failpoint=failpoint) as running:
            for number in range(EVENTS):
                await emulator.notify(f"http://127.0.0.1:{port}/", json.loads(ingest_event(f"e-{number}", BATCH)))
            assert (await running.ended()).code == KILLED
        async with serving(commands, port, "--exec", script) as running:
            await until(lambda: done(commands), SLOW_SECONDS)
            await emulator.notifications_settled()
            await stopped(running)
        events = {body["event_id"] for body in map(json.loads, column(commands, "SELECT body FROM notices"))}
        heard = Counter(read(home / "heard").split())
        assert set(heard) == events
        assert len(events) == EVENTS
        more = any(map(failpoint.startswith, TWICE))  # at any other place a command may just be under way, or not
        assert EVENTS + more <= sum(heard.values()) <= EVENTS + 1, heard
        commands.look_for_secrets()


def column(commands: Commands, sql: str) -> list[str]:
    return [row[0] for row in inbox(commands, sql)]


async def test_killed_anywhere_a_standing_flow_starts_one_job_and_brings_results_home_once(tmp_path: Path) -> None:
    await together(lambda case: die_flowing(new_folder(tmp_path, case), case), sorted(OF_FLOWS | OF_RUNS))


async def die_flowing(home: Path, failpoint: Failpoint) -> None:
    config = home / "flows.toml"
    flow = f'[[flow]]\nbatches = ["spring*"]\noutput = "{home}/out/{{batch}}"\nexpect = {IMAGES}\n'
    config.write_text(f'{flow}job = {{ workflow_id = "detect" }}\n')
    port = free_port()
    async with service() as emulator:
        commands = Commands(emulator.url, home)
        async with serving(commands, port, "--run-config", config, failpoint=str(failpoint)) as running:
            await emulator.notify(f"http://127.0.0.1:{port}/", json.loads(ingest_event("e-1", BATCH)))
            assert (await running.ended(SLOW_SECONDS)).code == KILLED
        async with serving(commands, port, "--run-config", config) as running:
            await until(lambda: column(commands, "SELECT flowed FROM notices WHERE flowed != ''"), SLOW_SECONDS)
            await emulator.notifications_settled()
            await stopped(running)
        (outcome,) = column(commands, "SELECT flowed FROM notices")
        assert "done" in outcome, outcome
        assert emulator.requests["start"] == 1
        rows = [row for path in (home / "out").rglob("results-*.jsonl") for row in path.read_text().splitlines()]
        wanted = Counter(hash_of(sample_image(number)) for number in range(IMAGES))
        assert Counter(json.loads(row)["sha256"] for row in rows) == wanted
        commands.look_for_secrets()
