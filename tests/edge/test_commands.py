"""Commands that follow from a notification: real processes."""

from __future__ import annotations

import time
from pathlib import Path

import anyio
import pytest

from rfbulk.edge.commands import CommandFailed, command_words, run_command
from rfbulk.errors import UsageError

pytestmark = pytest.mark.anyio


async def test_a_command_gets_the_text_on_its_standard_input(tmp_path: Path) -> None:
    out = tmp_path / "out"
    await run_command(command_words(f"tee '{out}'", shell=False), b'{"a": 1}', seconds=10.0)
    assert out.read_bytes() == b'{"a": 1}'


async def test_nothing_is_given_to_a_shell_unasked(tmp_path: Path) -> None:
    """What stands behind a semicolon is one more word for the command."""
    words = command_words("echo a; touch b", shell=False)
    assert words == ("echo", "a;", "touch", "b")
    asked_for = command_words("echo a; touch b", shell=True)  # noqa: S604 - the option under test
    assert asked_for == ("/bin/sh", "-c", "echo a; touch b")


@pytest.mark.parametrize("text", ["", "  ", "echo 'open"])
def test_what_is_no_command_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        command_words(text, shell=False)


async def test_a_command_that_fails_tells_what_it_said_without_controlling_the_terminal() -> None:
    words = command_words("printf 'no \\033[2J way' >&2; exit 3", shell=True)  # noqa: S604 - the option under test
    with pytest.raises(CommandFailed, match=r"ended with 3: no .*way") as raised:
        await run_command(words, b"", seconds=10.0)
    assert "\x1b" not in str(raised.value)


async def test_a_command_that_is_not_there_is_a_failure() -> None:
    with pytest.raises(CommandFailed, match="cannot be run"):
        await run_command(("no-such-command-anywhere",), b"", seconds=10.0)


async def test_a_command_that_takes_too_long_dies_with_its_children(tmp_path: Path) -> None:
    alive = tmp_path / "alive"
    words = command_words(f"(sleep 1; touch '{alive}') & sleep 60", shell=True)  # noqa: S604 - the option under test
    began = time.monotonic()
    with pytest.raises(CommandFailed, match=r"longer than 0\.2 s"):
        await run_command(words, b"", seconds=0.2)
    assert time.monotonic() - began < 5.0


async def test_a_command_that_is_called_off_dies() -> None:
    with anyio.move_on_after(0.1) as scope:
        await run_command(("sleep", "60"), b"", seconds=60.0)
    assert scope.cancelled_caught


async def test_a_command_that_does_not_read_or_says_much_does_not_block() -> None:
    words = command_words("head -c 300000 /dev/zero >&2", shell=True)  # noqa: S604 - the option under test
    await run_command(words, b"x" * 500_000, seconds=10.0)


async def test_the_api_key_is_not_handed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROBOFLOW_API_KEY", "c4n4ry")
    out = tmp_path / "out"
    words = command_words(f"env > '{out}'", shell=True)  # noqa: S604 - the option under test
    await run_command(words, b"", seconds=10.0, environment={"MORE": "x"})
    assert "c4n4ry" not in out.read_text()
    assert "MORE=x\n" in out.read_text()
