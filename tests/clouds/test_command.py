"""The real command, as its user meets it: with variables in the environment, killed, and searched for secrets."""

from __future__ import annotations

import json
import os
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import anyio.to_thread
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.clouds.test_references import ENDPOINTS
from tests.clouds.test_relay import clips, hashes_of, images
from tests.crash.commands import KEY, Commands, closes, together, until
from tests.support.clouds import Bucket, NewBucket, references_in
from tests.support.tls_front import tls_front

pytestmark = [pytest.mark.anyio, pytest.mark.crash]
KILLED = 128 + signal.SIGKILL
MANY = 10_000


@pytest.fixture
def plain(new_bucket: NewBucket) -> Bucket:
    """A bucket whose variables the command alone is given."""
    return new_bucket()


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
        yield emulator
        assert emulator.faults.unconsumed() == []


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Commands:
    home = tmp_path / "home"
    home.mkdir()
    return Commands(emulator.url, home)


def variables(bucket: Bucket) -> dict[str, Any]:
    """What the command finds in its environment."""
    return dict(bucket.environment)


def look_for_secrets(commands: Commands, bucket: Bucket) -> None:
    commands.look_for_secrets()
    for path in {*commands.said, *(path for path in commands.home.rglob("*") if path.is_file())}:
        content = path.read_bytes()
        assert not any(secret.encode() in content for secret in bucket.secrets), path
        assert b"sig=" not in content, path
        assert b"X-Amz-Signature" not in content, path


async def test_a_bucket_is_previewed_relayed_and_recorded_without_a_secret(
    plain: Bucket, commands: Commands, emulator: Emulator
) -> None:
    objects = images(60)
    plain.put_all(objects | {"in/empty.jpg": b""})
    source, env = f"{plain.url}/in", variables(plain)
    planned = await commands.run("upload", "images", source, "--dry-run", "--json", **env)
    assert (planned.code, planned.json["images"], planned.json["refused"]) == (0, 60, {"empty": 1})
    line = ["upload", "images", source, "-b", "spring", "--json", "--quiet-period", "100ms", "-vv"]
    report = commands.home / "report.jsonl"
    ended = await commands.run(*line, "--report", report, "--log-file", commands.home / "log.jsonl", **env)
    assert (ended.code, ended.json["sent"], ended.json["refused"]) == (3, 60, 1), ended
    assert hashes_of(objects) == emulator.ledger("spring").hashes
    assert f'"path":"{source}/img-00000.jpg"' in report.read_text()
    look_for_secrets(commands, plain)


async def test_a_bucket_is_referred_to_without_a_secret(
    plain: Bucket, commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    objects = images(30)
    plain.put_all(objects | {"in/empty.jpg": b"", "in/notes.txt": b"x"})
    name, report = ENDPOINTS[plain.scheme], commands.home / "report.jsonl"
    server = urlsplit(plain.environment[name])
    with tls_front(tmp_path, server.port or 0) as (url, authority):
        env = variables(plain) | {name: url + server.path}
        line: list[str | Path] = [
            "upload",
            "images",
            f"{plain.url}/in/**/*",
            "--by-reference",
            "--ca-file",
            authority,
            "--json",
        ]
        planned = await commands.run(*line, "--dry-run", **env)
        assert (planned.code, planned.json["references"], planned.json["requests"]) == (0, 30, 1), planned
        assert (planned.json["refused"], planned.json["skipped"]) == ({"empty": 1}, 1)
        assert not emulator.requests
        more: list[str | Path] = ["-b", "refs", "--url-expiry", "1h", "--quiet-period", "0s", "--report", report]
        ended = await commands.run(*line, *more, "-vv", "--log-file", commands.home / "log.jsonl", **env)
    assert (ended.code, ended.json["sent"], ended.json["is_confirmed"]) == (3, 30, True), ended
    assert (ended.json["refused"], ended.json["skipped"]) == (1, 1)
    assert len(references_in(emulator, "refs")) == 30
    rows = [json.loads(row) for row in report.read_text().splitlines()[1:]]
    assert {row["path"]: row["fate"] for row in rows} == {f"{plain.url}/{key}": "indexed" for key in objects} | {
        f"{plain.url}/in/empty.jpg": "empty"
    }
    look_for_secrets(commands, plain)


@pytest.mark.parametrize("expiry", ["30s", "8d"])
async def test_an_expiry_that_no_cloud_honours_is_refused(commands: Commands, expiry: str) -> None:
    ended = await commands.run("upload", "images", "s3://b", "-b", "b", "--by-reference", "--url-expiry", expiry)
    assert ended.code == 2
    assert "7 days" in ended.err


async def test_a_command_killed_while_it_relays_goes_on_when_it_is_said_again(
    plain: Bucket, commands: Commands, emulator: Emulator
) -> None:
    objects = images(200)
    plain.put_all(objects)
    line = ["upload", "images", f"{plain.url}/in", "-b", "killed", "--json", "--quiet-period", "100ms"]
    slow = ["--shard-images", "10", "--limit-rate", "128KiB"]
    async with commands.started(*line, *slow, **variables(plain)) as running:
        await until(lambda: emulator.requests["put"] >= 3)
        running.signal(signal.SIGKILL)
        assert (await running.ended()).code == KILLED
    ended = await commands.run(*line, "--shard-images", "10", **variables(plain))
    assert (ended.code, ended.json["sent"], closes(ended.json)) == (0, 200, True), ended
    assert hashes_of(objects) == emulator.ledger("killed").hashes


async def test_videos_killed_half_way_go_on_when_they_are_said_again(
    plain: Bucket, commands: Commands, emulator: Emulator
) -> None:
    films = clips(*(size << 10 for size in (1000, 2000, 3000, 4000, 5000, 6000)))
    plain.put_all(films | {"in/text.mp4": b"no video"})
    line = ["upload", "videos", f"{plain.url}/in/*.mp4", "-b", "films", "--json", "--quiet-period", "100ms"]
    async with commands.started(*line, "--limit-rate", "6MiB", "-vv", **variables(plain)) as running:
        await until(lambda: emulator.ledger("films").hashes.total() >= 2)
        running.signal(signal.SIGKILL)
        assert (await running.ended()).code == KILLED
    assert 2 <= emulator.ledger("films").hashes.total() < len(films)
    ended = await commands.run(*line, **variables(plain))
    assert (ended.code, ended.json["sent"], ended.json["quarantined"], closes(ended.json)) == (3, 6, 1, True), ended
    assert ended.json["already_sent"] >= 1
    assert ended.json["is_confirmed"]
    assert hashes_of(films) == emulator.ledger("films").hashes
    look_for_secrets(commands, plain)


async def test_an_interrupt_ends_commands_whose_bucket_does_not_answer(commands: Commands) -> None:
    """What waits for a dead server in a library cannot be called off: it must be left behind."""

    async def interrupt(more: tuple[str, ...]) -> None:
        with socket.create_server(("127.0.0.1", 0), backlog=100) as dead:
            url = f"http://127.0.0.1:{dead.getsockname()[1]}"
            env: Any = {"AWS_ENDPOINT_URL": url, "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
            async with commands.started("upload", "images", "s3://b/in/", "-b", "dead", *more, **env) as running:
                asked, _ = await anyio.to_thread.run_sync(dead.accept)
                with asked:
                    running.signal(signal.SIGINT)
                    assert (await running.ended(seconds=15)).code == 130

    await together(interrupt, [(), ("--dry-run",), ("--by-reference",)])


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    not os.environ.get("RFBULK_TEST_CLOUDS"), reason="10,000 objects a cloud: `make clouds` relays them"
)
async def test_ten_thousand_objects_relay_exactly_once_with_a_kill_in_the_middle(
    plain: Bucket, commands: Commands, emulator: Emulator
) -> None:
    objects = images(MANY, size=4000)
    plain.put_all(objects)
    line = ["upload", "images", f"{plain.url}/in", "-b", "many", "--json", "--quiet-period", "100ms"]
    async with commands.started(*line, **variables(plain)) as running:
        await until(lambda: emulator.ledger("many").hashes.total() >= MANY // 3, seconds=200)
        running.signal(signal.SIGKILL)
        assert (await running.ended()).code == KILLED
    assert emulator.ledger("many").hashes.total() < MANY
    ended = await commands.run(*line, seconds=300, **variables(plain))
    assert (ended.code, ended.json["sent"], ended.json["is_confirmed"]) == (0, MANY, True), ended
    assert closes(ended.json)
    assert Counter(hashes_of(objects)) == emulator.ledger("many").hashes
    print(f"{plain.scheme}: {MANY} objects; the rest took {ended.seconds:.1f} s")  # noqa: T201 - `make clouds -s` shows it
