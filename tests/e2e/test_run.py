"""The whole run by the command line, with and without notifications, and every way in which it ends early."""

from __future__ import annotations

import json
import signal
import socket
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rfbulk.emulator import Emulator, EmulatorOptions, JobOptions, JobScript, WebhookOptions
from rfbulk.emulator.images import sample_image
from tests.crash.commands import KEY, Commands, Ended, hash_of, until

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
IMAGES = 12
PUBLISHABLE = "rf_acme-7f3a"


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """One loop is enough: the commands bring their own."""
    return "asyncio", {"use_uvloop": False}


@pytest.fixture
def options() -> EmulatorOptions:
    webhooks = WebhookOptions(
        workspace_id="acme-7f3a", duplicates=1, conflicting=True, reorder=True, first_seconds=0.05
    )
    return EmulatorOptions(api_key=KEY, jobs=JobOptions(task_files=3), webhooks=webhooks)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    folder = tmp_path / "Summer Photos"
    folder.mkdir()
    for number in range(IMAGES):
        (folder / f"{number:03}.png").write_bytes(sample_image(number))
    return folder


@pytest.fixture
def commands(emulator: Emulator, tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(emulator.url, tmp_path / "home")
    commands.home.mkdir()
    yield commands
    commands.look_for_secrets()


@pytest.fixture(autouse=True)
async def _all_scripts_are_played(emulator: Emulator) -> AsyncIterator[None]:
    yield
    assert emulator.unplayed_scripts() == []


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "publishable.key"
    path.write_text(f"{PUBLISHABLE}\nrf_next\n")
    return path


def line_of(images: Path, out: Path, *more: str | Path) -> list[str | Path]:
    return ["run", images, "--workflow-id", "detect", "--output", out, "--quiet-period", "100ms", *more]


def rows_of(folder: Path) -> Counter[str]:
    lines = [line for path in folder.rglob("results-*.jsonl") for line in path.read_text().splitlines()]
    return Counter(json.loads(line)["sha256"] for line in lines)


def hashes(folder: Path) -> Counter[str]:
    return Counter(hash_of(path.read_bytes()) for path in folder.rglob("*.png"))


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def is_right(ended: Ended, code: int = 0) -> Ended:
    assert ended.code == code, ended
    return ended


async def test_images_go_in_and_results_come_out(commands: Commands, images: Path, out: Path) -> None:
    ended = is_right(await commands.run(*line_of(images, out)))
    assert hashes(images) == rows_of(out)
    assert "run done" in ended.out
    report = is_right(await commands.run(*line_of(images, out, "--json"))).json
    assert (report["is_done"], report["step"], report["upload"]) == (True, "done", None)
    assert report["batch_id"].startswith("summer-photos-")


async def test_any_stage_is_exported_by_its_name(commands: Commands, images: Path, out: Path) -> None:
    report = is_right(await commands.run(*line_of(images, out, "--stage", "processing", "--json"))).json
    assert "-results-" in report["exports"][0]["batch_id"]
    assert hashes(images) == rows_of(out)


async def test_an_export_finds_the_results_of_a_job_by_itself(commands: Commands, images: Path, out: Path) -> None:
    job = is_right(await commands.run(*line_of(images, out, "--json"))).json["job_id"]
    again, other = out.with_name("again"), out.with_name("other")
    is_right(await commands.run("export", "--job", job, again))
    assert hashes(images) == rows_of(again)
    is_right(await commands.run("export", "--job", job, "--stage", "processing", "--target-dir", other))
    assert hashes(images) == rows_of(other)
    for wrong, why in (
        (["export", "--job", job], "no folder"),
        (["export", "--job", job, "B", "DIR"], "not both"),
        (["export", "B", "DIR", "--stage", "export"], "--job"),
        (["export", "--job", job, "--stage", "nosuch", str(other)], "has made no batch"),
        (["export", "--job", "nobody", str(other)], "does not know it"),
    ):
        ended = await commands.run(*wrong)
        assert (ended.code, why in ended.err) == (2, True), ended


async def test_no_job_starts_on_an_incomplete_batch_unless_that_is_allowed(
    commands: Commands, emulator: Emulator, images: Path, out: Path
) -> None:
    (images / "empty.png").touch()
    ended = is_right(await commands.run(*line_of(images, out, "--json")), 3)
    assert (ended.json["step"], emulator.requests["start"]) == ("upload", 0)
    assert "incomplete" in ended.json["stopped"]
    is_right(await commands.run(*line_of(images, out, "--allow-incomplete")), 3)
    assert emulator.requests["start"] == 1
    assert rows_of(out).total() == IMAGES


async def test_a_failed_job_ends_the_run_and_a_restarted_one_lets_it_go_on(
    commands: Commands, emulator: Emulator, images: Path, out: Path
) -> None:
    emulator.script_jobs(JobScript(end="fail"), JobScript())
    report = is_right(await commands.run(*line_of(images, out, "--json")), 6).json
    assert (report["step"], report["stopped"], report["job"]["state"]) == ("wait", "the job failed", "failed")
    is_right(await commands.run("job", "restart", report["job_id"]))
    is_right(await commands.run(*line_of(images, out)))
    assert hashes(images) == rows_of(out)


async def test_another_job_under_its_id_is_told_before_anything_is_sent(
    commands: Commands, emulator: Emulator, images: Path, out: Path
) -> None:
    is_right(await commands.run(*line_of(images, out, "--job-id", "mine", "--batch-id", "b")))
    puts = emulator.requests["put"]
    ended = await commands.run(*line_of(images, out, "--job-id", "mine", "--batch-id", "other"))
    assert (ended.code, "does something else" in ended.err, emulator.requests["put"]) == (2, True, puts)


async def test_a_run_that_waits_is_interrupted_at_once_and_goes_on_later(
    commands: Commands, emulator: Emulator, images: Path, out: Path
) -> None:
    emulator.script_jobs(JobScript(seconds=2.0))
    async with commands.started(*line_of(images, out)) as running:
        await until(lambda: emulator.requests["stages"])
        running.signal(signal.SIGINT)
        ended = await running.ended(5.0)
    assert ended.code == 130
    is_right(await commands.run(*line_of(images, out)))
    assert (emulator.requests["start"], hashes(images) == rows_of(out)) == (1, True)


async def test_notifications_wake_the_run_and_the_service_is_asked(
    commands: Commands, emulator: Emulator, images: Path, out: Path, key_file: Path
) -> None:
    """They come doubled, in the wrong order and contradicting each other; the run is right all the same."""
    port = free_port()
    hook: list[str | Path] = [
        "--webhook",
        f"127.0.0.1:{port}",
        "--public-url",
        f"http://127.0.0.1:{port}",
        "--key-file",
        key_file,
    ]
    emulator.script_jobs(JobScript(seconds=1.0))
    is_right(await commands.run(*line_of(images, out, *hook)))
    assert hashes(images) == rows_of(out)
    taken = [delivery for delivery in emulator.deliveries if delivery.was_taken]
    assert {delivery.body["type"] for delivery in taken} >= {"roboflow-batch-job-notification-v1"}
    assert PUBLISHABLE not in "".join(path.read_text(errors="replace") for path in commands.said)
    is_right(await commands.run(*line_of(images, out)))
    assert emulator.requests["start"] == 1  # the same job, notified or not


@pytest.mark.parametrize(
    ("more", "why"),
    [
        (["--webhook", "8787"], "HOST:PORT"),
        (["--webhook", "127.0.0.1:1"], "--public-url"),
        (["--param", "nothing"], "name=value"),
        (["--job-id", "NO"], "job id"),
        (["--batch-id", "NO"], "batch id"),
        (["--merge", "all.txt"], "jsonl or"),
    ],
)
async def test_what_cannot_be_is_refused_before_anything_is_sent(
    commands: Commands, emulator: Emulator, images: Path, out: Path, more: list[str], why: str
) -> None:
    ended = await commands.run(*line_of(images, out, *more))
    assert (ended.code, why in ended.err, emulator.requests.total()) == (2, True, 0), ended
