"""`rfbulk export` as its user meets it: words, JSON, exit codes, and nothing secret in any of them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, Commands
from tests.support.batches import results_batch, tree_of

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
async def emulator() -> AsyncIterator[Emulator]:
    async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
        parts, _ = results_batch()
        await emulator.add_batch("results", parts=parts)
        yield emulator
        assert emulator.faults.unconsumed() == []


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Commands:
    home = tmp_path / "user"
    home.mkdir()
    return Commands(emulator.url, home)


async def test_a_batch_comes_home_and_its_checkpoint_is_known(commands: Commands, tmp_path: Path) -> None:
    _, tree = results_batch()
    target = tmp_path / "out"
    log = tmp_path / "events.jsonl"
    ended = await commands.run("export", "results", target, "--merge", tmp_path / "all.jsonl", "--log-file", log)
    assert (ended.code, ended.err) == (0, "")
    assert "listed 45 = fetched 45 + already here 0 + failed 0 + left 0" in ended.out
    assert "3 rows of 3 results files merged into" in ended.out
    assert tree == tree_of(target)
    commands.said.append(log)
    listed = await commands.run("checkpoint", "list")
    assert "export  results  here" in listed.out
    shown = await commands.run("checkpoint", "show", "results")
    assert "here     63 files" in shown.out
    assert (await commands.run("checkpoint", "forget", "results", "--yes")).code == 0
    again = await commands.run("export", "results", target, "--json")
    assert (again.code, again.json["fetched"], again.json["kept_apart"]) == (0, 45, 0)
    commands.look_for_secrets()


async def test_the_peers_spellings_are_taken(commands: Commands, tmp_path: Path) -> None:
    ended = await commands.run(
        "export", "results", "--target-dir", tmp_path / "out", "--part-name", "images", "--no-manifest", "--json"
    )
    assert (ended.code, ended.json["listed"], ended.json["parts"]) == (0, 40, ["images"])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["images"]


async def test_some_that_failed_are_named_and_the_exit_code_is_3(
    commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    emulator.faults.add("download:status=404,match=img-00007,times=2")
    report = tmp_path / "report.jsonl"
    ended = await commands.run("export", "results", tmp_path / "out", "--report", report)
    assert ended.code == 3
    assert "gone  images/shard-0/img-00007.jpg" in ended.out
    lines = [json.loads(line) for line in report.read_text().splitlines()[1:]]
    assert [line["fate"] for line in lines if line["name"] == "img-00007.jpg"] == ["failed"]


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["results"], 2, "no folder was named"),
        (["results", "OUT", "--part", "videos"], 2, "its parts are images, archives, results"),
        (["nothing", "OUT"], 2, "there is no such batch"),
        (["results", "OUT", "--merge", "all.txt"], 2, "ends with .jsonl or .csv"),
        (["results", "OUT", "--merge", "none/all.csv"], 2, "its folder is not there"),
        (["results", "OUT", "--concurrency", "900"], 2, "from 1 to the 64"),
    ],
)
async def test_a_request_that_cannot_be_carried_out_is_refused_in_words(
    commands: Commands, tmp_path: Path, arguments: list[str], code: int, text: str
) -> None:
    line = [str(tmp_path / "out") if word == "OUT" else word for word in arguments]
    ended = await commands.run("export", *line)
    assert (ended.code, ended.out) == (code, "")
    assert text in " ".join(ended.err.split())
    assert "Traceback" not in ended.err
