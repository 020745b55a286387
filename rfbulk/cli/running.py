"""Runs a command's coroutine: event loop, signals, api key, errors to exit codes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import anyio
import click
import orjson
import platformdirs

from rfbulk import errors
from rfbulk.cli.options import DUMB, ExitCode, Globals
from rfbulk.cli.said import said_text
from rfbulk.client import Client
from rfbulk.core.failpoints import Failpoint
from rfbulk.settings import Settings

if TYPE_CHECKING:
    from types import FrameType

    from rfbulk.events import Event, OnEvent

EXIT_CODES: list[tuple[type[errors.RfbulkError], ExitCode]] = [
    (errors.UsageError, ExitCode.USAGE),
    (errors.SourceError, ExitCode.USAGE),
    (errors.NotAuthorised, ExitCode.NOT_AUTHORISED),
    (errors.TroublePassing, ExitCode.AGAIN),
    (errors.CheckpointBusy, ExitCode.AGAIN),
    (errors.WaitTimeout, ExitCode.TIMED_OUT),
]


@dataclass(slots=True)
class Session:
    """What a command's coroutine gets: the shared options, and the stop that a first Ctrl-C sets."""

    options: Globals
    stop: anyio.Event = field(default_factory=anyio.Event)
    has_gentle_stop: bool = False
    """Whether the command heeds `stop`. Until it does, a signal cancels it."""

    interrupted_by: int | None = None
    watchers: list[OnEvent] = field(default_factory=list)
    """Who hears of every event besides the printers."""

    readers_of_reports: list[Callable[[object], None]] = field(default_factory=list)
    """Who is given what each transfer returns."""

    def watched(self, show: OnEvent) -> OnEvent:
        """Return what tells a printer of each event, and all watchers."""
        if not self.watchers:
            return show
        watchers = tuple(self.watchers)

        def tell(event: Event) -> None:
            show(event)
            for watch in watchers:
                watch(event)

        return tell

    def keep_report(self, report: object) -> None:
        """Give a report to all that read reports."""
        for read in self.readers_of_reports:
            read(report)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        """Open a client for the service that the options name, or for an emulator started for this command."""
        settings = settings_of(self.options)
        if not self.options.emulator:
            async with self._client(api_key(self.options), settings) as client:
                yield client
            return
        from rfbulk.cli.emulator import embedded  # noqa: PLC0415 - only where it is asked for

        async with embedded(self.options) as emulator:
            settings = replace(settings, api_url=emulator.url, workspace=emulator.workspace)
            async with self._client(emulator.api_key, settings) as client:
                yield client

    def _client(self, key: str, settings: Settings) -> Client:
        said = said_text(click.get_current_context(silent=True))
        reach = failpoint_from_environment()
        return Client(key, settings=settings, reach=reach, spares=self.options.spares, said=said)


Command = Callable[[Session], Awaitable[int | None]]


def run(options: Globals, command: Command) -> int:
    """Run the coroutine to its end and return the exit code. Errors are printed, never traced."""
    _configure_logging(options)
    gc.freeze()  # what was imported stays: collections need not look at it
    session = Session(options)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_run_with_signals(session, command))
    except errors.RfbulkError as error:
        click.echo(f"error: {error}", err=True)
        return exit_code_of(error)
    except (KeyboardInterrupt, asyncio.CancelledError):
        click.echo("interrupted", err=True)
        return interrupted_code(session)


def exit_code_of(error: errors.RfbulkError) -> ExitCode:
    """Return the exit code that tells of an error."""
    return next((code for kind, code in EXIT_CODES if isinstance(error, kind)), ExitCode.FAILED)


async def _run_with_signals(session: Session, command: Command) -> int:
    task = asyncio.current_task()
    if task is None:
        raise AssertionError("runs in a task")
    _install_signals(session, task)
    code = await command(session)
    return interrupted_code(session) if session.interrupted_by is not None else code or 0


def _install_signals(session: Session, task: asyncio.Task[int]) -> None:
    """First signal: stop gently. Second: at once; all that counts is durable at any moment."""
    loop = asyncio.get_running_loop()

    def take(number: int) -> None:
        if session.interrupted_by is not None:
            _end_at_once(128 + number)
        session.interrupted_by = number
        if session.has_gentle_stop:
            session.stop.set()
        else:
            task.cancel()

    def take_signal(number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(take, number)

    for number in (signal.SIGINT, signal.SIGTERM):
        try:
            loop.add_signal_handler(number, take, number)
        except NotImplementedError:  # Windows
            signal.signal(number, take_signal)


def _end_at_once(code: int) -> NoReturn:
    """The view has hidden the cursor, and nothing will draw it away any more."""
    if os.isatty(2) and os.environ.get("TERM") not in DUMB:
        with contextlib.suppress(OSError):
            os.write(2, b"\x1b[?25h\r\n")
    os._exit(code)


def interrupted_code(session: Session) -> ExitCode:
    """Return the exit code that tells of the signal that came."""
    return ExitCode.TERMINATED if session.interrupted_by == signal.SIGTERM else ExitCode.INTERRUPTED


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop  # noqa: PLC0415 - there is none on Windows
    except ImportError:
        return None
    return uvloop.new_event_loop


def settings_of(options: Globals) -> Settings:
    """Return the settings that options and environment make together."""
    settings = Settings.from_environment()
    budget = settings.retry.budget_seconds if options.retry_for is None else options.retry_for
    return replace(
        settings,
        retry=replace(settings.retry, budget_seconds=budget),
        api_url=options.api_url or settings.api_url,
        workspace=options.workspace,
        state_dir=options.state_dir or settings.state_dir,
        ca_file=options.ca_file,
        allow_http=options.allow_http,
    )


def api_key(options: Globals) -> str:
    """Find the api key: a file named for it, the environment, then Roboflow's own configuration file.

    Raises:
        UsageError: the file cannot be read, or there is no key anywhere.
    """
    if options.api_key:
        click.echo("warning: a key on the command line can be read by others; use --api-key-file", err=True)
        return options.api_key
    if options.api_key_file is not None:
        return _key_from_file(options.api_key_file)
    key = os.environ.get("ROBOFLOW_API_KEY") or _key_from_roboflow(options.workspace)
    if not key:
        raise errors.UsageError("start", cause="there is no api key", advice="set ROBOFLOW_API_KEY, or --api-key-file")
    return key


def _key_from_file(path: Path) -> str:
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise errors.UsageError(
            "read",
            f"the api key file {path}",
            cause=str(cause),
            advice="name a file that can be read with --api-key-file",
        ) from None
    if not key or len(key.split()) != 1:
        raise errors.UsageError(
            "read",
            f"the api key file {path}",
            cause="it does not hold one key on one line",
            advice="put the api key in it, and nothing else",
        )
    return key


def _key_from_roboflow(workspace: str | None) -> str:
    """Read the file that Roboflow's Python package writes at login."""
    folder = os.environ.get("ROBOFLOW_CONFIG_DIR")
    path = Path(folder) if folder else Path.home() / ".config" / "roboflow" / "config.json"
    try:
        values = orjson.loads((path / "config.json" if path.is_dir() else path).read_bytes())
        chosen = workspace or values.get("RF_WORKSPACE")
        return str(values["workspaces"][chosen]["apiKey"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ""


def emulator_dir(options: Globals) -> Path:
    """Return the folder in which the embedded emulator's batches last."""
    return options.emulator_dir or Path(platformdirs.user_state_dir("rfbulk", appauthor=False)) / "emulator"


def failpoint_from_environment() -> Callable[[Failpoint], None]:
    """Return what `RFBULK_FAILPOINT=NAME[:N]` asks for: to be killed where it is reached, the N-th time.

    Raises:
        UsageError: there is no such failpoint.
    """
    wanted = os.environ.get("RFBULK_FAILPOINT")
    if not wanted:
        return lambda _failpoint: None
    name, _, number = wanted.partition(":")
    if name not in set(Failpoint) or not (number or "1").isdigit():
        raise errors.UsageError(
            "set",
            "RFBULK_FAILPOINT",
            cause=f"it is none of {', '.join(Failpoint)}",
            advice="unset it: it is made for tests",
        )
    left = int(number or "1")

    def reach(failpoint: Failpoint) -> None:
        nonlocal left
        if failpoint == name:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), getattr(signal, "SIGKILL", signal.SIGTERM))

    return reach


def _configure_logging(options: Globals) -> None:
    if options.verbose > 1:
        logging.basicConfig(level=logging.DEBUG, stream=sys.stderr, format="%(name)s: %(message)s")
        logging.getLogger("asyncio").setLevel(logging.WARNING)
