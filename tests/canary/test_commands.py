"""Every road and every kind of failure, with known secrets: not one byte of them comes out anywhere."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from rfbulk.emulator import Emulator, EmulatorOptions, Fault
from rfbulk.emulator.images import sample_image
from tests.canary.conftest import KEY, PLANTED, PROXY_PASSWORD, PUBLISHABLE, Listener, listener_for
from tests.canary.looking import Canaries
from tests.crash.commands import Ended, until, write_images
from tests.edge.test_notices_store import ingest_event
from tests.support.batches import results_batch
from tests.support.clips import write_clips

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
Words = list[str | Path]
QUICK = ("--quiet-period", "100ms")
SIGNED = f"https://store.example/o?X-Goog-Credential=me&X-Goog-Signature={PLANTED}"
XML = f"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>not at {SIGNED}</Message></Error>"
QUOTED = json.dumps({"error": f"api_key={KEY} may not use {SIGNED}"})


@pytest.fixture
async def emulator(options: EmulatorOptions, canaries: Canaries) -> AsyncIterator[Emulator]:
    async with Emulator(options) as emulator:
        yield emulator
        assert emulator.faults.unconsumed() == []


@pytest.fixture
def user(emulator: Emulator, canaries: Canaries, tmp_path: Path) -> Listener:
    return listener_for(emulator.url, tmp_path / "home", canaries)


def fault(operation: str, status: int, body: str, times: int | None = 1) -> Fault:
    return Fault(operation, "answer", status=status, body=body, times=times)  # type: ignore[arg-type]  # checked when made


# what goes well


async def test_uploads(user: Listener, emulator: Emulator) -> None:
    home = user.commands.home
    images = write_images(home / "images", 40)
    told: Words = ["--report", home / "report.jsonl", "--report-html", home / "report.html"]
    line: Words = ["upload", "images", images, "-b", "a", "--shard-images", "10", *QUICK]
    emulator.faults.add(fault("put", 403, XML), "put:swallow", "put:status=503")
    assert (await user.run(*line, *told, "--processes", "2")).code == 0
    assert user.processes.environments, "worker processes were seen"
    assert (await user.run(*line, "--json")).code == 0
    assert (await user.run("upload", "images", images, "-b", "b", "--one-by-one", *QUICK, "--json", *told)).code == 0
    user.is_clean()
    assert len(user.canaries.known) > 10, "signatures were made"


async def test_videos_and_what_is_asked_about_batches(user: Listener) -> None:
    home = user.commands.home
    images = write_images(home / "images", 20)
    assert (await user.run("upload", "images", images, "-b", "a", "--shard-images", "10", *QUICK)).code == 0
    clips = write_clips(home / "clips", 6)
    assert (await user.run("upload", "videos", clips, "-b", "c", *QUICK)).code == 0
    assert (await user.run("upload", "images", images, "-b", "d", "--dry-run")).code == 0
    for words in (["list"], ["show", "a"], ["files", "a"], ["shards", "a"], ["wait", "a", "--expect", "20"]):
        assert (await user.run("batch", *words)).code == 0
    for words in (["list"], ["list", "--json"], ["show", "a"]):
        assert (await user.run("checkpoint", *words, talks=False)).code == 0
    assert (await user.run("verify", "a", images)).code == 0
    user.is_clean()


async def test_ingests(user: Listener) -> None:
    """A list has signed URLs in it, and may be signed itself. No URL of it is ever written down."""
    home = user.commands.home
    rows = [{"name": f"{n}.jpg", "url": f"{SIGNED}&n={n}"} for n in range(9)]
    (home / "list.key").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for line in (
        ["references", home / "list.key", "-b", "a", "--kind", "images", "--report", home / "report.jsonl"],
        ["references", home / "list.key", "-b", "a", "--kind", "images", "--dry-run"],
        ["query", "tag:street", "-b", "c"],
    ):
        assert (await user.run("upload", *line, *(() if "--dry-run" in line else QUICK))).code == 0, line
    (home / "bad.key").write_text(
        f'{{"name": "a.jpg", "url": "{SIGNED.replace("https", "http")}"}}\n{{"url": "{SIGNED}\n'
    )
    bad = await user.run("upload", "references", home / "bad.key", "-b", "d", "--kind", "images")
    assert (bad.code, "line 2" in bad.err) == (2, True), bad
    user.is_clean()


async def test_a_list_that_is_signed_itself(user: Listener) -> None:
    """It stands in the command's arguments, where the user has put it; nowhere else."""
    line: Words = ["upload", "references", SIGNED, "-b", "b", "--kind", "videos", "--timeout", "1s", *QUICK]
    assert (await user.run(*line)).code in {0, 3, 6, 7}
    user.processes.command_lines.clear()
    user.is_clean()


async def test_exports_and_runs(user: Listener, emulator: Emulator) -> None:
    home = user.commands.home
    parts, _ = results_batch()
    await emulator.add_batch("results", parts=parts)
    emulator.faults.add(fault("download", 403, XML), "download:expired", "download:swallow")
    told: Words = [
        "--report",
        home / "report.jsonl",
        "--report-html",
        home / "report.html",
        "--merge",
        home / "all.jsonl",
    ]
    assert (await user.run("export", "results", home / "out", *told, "--processes", "2")).code == 0
    assert (await user.run("export", "results", home / "out", "--json")).code == 0
    (home / "pictures").mkdir()
    for number in range(8):
        (home / "pictures" / f"{number}.png").write_bytes(sample_image(number))
    ran = await user.run("run", home / "pictures", "-w", "detect", "-o", home / "ran", *QUICK, "--json")
    assert ran.code == 0, ran
    job = json.loads(ran.out.splitlines()[-1])["job_id"]
    stages = (await user.run("job", "stages", job, "--json")).lines
    for words in (["list"], ["show", job], ["tasks", job, stages[0]["stage_id"]], ["logs", job], ["wait", job]):
        assert (await user.run("job", *words)).code == 0, words
    assert (await user.run("export", "--job", job, home / "again")).code == 0
    user.is_clean()


async def test_receiving_notifications(user: Listener, emulator: Emulator, canaries: Canaries) -> None:
    """Whoever knocks with a wrong key says one, too: that is nobody's to write down either."""
    home = user.commands.home
    wrong = canaries.add("wrong key", "canary-wrong-key-0123456789")
    (home / "publishable.key").write_text(PUBLISHABLE)
    line: Words = ["webhook", "serve", "--port", "0", "--key-file", home / "publishable.key", "--exec", "env", "-vv"]
    async with user.commands.started(*line) as running:
        said = await until(running.out.read_text)
        url = said.split(" at ")[1].split(";")[0]
        async with aiohttp.ClientSession() as session:
            for key, body in ((PUBLISHABLE, ingest_event("e-1")), (wrong, b"{}"), (PUBLISHABLE, b"no JSON")):
                await session.post(url, data=body, headers={"Authorization": f"Bearer {key}"})
        await until(lambda: "e-1" in running.out.read_text())
        running.process.terminate()
        await running.ended()
    user.is_clean()


# what fails


GRANTS = {
    "plain http": SIGNED.replace("https", "http"),
    "userinfo": f"https://me:{PLANTED}@store.example/o",
    "no scheme": f"store.example/o?X-Goog-Signature={PLANTED}",
    "control": f"https://store.example/o\n?X-Goog-Signature={PLANTED}",
    "no host": f"https:///o?X-Goog-Signature={PLANTED}",
    "nobody": f"https://127.0.0.1:9/o?X-Goog-Signature={PLANTED}",
}


@pytest.mark.parametrize("grant", GRANTS)
async def test_grants_that_are_none(user: Listener, emulator: Emulator, grant: str) -> None:
    body = json.dumps(
        {"signedURLDetails": {"uploadURL": GRANTS[grant], "extensionHeaders": {}, "maxFileSizeBytes": 10**9}}
    )
    emulator.faults.add(fault("grant", 200, body, times=None))
    await fails(user, "--retry-for", "1s")
    user.is_clean(unfinished=True)


@pytest.mark.parametrize(
    ("operation", "status", "body"),
    [
        ("workspace", 401, QUOTED),
        ("workspace", 500, QUOTED),
        ("grant", 403, QUOTED),
        ("grant", 402, f"<html>{QUOTED}</html>"),
        ("grant", 200, QUOTED[:-9]),
        ("grant", 400, XML),
        ("put", 403, XML),
        ("put", 400, XML),
        ("put", 503, XML),
        ("count", 403, QUOTED),
    ],
)
async def test_answers_that_quote_secrets(
    user: Listener, emulator: Emulator, operation: str, status: int, body: str
) -> None:
    emulator.faults.add(fault(operation, status, body, times=None))
    await fails(user, "--retry-for", "1s")
    user.is_clean(unfinished=True)


async def test_redirects_that_carry_secrets(user: Listener, emulator: Emulator) -> None:
    where = (("Location", SIGNED),)
    for operation in ("workspace", "grant", "put"):
        emulator.faults.add(Fault(operation, "answer", status=307, headers=where, times=None))
        await fails(user, "--retry-for", "1s")
        emulator.faults.clear()
    user.is_clean(unfinished=True)


async def fails(user: Listener, *more: str) -> Ended:
    images = user.commands.home / "images"
    if not images.exists():
        write_images(images, 4)
    told: Words = ["--report", user.commands.home / "report.jsonl"]
    ended = await user.run("upload", "images", images, "-b", "a", *QUICK, "--timeout", "1s", *told, *more)
    assert ended.code not in {0, 2}, ended
    assert "Traceback" not in ended.err
    return ended


async def test_downloads_that_fail(user: Listener, emulator: Emulator) -> None:
    parts, _ = results_batch()
    await emulator.add_batch("results", parts=parts)
    emulator.faults.add(fault("download", 400, XML, times=None))
    told: Words = ["--report", user.commands.home / "report.jsonl"]
    ended = await user.run("export", "results", user.commands.home / "out", "--retry-for", "1s", "-vv", *told)
    assert ended.code not in {0, 2}, ended
    user.is_clean()


@pytest.mark.parametrize("proxy", ["nobody", "itself"])
async def test_a_proxy_with_a_password(user: Listener, emulator: Emulator, proxy: str) -> None:
    """One that is not there, and one that refuses (the service is no proxy)."""
    port = "9" if proxy == "nobody" else emulator.url.rpartition(":")[2]
    url = f"http://me:{PROXY_PASSWORD}@127.0.0.1:{port}"
    images = write_images(user.commands.home / "images", 2)
    line: Words = ["upload", "images", images, "-b", "a", "--api-url", "https://api.example", "--retry-for", "1s"]
    ended = await user.run(*line, environment={"HTTPS_PROXY": url, "https_proxy": url})
    assert ended.code in {1, 4, 5}, ended
    user.is_clean()


@pytest.mark.parametrize("source", ["s3://bucket/photos/", "gs://bucket/photos/", "az://container/photos/"])
@pytest.mark.parametrize("way", [(), ("--by-reference",)])
async def test_clouds_that_are_not_there(user: Listener, source: str, way: tuple[str, ...]) -> None:
    pytest.importorskip("obstore")
    clouds = {"AWS_ACCESS_KEY_ID": "me", "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": "http://127.0.0.1:9"}
    clouds |= {"GOOGLE_BASE_URL": "http://127.0.0.1:9", "AZURE_STORAGE_ENDPOINT": "http://127.0.0.1:9/me"}
    clouds |= {"AZURE_STORAGE_ACCOUNT_NAME": "me"}
    ended = await user.run("upload", "images", source, "-b", "a", "--retry-for", "1s", *way, environment=clouds)
    assert ended.code in {1, 2, 4, 5}, ended
    user.is_clean()


FORCED = """
import sys
from importlib import import_module
module, _, name = sys.argv.pop(1).rpartition(":")
owner = import_module(module)
for part in name.split(".")[:-1]:
    owner = getattr(owner, part)

def broken(*values, **named):
    inner = [vars(value) for value in values if hasattr(value, "__dict__")]
    raise RuntimeError(f"an error of ours, with all it had: {values!r} {named!r} {inner!r}")

setattr(owner, name.split(".")[-1], broken)
from rfbulk.cli.main import main
main()
"""


@pytest.mark.parametrize(
    "where",
    [
        "rfbulk.edge.uplink:Uplink.put",
        "rfbulk.edge.connections:Connections.line_to",
        "rfbulk.senders.attempts:Attempts.make",
        "rfbulk.pipeline.sending:what_next",
        "rfbulk.edge.checkpoint_schema:shard_values",
        "rfbulk.edge.api:ServiceApi.request_shard_grant",
        "rfbulk.edge.calling:Caller._answer",
    ],
)
async def test_errors_of_our_own(user: Listener, where: str) -> None:
    """A defect shows a traceback, and whatever it has of our records shows no secret.

    Deeper than these only the request itself is made, for which the key and the URL must be what they are.
    """
    import sys  # noqa: PLC0415 - of this test alone

    images = write_images(user.commands.home / "images", 4)
    program = (sys.executable, "-c", FORCED, where)
    ended = await user.run("upload", "images", images, "-b", "a", *QUICK, "--processes", "1", program=program)
    assert ended.code not in {0, 2}, ended
    assert "an error of ours" in ended.err, ended
    user.is_clean(unfinished=True)
