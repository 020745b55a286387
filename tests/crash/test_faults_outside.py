"""Rows of what can go wrong around the process: two of them, full targets, names and certificates that do not fit."""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trustme

from rfbulk.emulator import Emulator, EmulatorOptions
from tests.crash.commands import KEY, RFBULK, Commands, hashes_of, read, together, until, write_images
from tests.crash.test_kill import why_no_mount
from tests.support.batches import results_batch, tree_of

pytestmark = [pytest.mark.anyio, pytest.mark.crash, pytest.mark.slow]
BUSY = 5
SLOW_SECONDS = 30.0


async def test_a_second_export_run_or_receiver_leaves_at_once_and_names_the_first(
    commands: Commands, emulator: Emulator, images: Path, tmp_path: Path
) -> None:
    parts, _ = results_batch()
    await emulator.add_batch("results", parts=parts)
    emulator.faults.add("download:slow,seconds=4", "put:slow,seconds=4")
    key = tmp_path / "publishable.key"
    key.write_text("rf_some")
    lines: list[tuple[list[str | Path], Callable[[], object]]] = [
        (["export", "results", tmp_path / "out", "--concurrency", "1"], lambda: emulator.requests["download"]),
        (
            ["run", images, "-w", "detect", "-o", tmp_path / "ran", "--shard-images", "50"],
            lambda: emulator.requests["put"],
        ),
        (["webhook", "serve", "--port", "0", "--key-file", key], lambda: list(commands.state.glob("webhook/*.lock"))),
    ]
    for line, has_begun in lines:
        async with commands.started(*line) as first:
            await until(has_begun, SLOW_SECONDS)
            second = await commands.run(*line)
            assert (second.code, second.err.count("\n")) == (BUSY, 1), second
            assert f"process {first.process.pid} " in second.err


FULL_TARGET = """
mount -t tmpfs -o size="$ROOM" tmpfs "$TARGET" || exit 99
"$@" 2>"$HOME/first.err" >"$HOME/first.out"
echo $? >"$HOME/first.code"
mount -o remount,size=1g "$TARGET" || exit 98
"$@" || exit $?
cp -r "$TARGET"/. "$HOME/copied"
"""


async def test_a_target_that_is_full_ends_the_export_clearly_and_room_lets_it_go_on(tmp_path: Path) -> None:
    if why := why_no_mount():
        pytest.skip(f"a file system of this size cannot be mounted: {why}")
    parts, tree = results_batch()

    async def fill(room: str) -> None:
        home = tmp_path / room
        target, copied = home / "target", home / "copied"
        for folder in (home, target, copied):
            folder.mkdir()
        async with Emulator(EmulatorOptions(api_key=KEY)) as emulator:
            await emulator.add_batch("results", parts=parts)
            commands = Commands(emulator.url, home)
            program = ("unshare", "--mount", "sh", "-c", FULL_TARGET, "sh", *RFBULK)
            line: list[str | Path] = ["export", "results", target, "--json"]
            ended = await commands.run(*line, program=program, ROOM=room, TARGET=str(target))
        assert (ended.code, int(read(home / "first.code"))) == (0, 1), (ended, read(home / "first.err"))
        assert re.search("disk (is full|has no room)", read(home / "first.err")), read(home / "first.err")
        assert "Traceback" not in read(home / "first.err")
        assert tree == {path: data for path, data in tree_of(copied).items() if "manifest" not in path}

    await together(fill, ["16k", "96k"])


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def served_with(certificate: trustme.LeafCert) -> EmulatorOptions:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return EmulatorOptions(api_key=KEY, tls=context)


async def test_certificates_that_do_not_fit_end_it_and_nothing_was_said(tmp_path: Path, authority: trustme.CA) -> None:
    """One of nobody that is trusted, and one that names another host; the right one is trusted once it is named."""
    trusted = tmp_path / "trusted.pem"
    authority.cert_pem.write_to_path(str(trusted))
    cases = {
        "unknown": (trustme.CA().issue_cert("127.0.0.1"), 1),
        "other host": (authority.issue_cert("elsewhere.example"), 1),
        "right": (authority.issue_cert("127.0.0.1"), 0),
    }
    for case, (certificate, code) in cases.items():
        home = tmp_path / case
        images = write_images(home / "images", 3)
        async with Emulator(served_with(certificate)) as emulator:
            commands = Commands(emulator.url, home)
            line: list[str | Path] = [
                "upload",
                "images",
                images,
                "-b",
                "tls",
                "--quiet-period",
                "100ms",
                "--retry-for",
                "1s",
            ]
            ended = await commands.run(*line, "--ca-file", trusted)
            assert ended.code == code, (case, ended)
            assert code == 0 or "not to be trusted" in ended.err, (case, ended)
            assert (emulator.requests.total() > 0) == (code == 0), case
            assert code or hashes_of(images) == emulator.ledger("tls").hashes


async def test_nobody_there_and_no_such_name_are_borne_with_for_as_long_as_was_said(tmp_path: Path) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    images = write_images(tmp_path / "images", 3)

    async def fail(url: str) -> None:
        home = tmp_path / url.rpartition("/")[2].replace(":", "-")
        home.mkdir()
        commands = Commands(url, home)
        ended = await commands.run("upload", "images", images, "-b", "gone", "--retry-for", "1500ms")
        assert ended.code == BUSY, ended
        assert re.search("cannot be resolved|refused", ended.err), ended
        assert ended.err.splitlines()[-1].endswith(")"), "what to do is said"
        assert "Traceback" not in ended.err
        assert ended.seconds < SLOW_SECONDS

    await together(fail, [f"http://127.0.0.1:{port}", "https://no-such-name.invalid"])
