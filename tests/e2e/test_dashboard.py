"""Commands that show themselves: the page while they run, the report when they end, and all checkpoints beside them."""

from __future__ import annotations

import json
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import anyio.lowlevel
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from rfbulk.emulator.faults import Fault
from tests.crash.commands import KEY, SMALL, Commands, Running, read, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY)


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    """Commands of one user; in the end, nothing that they said or left behind holds a secret."""
    home = tmp_path / "home"
    home.mkdir()
    commands = Commands(emulator.url, home)
    yield commands
    commands.look_for_secrets()


@pytest.fixture
def images(write_images: Callable[..., Path]) -> Path:
    return write_images(100)


def upload(source: Path | str, *more: str | Path) -> list[str | Path]:
    return ["upload", "images", source, "--batch-id", "spring", *SMALL, *more]


async def url_of(running: Running) -> str:
    await running.said("dashboard: http://")
    found = re.search(r"dashboard: (\S+)", read(running.err))
    assert found is not None
    return found[1]


@asynccontextmanager
async def frames(url: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    async with aiohttp.ClientSession() as session, session.get(url + "events") as response:
        yield _frames(response)


async def _frames(response: aiohttp.ClientResponse) -> AsyncIterator[dict[str, Any]]:
    async for line in response.content:
        if line.startswith(b"data: {"):
            yield json.loads(line[6:])
        elif line.startswith(b"event: end"):
            return


def page(path: Path) -> str:
    return " ".join(re.sub(r"<[^>]*>", " ", path.read_text("utf-8").partition("</style>")[2]).split())


async def test_an_upload_is_seen_while_it_runs_and_told_of_when_it_has_ended(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    emulator.faults.add(Fault("put", "answer", status=503, times=2))
    (images / "empty.jpg").touch()
    report = tmp_path / "report.html"
    words = upload(images, "--dashboard", "127.0.0.1:0", "--report-html", report, "--limit-rate", "60KiB")
    async with commands.started(*words) as running:
        url = await url_of(running)
        async with frames(url) as seen:
            told = [frame async for frame in seen]
        ended = await running.ended()
    assert ended.code == 3
    assert told[0]["kind"] == "whole"
    assert told[0]["about"]["command"] == "upload images"
    assert (told[-1]["ending"]["exit_code"], told[-1]["books"][0]["total"]) == (3, 100)
    assert told[-1]["map"]["totals"][5] == 3
    text = page(report)
    assert "finished, but some files failed (exit code 3)" in text
    assert "sent 100 quarantined 0 failed 0 left 0 planned, the sum 100" in text
    assert "store 503 2" in text
    assert "1 file refused before planning: mended, they are found by the same command" in text
    assert str(images / "empty.jpg") in text


async def test_a_dashboard_may_stand_before_the_source(commands: Commands, images: Path) -> None:
    ended = await commands.run("upload", "images", "--dashboard", images, "-b", "spring", *SMALL)
    assert ended.code == 0
    assert re.search(r"^dashboard: http://127\.0\.0\.1:\d+/$", ended.err, re.MULTILINE)


async def test_beyond_this_machine_the_address_has_a_token_and_a_warning(commands: Commands, images: Path) -> None:
    ended = await commands.run(*upload(images, "--dashboard=0.0.0.0:0"))
    assert re.search(r"dashboard: http://\S+:\d+/\?token=[\w-]{43}", ended.err)
    assert "warning: this is plain HTTP beyond this machine" in ended.err


async def test_what_cannot_be_shown_is_told_before_anything_is_sent(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
        cases: list[tuple[list[str | Path], str]] = [
            ([f"--dashboard=127.0.0.1:{port}"], f"the dashboard at 127.0.0.1:{port}: Address already in use"),
            (["--dashboard=nowhere.invalid:80"], "the dashboard at nowhere.invalid:80"),
            (["--dashboard=what:ever"], "it is no HOST:PORT"),
            (["--dashboard", "--dry-run"], "--dry-run sends nothing"),
            (["--report-html", tmp_path / "none" / "r.html"], "its folder is not there"),
            (["--report-html", tmp_path], "it is a folder"),
        ]
        for more, why in cases:
            ended = await commands.run(*upload(images, *more))
            assert (ended.code, ended.out) == (2, ""), ended
            assert why in ended.err
    assert (emulator.requests["grant"], emulator.requests["put"]) == (0, 0)


async def test_an_interrupted_upload_leaves_its_report_and_the_next_begins_with_its_map(
    commands: Commands, images: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    slow = upload(images, "--report-html", report, "--limit-rate", "30KiB", "--concurrency", "1", "--memory", "4MiB")
    async with commands.started(*slow, "--dashboard=127.0.0.1:0") as running:
        async with frames(await url_of(running)) as seen:
            async for frame in seen:
                if frame["map"]["totals"][4]:
                    running.signal(signal.SIGINT)
                    break
        assert (await running.ended()).code == 130
    text = page(report)
    assert "interrupted; the checkpoint is kept (exit code 130)" in text
    assert "say the same again" in text
    stored = int(re.findall(r"stored ([\d,]+)", text)[-1].replace(",", ""))
    assert stored
    async with commands.started(*slow, "--dashboard=127.0.0.1:0") as running:
        async with frames(await url_of(running)) as seen:
            async for frame in seen:
                if (frame["progress"] or {}).get("shards_before"):
                    await anyio.lowlevel.checkpoint()
                if sum(frame["map"]["totals"][4:6]) >= stored and frame["progress"]:
                    break
            else:
                pytest.fail("the map never told of the earlier run")
        running.signal(signal.SIGINT)
        await running.ended()


async def test_an_upload_whose_service_dies_says_so_on_its_page_and_in_its_report(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.html"
    emulator.faults.add(Fault("grant", "answer", status=503, times=None, keep=False))
    words = upload(images, "--report-html", report, "--retry-for", "1s", "--dashboard=127.0.0.1:0")
    async with commands.started(*words) as running:
        async with frames(await url_of(running)) as seen:
            last = [frame async for frame in seen][-1]
        ended = await running.ended()
    assert (ended.code, last["ending"]["exit_code"]) == (5, 5)
    assert "503" in last["ending"]["error"]
    assert "stopped by a passing trouble; the same command resumes (exit code 5)" in page(report)
    emulator.faults.clear()


async def test_every_transfer_has_a_report(commands: Commands, images: Path, tmp_path: Path) -> None:
    """The job fails, since nothing but their names makes these files images."""
    listed = tmp_path / "list.jsonl"
    listed.write_text('{"name": "a.jpg", "url": "https://nowhere.invalid/a.jpg?X-Goog-Signature=c4n4ry"}\n')
    cases: list[tuple[list[str | Path], int, str]] = [
        (upload(images), 0, "There is nothing left to do."),
        (["export", "spring", tmp_path / "home-again"], 0, "listed, the sum 100"),
        (["upload", "query", "tag:street", "-b", "streets", "--no-wait"], 0, "1 request accepted"),
        (
            ["upload", "references", listed, "-b", "linked", "-k", "images", "--no-wait"],
            0,
            "accepted 1 failed 0 left 0",
        ),
        (["run", images, "-w", "detect", "-o", tmp_path / "out", *SMALL], 6, "Job job-"),
    ]
    for number, (words, code, told) in enumerate(cases):
        report = tmp_path / f"{number}.html"
        ended = await commands.run(*words, "--report-html", report)
        assert ended.code == code, ended
        text = page(report)
        assert f"(exit code {code})" in text
        assert told in text
        assert "These do not add up" not in text
        assert "c4n4ry" not in report.read_text()


async def test_a_machine_that_remembers_shows_what_others_do(commands: Commands, images: Path) -> None:
    assert (await commands.run(*upload(images))).code == 0
    async with commands.started("dashboard", "127.0.0.1:0") as page_server:
        url = await url_of(page_server)
        named: list[str | Path] = ["upload", "images", images, "-b", "autumn", *SMALL]
        slow: list[str | Path] = [*named, "--limit-rate", "40KiB", "--concurrency", "1"]
        async with commands.started(*slow) as running, frames(url) as seen:
            first = await anext(seen)
            assert [(row["batch"], row["state"], row["holder"]) for row in first["rows"]][-1] == (
                "spring",
                "confirmed",
                "",
            )
            row: dict[str, Any] = {}
            async for frame in seen:
                row = next((each for each in frame["rows"] if each["batch"] == "autumn"), {"holder": "", "done": 0})
                if row["holder"] and row["done"]:
                    break
            assert f"process {running.process.pid} on" in row["holder"]
            async with aiohttp.ClientSession() as session:
                async with session.get(f"{url}detail/upload:{row['id']}") as response:
                    detail = await response.json()
                assert sum(detail["map"]["totals"]) == 3
                for name in ("upload:nothing", "upload:..%2Fuploads%2F" + row["id"], "x:y", "upload:"):
                    async with session.get(f"{url}detail/{name}") as response:
                        assert response.status == 404
            running.signal(signal.SIGINT)
            assert (await running.ended()).code == 130
            async for frame in seen:
                if not any(row["holder"] for row in frame["rows"]):
                    break
        page_server.signal(signal.SIGINT)
        ended = await page_server.ended()
    assert (ended.code, ended.out) == (0, "")


async def test_the_page_of_checkpoints_needs_no_key_and_tells_its_address_in_json(commands: Commands) -> None:
    commands.key = None
    async with commands.started("--json", "dashboard", ":0") as running:
        await until(lambda: read(running.out))
        url = json.loads(read(running.out))["url"]
        async with frames(url) as seen:
            assert (await anext(seen))["rows"] == []
        running.signal(signal.SIGTERM)
        assert (await running.ended()).code == 0
