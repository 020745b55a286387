"""Runs a command with a text on its standard input, for as long as it may take, and never through a shell unasked."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING, Final

import anyio

from rfbulk.core.redaction import excerpt
from rfbulk.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from anyio.abc import ByteReceiveStream, Process

MAX_SAID_BYTES: Final = 64 << 10
"""What is kept of a command's errors; the rest is read and dropped, so that it never blocks."""

_SECRETS: Final = ("ROBOFLOW_API_KEY", "RFBULK_API_KEY")


class CommandFailed(Exception):
    """A command ended otherwise than with 0, or not in time. Its text is safe to show."""


def command_words(text: str, *, shell: bool) -> tuple[str, ...]:
    """Return the words of a command as a shell would split them; with `shell`, a shell that is given all of it.

    Raises:
        UsageError: it has no words, or a quote is left open.
    """
    try:
        words = tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError("run", repr(text), cause=str(error), advice="mend its quotes, or use --shell") from None
    if not words:
        raise UsageError("run", "the command", cause="it is empty", advice="name a command, or leave --exec out")
    return ("/bin/sh", "-c", text) if shell else words


async def run_command(
    words: Sequence[str], given: bytes, *, seconds: float, environment: Mapping[str, str] | None = None
) -> None:
    """Run a command to its end. If it takes longer than `seconds`, or is cancelled, it dies with all its children.

    The api key is not handed on in its environment.

    Raises:
        CommandFailed: it did not end with 0 in time, or could not be started.
    """
    values = {name: value for name, value in os.environ.items() if name not in _SECRETS} | dict(environment or {})
    try:
        process = await anyio.open_process(
            list(words), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=values, start_new_session=True
        )
    except OSError as error:
        raise CommandFailed(f"{excerpt(words[0])} cannot be run: {error.strerror}") from None
    said: list[bytes] = []
    try:
        with anyio.move_on_after(seconds) as limit:
            await _talk(process, given, said)
    finally:
        _kill(process)
        with anyio.CancelScope(shield=True):
            await process.aclose()
    if limit.cancelled_caught:
        raise CommandFailed(f"{excerpt(words[0])} took longer than {seconds:g} s")
    if process.returncode:
        raise CommandFailed(f"{excerpt(words[0])} ended with {process.returncode}: {excerpt(b''.join(said))}")


async def _talk(process: Process, given: bytes, said: list[bytes]) -> None:
    async with anyio.create_task_group() as tasks:
        if process.stderr is not None:
            tasks.start_soon(_drain, process.stderr, said)
        with suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            if process.stdin is not None:
                await process.stdin.send(given)
                await process.stdin.aclose()
        await process.wait()


async def _drain(stream: ByteReceiveStream, said: list[bytes]) -> None:
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            chunk = await stream.receive()
            if sum(map(len, said)) < MAX_SAID_BYTES:
                said.append(chunk)


def _kill(process: Process) -> None:
    """End one that still runs, with its children: they share its session."""
    if process.returncode is not None:
        return
    with suppress(ProcessLookupError, PermissionError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
