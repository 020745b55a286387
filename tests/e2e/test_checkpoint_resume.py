"""A checkpoint's id is enough to go on: with the options it was begun with, from any folder, without any secret."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import rfbulk
from rfbulk import Client
from rfbulk.core.failpoints import Failpoint
from rfbulk.edge.checkpoint_file import facts_of
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, SMALL, Commands, hashes_of
from tests.support.folders import quick

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
WriteImages = Callable[..., Path]
SIGNED = "https://files.example/list.jsonl?X-Goog-Signature=0123456789abcdef"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    return EmulatorOptions(api_key=KEY)


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    home = tmp_path / "home"
    home.mkdir()
    commands = Commands(emulator.url, home)
    yield commands
    commands.look_for_secrets()


async def the_one(commands: Commands, kind: str = "upload") -> dict[str, str]:
    listed = await commands.run("checkpoint", "list", "--json")
    (found,) = [each for each in listed.lines if each["kind"] == kind]
    shown = await commands.run("checkpoint", "show", found["id"], "--json")
    return {"id": found["id"], "command": shown.json["command"]}


async def test_a_killed_upload_goes_on_by_its_id_alone(
    commands: Commands, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(100)
    line = ["upload", "images", folder.name, "-b", "spring", "--exclude", "cam-2/", *SMALL, "--api-key", KEY]
    killed = await commands.run(*line, cwd=folder.parent, RFBULK_FAILPOINT=f"{Failpoint.SHARD_PLANNED}:2")
    assert killed.code == 137
    known = await the_one(commands)
    assert known["command"].startswith(f"cd {shlex.quote(str(folder.parent))} && rfbulk upload images ")
    assert known["command"].endswith(f" {folder.name}")
    ended = await commands.run("checkpoint", "resume", known["id"][:8], "--json", cwd=commands.home)
    assert (ended.code, ended.json["sent"], ended.json["is_confirmed"]) == (0, 67, True)
    assert f"resuming: {known['command']}" == ended.err.splitlines()[0]
    for path in (folder / "day-1" / "cam-2").iterdir():
        path.unlink()
    assert hashes_of(folder) == emulator.ledger("spring").hashes


async def test_what_it_prints_is_a_command_that_works(commands: Commands, write_images: WriteImages) -> None:
    folder = write_images(20, "it's a folder")
    await commands.run("upload", "images", folder, "-b", "spring", *SMALL)
    line = (await the_one(commands))["command"]
    words = shlex.split(line)
    assert words[0] == "rfbulk"
    ended = await commands.run(*words[1:], "--json")
    assert (ended.code, ended.json["sent"], ended.json["already_sent"]) == (0, 20, 20)


async def test_later_options_win_and_restart_is_not_said_again(commands: Commands, write_images: WriteImages) -> None:
    folder = write_images(20)
    await commands.run("upload", "images", folder, "-b", "spring", *SMALL, "--restart", "--limit-rate", "10MiB")
    known = await the_one(commands)
    assert "--restart" not in known["command"]
    assert "--limit-rate 10MiB" in known["command"]
    ended = await commands.run("checkpoint", "resume", known["id"], "--limit-rate", "5MiB", "--no-wait", "--json")
    assert (ended.code, ended.json["already_sent"], ended.json["is_confirmed"]) == (0, 20, False)


async def test_exports_queries_and_references_go_on_too(
    commands: Commands, tmp_path: Path, write_images: WriteImages
) -> None:
    await commands.run("upload", "images", write_images(6), "-b", "spring", *SMALL)
    await commands.run("export", "spring", "results", "--json", cwd=tmp_path)
    (tmp_path / "results" / "img-00000.jpg").unlink()
    ended = await commands.run("checkpoint", "resume", (await the_one(commands, "export"))["id"], "--json")
    assert (ended.code, ended.json["fetched"], ended.json["already_here"]) == (0, 1, 5)
    await commands.run("upload", "query", "tag:street and 'x y'", "-b", "streets", "--no-wait", "--json")
    ended = await commands.run("checkpoint", "resume", (await the_one(commands, "ingest"))["id"], "--json")
    assert ended.code == 0


async def test_a_secret_is_not_kept_and_asked_for_again(commands: Commands) -> None:
    line = ["upload", "references", SIGNED, "-b", "linked", "--kind", "images", "--no-wait"]
    await commands.run(*line)
    known = await the_one(commands, "ingest")
    ended = await commands.run("checkpoint", "resume", known["id"])
    assert (ended.code, "held a secret, which is not kept" in ended.err) == (2, True)
    assert "files.example" not in known["command"]


async def test_what_a_program_has_begun_is_made_of_what_is_recorded(
    commands: Commands, emulator: Emulator, write_images: WriteImages
) -> None:
    folder = write_images(20)
    settings = rfbulk.Settings(api_url=emulator.url, state_dir=commands.state)
    async with Client(emulator.api_key, settings=settings) as client:
        await client.upload_images(
            folder, "spring", options=quick(names="basename", include=("*.jpg",), recursive=True)
        )
    known = await the_one(commands)
    words = ["rfbulk", "upload", "images", "--batch-id", "spring", "--include", "*.jpg", "--names", "basename"]
    assert [*words, str(folder)] == shlex.split(known["command"])
    ended = await commands.run("checkpoint", "resume", known["id"], "--json")
    assert (ended.code, ended.json["already_sent"]) == (0, 20)


async def test_what_cannot_be_resumed_is_refused_in_words(
    commands: Commands, tmp_path: Path, write_images: WriteImages
) -> None:
    ended = await commands.run("checkpoint", "resume", "spring")
    assert (ended.code, "no checkpoint begins with 'spring'" in ended.err) == (2, True)
    gone = tmp_path / "gone"
    write_images(3, "gone/images")
    await commands.run("upload", "images", "images", "-b", "spring", *SMALL, cwd=gone)
    gone.rename(tmp_path / "moved")
    ended = await commands.run("checkpoint", "resume", "spring")
    assert (ended.code, "cannot be entered" in ended.err) == (2, True)


async def test_a_line_that_is_no_text_is_kept(commands: Commands, tmp_path: Path, write_images: WriteImages) -> None:
    folder = write_images(3)
    odd = Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), b"\xff odd")))
    folder.rename(odd)
    ended = await commands.run("upload", "images", odd, "-b", "spring", *SMALL)
    assert ended.code == 0
    facts = facts_of(next((commands.state / "uploads").glob("*.sqlite")))
    assert str(odd) == json.loads(facts["said"])["words"][-1]
    ended = await commands.run("checkpoint", "resume", "spring", "--json")
    assert (ended.code, ended.json["already_sent"]) == (0, 3)
