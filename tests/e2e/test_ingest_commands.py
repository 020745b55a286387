"""Ingests without upload by the command line: what is said, what is printed, and the exit codes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


def lead_elsewhere(path: Path, old: str, new: str) -> None:
    path.write_text(path.read_text().replace(f"/{old}?", f"/{new}?"))


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


def rows_of(report: Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Return the summary of a report file, and its lines by name."""
    first, *lines = [json.loads(line) for line in report.read_text().splitlines()]
    return first["summary"], {line["name"]: line for line in lines}


async def test_every_reference_has_its_fate_in_the_report(
    commands: Commands, emulator: Emulator, listed: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    with listed.open("a") as file:
        file.write('{"name": "nowhere.png", "url": "https://host.invalid/x?X-Goog-Signature=1"}\n')
    line: list[str | Path] = [
        "upload",
        "references",
        listed,
        "-b",
        "refs",
        "--kind",
        "images",
        "--report",
        report,
        *QUICK,
    ]
    is_right(await commands.run(*line), 6)
    summary, lines = rows_of(report)
    [ingest] = summary["ingest_ids"]
    nowhere = lines.pop("nowhere.png")
    assert (nowhere["fate"], nowhere["why"]) == ("refused-by-service", "the file could not be fetched")
    assert lines == {
        name: {"name": name, "ingest": ingest, "fate": "accepted"} for name in (f"{number}.png" for number in range(7))
    }
    assert summary["planned"] == len(lines) + 1
    assert "http" not in report.read_text().partition("\n")[2]


async def test_what_is_left_and_what_is_another_file_now_is_in_the_report(
    commands: Commands, emulator: Emulator, listed: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    line: list[str | Path] = [
        "upload",
        "references",
        listed,
        "-b",
        "refs",
        "--kind",
        "images",
        "--report",
        report,
        *QUICK,
    ]
    emulator.faults.add("references:status=503,times=1000")
    is_right(await commands.run(*line, "--retry-for", "1s"), 5)
    emulator.faults.clear()
    assert {each["fate"] for each in rows_of(report)[1].values()} == {"left"}
    is_right(await commands.run(*line))
    assert {each["fate"] for each in rows_of(report)[1].values()} == {"indexed"}
    lead_elsewhere(listed, "3", "33")
    is_right(await commands.run(*line), 3)
    assert Counter(each["fate"] for each in rows_of(report)[1].values()) == {"indexed": 6, "changed": 1}


async def test_a_report_that_cannot_be_written_is_found_out_first(
    commands: Commands, emulator: Emulator, listed: Path, tmp_path: Path
) -> None:
    for source, report in ((str(listed), tmp_path / "none" / "x"), ("https://h.example/list?sig=1", tmp_path / "x")):
        line: list[str | Path] = ["upload", "references", source, "-b", "refs", "--kind", "images", "--report", report]
        assert "report" in (await commands.run(*line)).err
        is_right(await commands.run(*line), 2)
    assert emulator.requests["references"] == 0


async def test_a_dry_run_looks_at_every_line_and_asks_for_nothing(
    commands: Commands, emulator: Emulator, listed: Path
) -> None:
    line: list[str | Path] = ["upload", "references", listed, "--kind", "videos", "--dry-run"]
    assert is_right(await commands.run(*line)) == "would ask for 7 references to videos, in 1 request\n"
    assert (await commands.run(*line, "--json")).json["references"] == 7
    spoil(listed)
    assert "line 15: the URL is not https" in (await commands.run(*line)).err
    assert "no batch was named" in (await commands.run(*line[:-1])).err
    assert not emulator.requests


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
