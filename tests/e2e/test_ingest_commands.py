"""Ingests without upload by the command line: what is said, what is printed, and the exit codes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands, Ended

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
QUICK = ("--quiet-period", "100ms")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY)


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    rows = [
        {"name": f"{number}.png", "url": f"https://bucket.example/{number}?X-Goog-Signature=1"} for number in range(7)
    ]
    path = tmp_path / "list.jsonl"
    path.write_text("\ufeff" + "".join(json.dumps(row) + "\r\n\r\n" for row in rows))
    return path


def spoil(path: Path) -> None:
    with path.open("a") as file:
        file.write('{"name": "x.png", "url": "http://plain.example/?sig=1"}')


def is_right(ended: Ended, code: int = 0) -> str:
    assert ended.code == code, ended
    return ended.out


async def test_references_are_accepted_once_and_waited_for(commands: Commands, listed: Path) -> None:
    line = ["upload", "references", str(listed), "-b", "refs", "--kind", "images", *QUICK]
    told = [
        "--ingest-id",
        "mine",
        "--notifications-url",
        "https://me.example/",
        "--notification-category",
        "files-status",
    ]
    out = is_right(await commands.run(*line, *told))
    assert "batch refs: 7 references to images accepted, 7 indexed by the service" in out
    assert "planned 7 = accepted 7 + failed 0 + left 0" in out
    assert "1 request in" in out
    report = (await commands.run(*line, *told, "--json")).json
    assert (report["already_sent"], report["ingest_ids"], report["is_confirmed"]) == (7, ["mine"], True)
    checkpoint = (await commands.run("checkpoint", "list", "--json")).json
    assert (checkpoint["kind"], checkpoint["sent"], checkpoint["confirmed"]) == ("ingest", 7, True)
    assert "7 references in 1 request" in is_right(await commands.run("checkpoint", "show", "refs"))
    is_right(await commands.run("batch", "wait", "refs", "--timeout", "30s"))


async def test_a_bad_file_is_told_by_line_and_nothing_is_sent(
    commands: Commands, emulator: Emulator, listed: Path
) -> None:
    spoil(listed)
    ended = await commands.run("upload", "references", listed, "-b", "refs", "--kind", "images")
    is_right(ended, 2)
    assert "line 15: the URL is not https" in ended.err
    assert "plain.example" not in ended.err
    assert emulator.ledger("refs").granted == 0


async def test_a_list_that_the_service_cannot_fetch_is_a_failed_ingest(commands: Commands) -> None:
    url = "https://bucket.example/list.jsonl?X-Goog-Credential=1"
    ended = await commands.run("upload", "references", url, "-b", "refs", "--kind", "images", *QUICK)
    assert "the service failed to take all in" in is_right(ended, 6)


async def test_a_query_fills_a_batch(commands: Commands, emulator: Emulator) -> None:
    line = ["upload", "query", "tag:street", "-b", "streets", *QUICK]
    assert "the query was accepted, 5 indexed by the service" in is_right(await commands.run(*line))
    assert (await commands.run(*line, "--json")).json["requests"] == 1
    assert emulator.ledger("streets").names.total() == 5
