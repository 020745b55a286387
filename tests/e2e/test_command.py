"""The command line as its user meets it: each command a process, every byte of it searched for secrets."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import click
import pytest

from rfbulk.cli.main import COMMANDS, SINGLE
from rfbulk.cli.main import rfbulk as root
from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, RFBULK, SMALL, Commands, Ended, closes, hash_of, hashes_of, read, together, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
WriteImages = Callable[..., Path]
NOWHERE = "http://127.0.0.1:1"
PROMPT_SECONDS = 6.0


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
def images(write_images: WriteImages) -> Path:
    return write_images(100)


def upload(source: Path | str, *more: str | Path) -> list[str | Path]:
    return ["upload", "images", source, "--batch-id", "spring", *SMALL, *more]


def is_refused(ended: Ended, why: str, code: int = 2) -> bool:
    """Whether a command ended with a clear error on one line, and nothing else but how it is used."""
    lines = ended.err.strip().splitlines()
    errors = [line for line in lines if line.lower().startswith("error: ")]
    others = [line for line in lines if not line.startswith(("Usage: rfbulk", "Try 'rfbulk", "Error: ", "error: "))]
    assert (ended.code, ended.out, len(errors), [line for line in others if line]) == (code, "", 1, []), ended
    assert re.search(why, errors[0]), errors
    return True


# help

WORDS = [
    [],
    *[[name] for name in SINGLE],
    *[[group] for group in COMMANDS],
    *[[group, name] for group in COMMANDS for name in COMMANDS[group]],
    *[["job", "start", name] for name in ("images", "videos", "trt")],
]


def command_at(words: list[str]) -> click.Command:
    found: click.Command = root
    for word in words:
        assert isinstance(found, click.Group)
        below = found.get_command(click.Context(found), word)
        assert below is not None
        found = below
    return found


async def test_help_of_every_command_shows_an_example(commands: Commands) -> None:
    async def read_help(words: list[str]) -> None:
        ended = await commands.run(*words, "--help")
        assert (ended.code, ended.err) == (0, "")
        assert max(map(len, ended.out.splitlines())) <= 110
        command = command_at(words)
        if isinstance(command, click.Group) and words:
            assert all(name in ended.out for name in command.list_commands(click.Context(command)))
        else:
            example = " ".join(["rfbulk", *words])
            assert re.search(rf"^ +{example}( |$)", ended.out, re.MULTILINE), ended.out

    await together(read_help, WORDS)


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["batch", "--help"], ["checkpoint", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import os, sys
sys.argv = ["rfbulk", *{arguments!r}]
os._exit = sys.exit  # it would leave before we have looked
from rfbulk.cli.main import main
try:
    main()
finally:
    heavy = {{"aiohttp", "anyio", "asyncio", "msgspec", "orjson", "rich", "sqlite3", "uvloop"}} & set(sys.modules)
    print("heavy", sorted(heavy), file=sys.stderr)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
    assert ended.stderr == "heavy []\n"


# wrong input


WRONG: list[tuple[list[str], str]] = [
    (["upload", "images", "nowhere", "-b", "spring"], "read source '.*nowhere'.*No such file"),
    (["upload", "images", "empty", "-b", "spring"], "it holds no image"),
    (["upload", "images", "texts", "-b", "spring", "--json"], "no image to send was found"),
    (["upload", "images", "photos"], "no batch was named: --batch-id"),
    (["upload", "images", "-b", "spring"], "Missing argument 'SOURCE...'"),
    (["upload", "images", "photos", "-b", "Über"], "batch id 'Über': the service takes 1 to 64 of a-z"),
    (["upload", "images", "photos", "-b", "spring", "--shard-bytes", "lots"], "'lots' is no size"),
    (["upload", "images", "photos", "-b", "spring", "--shard-images", "501"], "it must be from 1 to 500"),
    (["upload", "images", "photos", "-b", "spring", "--notifications-url", "http://a.b/c"], "an https:// address"),
    (["upload", "images", "photos", "-b", "spring", "--colour"], "No such option '?--colour"),
    (["upload", "images", "photos", "-b", "spring", "--report", "no/where"], "its folder is not there"),
    (["upload", "images", "photos", "-b", "spring", "--report", "photos"], "it is a folder"),
    (["upload", "images", "photos", "-b", "spring", "--log-file", "no/where"], "the log file no/where"),
    (["upload", "images", "photos", "-b", "spring", "--api-url", "http://a.example"], "the URL is not https"),
    (["upload", "images", "photos", "-b", "spring", "--api-key-file", "no/where"], "api key file no/where"),
    (["upload", "images", "photos", "-b", "spring", "--api-key-file", "texts/two"], "one key on one line"),
    (["upload", "images", "twins", "-b", "spring", "--names", "basename"], "a.jpg and .*a.jpg"),
    (["batch", "show", "winter"], "the service does not know it"),
    (["checkpoint", "show", "winter"], "no checkpoint begins with 'winter'"),
    (["emulator", "serve", "--fault", "put:explode"], "unknown action 'explode'"),
    (["fly"], "No such command 'fly'"),
]


async def test_wrong_input_is_refused_in_a_line_before_anything_is_sent(
    commands: Commands, emulator: Emulator, tmp_path: Path
) -> None:
    for name in ["photos/a.jpg", "texts/one.txt", "texts/two", "twins/a.jpg", "twins/below/a.jpg"]:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("some words")
    (tmp_path / "empty").mkdir()

    async def refuse(case: tuple[list[str], str]) -> None:
        arguments, why = case
        assert is_refused(await commands.run(*arguments, cwd=tmp_path), why)

    await together(refuse, WRONG)
    assert (emulator.requests["grant"], emulator.requests["put"]) == (0, 0)


async def test_without_a_key_nothing_begins(commands: Commands, emulator: Emulator, images: Path) -> None:
    commands.key = None
    assert is_refused(await commands.run(*upload(images)), "there is no api key .*ROBOFLOW_API_KEY")
    assert emulator.requests.total() == 0


async def test_a_wrong_key_ends_with_its_own_code(commands: Commands, emulator: Emulator, images: Path) -> None:
    commands.key = "another"
    assert is_refused(await commands.run(*upload(images)), "401", code=4)
    assert emulator.requests["grant"] == 0


async def test_a_key_is_taken_from_a_file_and_one_on_the_line_is_warned_of(
    commands: Commands, tmp_path: Path, emulator: Emulator
) -> None:
    commands.key = None
    file = tmp_path / "mine.key"
    file.write_text(f"{KEY}\n")
    ended = await commands.run("batch", "list", "--api-key-file", file)
    assert (ended.code, ended.err) == (0, "")
    ended = await commands.run("batch", "list", "--api-key", KEY)
    assert ended.code == 0
    assert "a key on the command line can be read by others" in ended.err
    configuration = commands.home / ".config/roboflow/config.json.key"
    configuration.parent.mkdir(parents=True)
    configuration.write_text(json.dumps({"RF_WORKSPACE": "mine", "workspaces": {"mine": {"apiKey": KEY}}}))
    assert (await commands.run("batch", "list", ROBOFLOW_CONFIG_DIR=str(configuration))).code == 0


# uploads


async def test_an_upload_reports_in_words_and_in_exactly_one_json_object(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    ended = await commands.run(*upload(images))
    assert (ended.code, ended.err) == (0, "")
    assert "batch spring: 100 images stored and indexed by the service" in ended.out
    assert "planned 100 = sent 100 + quarantined 0 + failed 0 + left 0" in ended.out
    again = await commands.run("--json", *upload(images))
    assert (again.code, again.err) == (0, "")
    assert (again.json["sent"], again.json["already_sent"], again.json["is_confirmed"]) == (100, 100, True)
    assert closes(again.json)
    assert hashes_of(images) == emulator.ledger("spring").hashes
    assert emulator.requests["put"] == 3


async def test_partial_failures_are_all_named_and_have_their_own_code(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    (images / "empty.png").touch()
    (images / "photo.heic").write_bytes(b"x")
    (images / "gone.jpg").symlink_to("nowhere.jpg")
    (images / "evil\x1b[31m\n.jpg").touch()
    (images / "notes.txt").touch()
    os.mkfifo(images / "pipe.jpg")
    report = tmp_path / "report.jsonl"
    ended = await commands.run(*upload(images, "--report", report))
    assert ended.code == 3
    assert "\x1b" not in ended.out
    named = {"empty.png", "photo.heic", "gone.jpg", "pipe.jpg", "\\x1b[31m"}
    assert {name for name in named if name in ended.out} == named
    summary, lines = parts_of(report)
    assert (summary["sent"], summary["refused"], summary["skipped"]) == (100, 5, 1)
    refused = {Path(line["path"]).name: line["fate"] for line in lines if line["fate"] != "indexed"}
    assert {"empty.png": "empty", "photo.heic": "unsupported-image", "pipe.jpg": "special-file"}.items() <= (
        refused.items()
    )
    assert len(refused) == 5
    assert emulator.ledger("spring").hashes.total() == 100


def parts_of(report: Path) -> tuple[dict[str, int], list[dict[str, str]]]:
    first, *lines = [json.loads(line) for line in report.read_text().splitlines()]
    return first["summary"], lines


async def test_the_report_file_leads_from_each_name_to_its_source(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    report = tmp_path / "report.jsonl"
    assert (await commands.run(*upload(images, "--report", report))).code == 0
    summary, lines = parts_of(report)
    sources = {line["name"]: Path(line["path"]) for line in lines}
    assert set(emulator.ledger("spring").names) == set(sources)
    assert hashes_of(images) == Counter(hash_of(path.read_bytes()) for path in sources.values())
    assert all(name == path.relative_to(images).as_posix().replace("/", "__") for name, path in sources.items())
    assert (summary["sent"], {line["fate"] for line in lines}) == (100, {"indexed"})
    assert [name for name in os.listdir(tmp_path) if name.startswith(".")] == []  # noqa: PTH208 - nor a hidden one


async def test_a_dry_run_needs_no_key_and_sends_nothing(commands: Commands, emulator: Emulator, images: Path) -> None:
    commands.key = None
    (images / "empty.png").touch()
    ended = await commands.run("upload", "images", images, "--dry-run", "--shard-images", "40")
    assert ended.code == 0
    assert ended.err.startswith("note: How long that takes is known once an upload has been measured")
    assert "would send 100 images" in ended.out
    assert "in 3 shards" in ended.out
    assert "day-1__" in ended.out
    assert "1 file refused: empty" in ended.out
    ended = await commands.run("upload", "images", images, "--dry-run", "--json")
    assert (ended.json["images"], ended.json["refused"]) == (100, {"empty": 1})
    assert emulator.requests.total() == 0
    assert not commands.state.exists()


@pytest.mark.parametrize("options", [EmulatorOptions(api_key=KEY, index_delay_seconds=60)])
async def test_waiting_can_be_left_out_and_times_out_with_its_own_code(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    ended = await commands.run(*upload(images, "--no-wait", "--json"))
    assert (ended.code, ended.json["sent"], ended.json["is_confirmed"]) == (0, 100, False)
    ended = await commands.run(*upload(images, "--timeout", "300ms", "--json"))
    assert (ended.code, ended.json["sent"]) == (7, 100)
    assert "run the same again to go on waiting" in ended.err
    ended = await commands.run("batch", "wait", "spring", "--expect", "100", "--timeout", "300ms")
    assert is_refused(ended, "after 0.3 s it counts 0 of 100 files and 3 shards are pending", code=7)


async def test_a_rate_is_kept(commands: Commands, images: Path) -> None:
    ended = await commands.run(*upload(images, "--limit-rate", "200KiB", "--json"))
    assert ended.code == 0
    assert ended.json["bytes_sent"] / ended.json["wall_seconds"] < 200 << 10


async def test_patterns_choose_what_is_meant(commands: Commands, images: Path) -> None:
    async def choose(case: tuple[list[str], int]) -> None:
        choice, expected = case
        ended = await commands.run("upload", "images", images, "--dry-run", "--json", *choice)
        assert (ended.json["images"], ended.code) == (expected, 0 if expected else 2)

    cases = [
        (["--include", "*-0000?.jpg"], 10),
        (["--exclude", "day-1/**"], 34),
        (["--include", "day-1/**", "--exclude", "**/cam-2/**"], 33),
        (["--no-recursive"], 34),
        (["--include", "*.png"], 0),
    ]
    await together(choose, cases)


async def test_a_restart_sends_all_again(commands: Commands, emulator: Emulator, images: Path) -> None:
    assert (await commands.run(*upload(images))).code == 0
    ended = await commands.run("upload", "images", images, "--batch-id", "summer", *SMALL, "--restart", "--json")
    assert (ended.code, ended.json["already_sent"]) == (0, 0)
    ended = await commands.run(*upload(images, "--restart", "--json"))
    assert (ended.json["sent"], ended.json["already_sent"]) == (100, 0)
    assert "exists already" in ended.err
    assert emulator.ledger("spring").hashes.total() == 200


async def test_the_environment_gives_options_and_the_line_wins(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    line = ["upload", "images", str(images), "--quiet-period", "100ms"]
    ended = await commands.run(*line, "-b", "spring", RFBULK_UPLOAD_IMAGES_SHARD_IMAGES="20", RFBULK_JSON="1")
    assert (ended.code, ended.json["shards_sent"]) == (0, 5)
    more = ["-b", "summer", "--shard-images", "50"]
    ended = await commands.run(*line, *more, RFBULK_UPLOAD_IMAGES_SHARD_IMAGES="20", RFBULK_JSON="1")
    assert (ended.code, ended.json["shards_sent"]) == (0, 2)


@pytest.mark.parametrize(
    "arguments", [["--api-url", "{url}", "--json", "batch", "list"], ["batch", "list", "--api-url", "{url}", "--json"]]
)
async def test_shared_options_stand_before_or_behind_the_command(
    commands: Commands, emulator: Emulator, arguments: list[str]
) -> None:
    url, commands.url = commands.url, NOWHERE
    ended = await commands.run(*[argument.format(url=url) for argument in arguments])
    assert (ended.code, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize("options", [EmulatorOptions(api_key=KEY, max_shard_bytes=30_000, limit_statement="none")])
async def test_a_failed_ingest_has_its_own_code(commands: Commands, emulator: Emulator, images: Path) -> None:
    ended = await commands.run(*upload(images, "--json"))
    assert ended.code == 6
    assert ended.json["ingest_failed"]
    assert closes(ended.json)
    assert ended.json["sent"] == emulator.ledger("spring").hashes.total()
    waited = await commands.run("batch", "wait", "spring", "--expect", "0", "--json")
    assert (waited.code, waited.json["shards"].keys() >= {"error"}) == (6, True)


@pytest.mark.parametrize("line", [["batch", "list"], ["upload", "images", "{images}", "--batch-id", "spring"]])
async def test_a_service_that_is_down_is_told_in_time(commands: Commands, images: Path, line: list[str]) -> None:
    commands.url = NOWHERE
    ended = await commands.run(*[word.format(images=images) for word in line], "--retry-for", "300ms", seconds=10)
    assert is_refused(ended, "no connection to 127.0.0.1:1: Connection refused", code=5)


# batches and checkpoints


async def test_batches_are_shown_in_words_and_in_json(commands: Commands, emulator: Emulator, images: Path) -> None:
    report = (await commands.run(*upload(images, "--json", "--batch-name", "Spring 1"))).json
    words, values = await both(commands, "batch", "list")
    assert re.search(r"^spring +Spring 1 +sharded-batch +images +in \d days$", words, re.MULTILINE)
    assert [batch["batch_id"] for batch in values] == ["spring"]
    words, values = await both(commands, "batch", "show", "spring")
    assert "files    100" in words
    assert (values[0]["count"], values[0]["shards"]) == (100, {"success": 3})
    words, values = await both(commands, "batch", "files", "spring")
    names = set(emulator.ledger("spring").names)
    assert names == set(words.splitlines()) == {file["file_name"] for file in values}
    words, values = await both(commands, "batch", "shards", "spring")
    assert words.count("success") == len(values) == report["shards_sent"]
    words, values = await both(commands, "batch", "wait", "spring", "--expect", "100")
    assert words == "batch spring: ready: 100 of 100 files counted\n"
    assert values[0]["count"] == 100


async def test_download_addresses_are_shown_only_where_asked_for(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    assert (await commands.run(*upload(images))).code == 0
    ended = await commands.run("batch", "files", "spring", "--json")
    assert "X-Goog-" not in ended.out
    shown = await commands.run("batch", "files", "spring", "--json", "--urls")
    assert all("X-Goog-Signature=" in file["download_url"] for file in shown.lines)
    commands.said = commands.said[:-2]  # there they are meant to be
    for path in commands.home.glob("tmp*/out"):
        if path not in commands.said:
            path.unlink()


async def both(commands: Commands, *line: str) -> tuple[str, list[dict[str, object]]]:
    """What a command says in words and in JSON."""
    found: dict[bool, Ended] = {}

    async def ask(is_json: bool) -> None:
        found[is_json] = await commands.run(*line, *["--json"][: int(is_json)])
        assert (found[is_json].code, found[is_json].err) == (0, "")

    await together(ask, [False, True])
    return found[False].out, found[True].lines


async def test_checkpoints_are_listed_shown_and_forgotten(commands: Commands, emulator: Emulator, images: Path) -> None:
    report = (await commands.run(*upload(images, "--json"))).json
    words, values = await both(commands, "checkpoint", "list")
    assert re.search(rf"^{report['checkpoint']} +upload +spring +confirmed .* {images}$", words, re.MULTILINE)
    assert [checkpoint["id"] for checkpoint in values] == [report["checkpoint"]]
    words, values = await both(commands, "checkpoint", "show", "spr")
    assert "sent     100 images" in words
    assert (values[0]["images_sent"], values[0]["images_left"]) == (100, 0)
    ended = await commands.run("checkpoint", "forget", "spr", program=("sh", "-c", 'echo n | "$@"', "sh", *RFBULK))
    assert ended.code != 0
    ended = await commands.run("checkpoint", "forget", "spr", "--yes")
    assert (ended.code, ended.out) == (0, f"forgotten: {report['checkpoint']}\n")
    assert (await commands.run("checkpoint", "list", "--json")).out == ""
    assert list((commands.state / "uploads").iterdir()) == []


async def test_a_checkpoint_in_use_is_not_forgotten(commands: Commands, emulator: Emulator, images: Path) -> None:
    async with commands.started(*upload(images, "--limit-rate", "150KiB")) as running:
        await until(lambda: emulator.requests["put"])
        ended = await commands.run("checkpoint", "forget", "spring", "--yes")
        assert is_refused(ended, f"process {running.process.pid} on .*works on the same transfer", code=5)
        assert (await running.ended()).code == 0


# processes


async def test_an_emulator_serves_until_it_is_interrupted(commands: Commands, images: Path, tmp_path: Path) -> None:
    serve = ["emulator", "serve", "--port", "0", "--dir", str(tmp_path / "service"), "--key", KEY]
    async with commands.started(*serve) as service:
        await until(lambda: "listens at" in read(service.out))
        commands.url = read(service.out).split()[4].rstrip(",")
        assert (await commands.run(*upload(images))).code == 0
        service.signal(signal.SIGINT)
        ended = await service.ended(PROMPT_SECONDS)
    assert ended.code == 130
    assert "Traceback" not in ended.err
    for path in (tmp_path / "service").rglob("*"):
        assert path.is_dir() or b"X-Goog-Signature" not in path.read_bytes()


async def test_the_emulator_of_a_command_lasts_so_the_same_again_sends_nothing(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    line = ["--emulator", "--emulator-dir", tmp_path / "service", "--json", *upload(images)]
    first, second = await commands.run(*line), await commands.run(*line)
    assert (first.code, second.code) == (0, 0), (first, second)
    assert (first.json["already_sent"], second.json["already_sent"], second.json["sent"]) == (0, 100, 100)
    listed = await commands.run("--emulator", "--emulator-dir", tmp_path / "service", "batch", "files", "spring")
    assert len(set(listed.out.splitlines())) == 100
    assert emulator.requests.total() == 0


async def test_an_interrupted_wait_ends_at_once_and_says_so(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    assert (await commands.run(*upload(images, "--no-wait"))).code == 0
    async with commands.started("batch", "wait", "spring", "--expect", "500") as running:
        await until(lambda: emulator.requests["shards"] > 1)
        running.signal(signal.SIGINT)
        ended = await running.ended(1.5)
    assert (ended.code, ended.out) == (130, "")
    assert ended.err == "interrupted\n"


async def test_a_reader_that_leaves_early_is_no_reason_for_a_traceback(
    commands: Commands, emulator: Emulator, images: Path
) -> None:
    """The reader is gone before the first word is written: of the results, or of the progress too."""
    assert (await commands.run(*upload(images))).code == 0
    without_out = 'exec 3>&1; { sleep 0.2; "$@" 2>&3; echo "code $?" >&3; } | true'
    without_both = 'exec 3>&1; { sleep 0.2; "$@" 2>&1; echo "code $?" >&3; } | true'

    async def leave(case: tuple[list[str | Path], str]) -> None:
        line, shell = case
        ended = await commands.run(*line, program=("sh", "-c", shell, "sh", *RFBULK))
        assert ended.out == "code 1\n"

    cases: list[tuple[list[str | Path], str]] = [
        (["--help"], without_out),
        (["batch", "files", "spring"], without_out),
        (["batch", "list", "--json"], without_both),
        (upload(images), without_out),
        (["upload", "images", images, "-b", "summer", *SMALL, "-vv", "--json"], without_both),
    ]
    await together(leave, cases)


# secrets


async def test_secrets_are_in_no_word_no_file_and_no_process_list(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    """A killed upload keeps the addresses of granted shards, and nothing else does; once it is sent, none is left."""
    log, report = commands.home / "events.jsonl", commands.home / "report.jsonl"
    line = [*upload(images), "-vv", "--log-file", log, "--report", report, "--retry-for", "20s"]
    ended = await commands.run(*line, RFBULK_FAILPOINT="attempt-recorded")
    assert ended.code == 137
    granted = {signature for path in commands.state.rglob("*") if path.is_file() for signature in signatures_in(path)}
    assert granted
    emulator.faults.add("put:status=503,times=2", "put:status=403", "put:reset,after-bytes=2000", "grant:malformed")
    async with commands.started(*line) as running:
        seen = [entry async for entry in process_entries(running.process.pid)]
        ended = await running.ended()
    assert (ended.code, len(seen) > 0) == (1, True), ended  # an answer that is no JSON is final
    ended = await commands.run(*line)
    assert ended.code == 0, ended
    everything = [path.read_bytes() for path in commands.home.rglob("*") if path.is_file()] + seen
    for secret in [KEY.encode(), *granted]:
        assert not [content for content in everything if secret in content]


async def process_entries(pid: int) -> AsyncIterator[bytes]:
    """What everybody on the machine can read of a process, some moments long."""
    for _ in range(10):
        await anyio.sleep(0.05)
        with suppress(FileNotFoundError):
            yield await anyio.Path(f"/proc/{pid}/cmdline").read_bytes()


def signatures_in(path: Path) -> set[bytes]:
    return set(re.findall(rb"X-Goog-Signature=([0-9a-f]{32,})", path.read_bytes()))


def test_a_finished_checkpoint_is_readable_by_its_user_alone_and_holds_no_address(tmp_path: Path) -> None:
    """The same by the front door of the file: no row of any table keeps an address."""
    images = tmp_path / "images"
    images.mkdir()
    (images / "a.jpg").write_bytes(b"\xff\xd8")
    state = tmp_path / "state"
    line = ["--emulator", "--emulator-dir", str(tmp_path / "service"), "upload", "images", str(images), "-b", "spring"]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "RFBULK_STATE_DIR": str(state)}
    subprocess.run([*RFBULK, *line], env=environment, check=True, timeout=30, capture_output=True)
    (path,) = (state / "uploads").glob("*.sqlite")
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    connection = sqlite3.connect(path)
    try:
        assert "X-Goog" not in "".join(connection.iterdump())
    finally:
        connection.close()
