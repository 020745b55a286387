"""The audit as its user meets it: what it prints, in which form, with which exit code; and how it is ended."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, RFBULK, SMALL, Commands, read, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
WriteImages = Callable[..., Path]


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


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


async def sent(commands: Commands, folder: Path) -> None:
    ended = await commands.run("upload", "images", folder, "-b", "spring", *SMALL)
    assert ended.code == 0, ended


async def test_it_prints_books_and_names_and_advice(
    commands: Commands, write_images: WriteImages, tmp_path: Path
) -> None:
    folder = write_images(60)
    await sent(commands, folder)
    ended = await commands.run("verify", "spring")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "batch spring: all agree",
        "  sent      60 images = listed once 60 + doubled 0 + lost 0",
        "  listed    60 rows = known 60 + unknown 0 + repeated 0",
        "  in source 60 images = as sent 60 + changed 0 + new 0",
    ]
    for number in range(30):
        (folder / f"new-\x1b[31m{number}.jpg").write_bytes(b"\xff\xd8")
    ended = await commands.run("verify", "spring", folder)
    assert (ended.code, ended.err) == (3, "")
    assert "  30 new: say the upload again: it adds them" in ended.out.splitlines()
    assert "    … 10 more" in ended.out.splitlines()
    assert "  --report FILE.jsonl names them all" in ended.out.splitlines()
    assert "\x1b" not in ended.out
    ended = await commands.run(
        "verify", "spring", folder, "--exclude", "new-*", "--json", "--report", tmp_path / "d.jsonl"
    )
    assert (ended.code, ended.json["agrees"], ended.json["books"]["same"]) == (0, True, 60)
    assert len((tmp_path / "d.jsonl").read_text().splitlines()) == 1


async def test_json_has_a_line_for_each_difference_and_the_books_last(
    commands: Commands, write_images: WriteImages
) -> None:
    folder = write_images(9)
    await sent(commands, folder)
    (folder / "img-00000.jpg").unlink()
    (folder / "new.jpg").write_bytes(b"\xff\xd8")
    ended = await commands.run("verify", "spring", "--json")
    *named, last = ended.lines
    assert (3, {("gone", "img-00000.jpg"), ("new", "new.jpg")}) == (ended.code, {(n["kind"], n["name"]) for n in named})
    assert (last["books"]["differences"], last["agrees"], last["closes"]) == ({"gone": 1, "new": 1}, False, True)


async def test_a_list_that_came_by_standard_input(commands: Commands, write_images: WriteImages) -> None:
    """It is gone: what it had named is looked at; given again, new files are found, too."""
    folder = write_images(9)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.jpg"))

    async def say(*words: str, listed: list[str]) -> tuple[int, list[str]]:
        line, given = [*RFBULK, *words], "\n".join(listed).encode()
        ended = await anyio.run_process(line, input=given, env=commands.environment({}), cwd=folder, check=False)
        return ended.returncode, ended.stdout.decode().splitlines()

    code, _ = await say("upload", "images", "-", "-b", "spring", *SMALL, listed=names[:8])
    assert code == 0
    ended = await commands.run("verify", "spring")
    assert (ended.code, "came by standard input is gone" in ended.out) == (0, True)
    (folder / names[0]).unlink()
    ended = await commands.run("verify", "spring")
    assert (ended.code, "  1 gone" in ended.out.splitlines()) == (3, True)
    code, lines = await say("verify", "spring", "-", listed=names[1:])
    assert (code, "  1 new: say the upload again: it adds them" in lines) == (3, True)


async def test_what_cannot_be_done_is_refused(commands: Commands, write_images: WriteImages, tmp_path: Path) -> None:
    folder = write_images(3)
    ended = await commands.run("verify", "spring")
    assert (ended.code, "nothing was sent into it from here" in ended.err) == (2, True)
    await sent(commands, folder)
    for more, why in (
        (["--report", tmp_path / "none" / "d.jsonl"], "its folder is not there"),
        ([folder, "--no-source"], "a source was named that --no-source leaves out"),
        ([tmp_path / "none"], "No such file"),
    ):
        ended = await commands.run("verify", "spring", *more)
        assert (ended.code, ended.out, why in ended.err) == (2, "", True), ended
    folder.rename(tmp_path / "elsewhere")
    ended = await commands.run("verify", "spring")
    assert (ended.code, "--no-source compares without it" in ended.err) == (2, True)
    assert (await commands.run("verify", "spring", "--no-source")).code == 0


@pytest.mark.parametrize("fault", ["list:stall,seconds=60", "shards:stall,seconds=60"])
async def test_an_interrupt_ends_it_at_once_and_leaves_nothing(
    commands: Commands, emulator: Emulator, write_images: WriteImages, tmp_path: Path, fault: str
) -> None:
    await sent(commands, write_images(9))
    operation = fault.partition(":")[0]
    before = emulator.requests[operation]
    emulator.faults.add(fault)
    target = tmp_path / "d.jsonl"
    async with commands.started("verify", "spring", "--report", target) as running:
        await until(lambda: emulator.requests[operation] > before, 20)
        running.signal(signal.SIGINT)
        ended = await running.ended(10)
    assert (ended.code, ended.out) == (130, "")
    assert [name for name in names_in(tmp_path) if "d.jsonl" in name] == []
    assert names_in(commands.state / "audits") == []


async def test_a_service_that_is_gone_is_a_passing_trouble(commands: Commands, write_images: WriteImages) -> None:
    await sent(commands, write_images(3))
    commands.url = "http://127.0.0.1:1"
    ended = await commands.run("verify", "spring", "--retry-for", "0s")
    assert ended.code == 5


async def test_it_shows_where_it_stands(commands: Commands, emulator: Emulator, write_images: WriteImages) -> None:
    await sent(commands, write_images(9))
    emulator.faults.add("list:stall,seconds=60")
    log = commands.home / "events.jsonl"
    async with commands.started("verify", "spring", "--log-file", log) as running:
        await until(lambda: log.exists() and "AuditProgress" in read(log), 20)
        running.signal(signal.SIGTERM)
        assert (await running.ended(10)).code == 143
