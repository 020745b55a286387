"""`--dashboard` and `--report-html`: what a transfer shows of itself. Loads nothing unless they are asked for."""

from __future__ import annotations

import asyncio
import re
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import click

from rfbulk import __version__
from rfbulk.cli.command_line import settings_shown, shown_line
from rfbulk.cli.options import ExitCode
from rfbulk.cli.printing import plain
from rfbulk.cli.running import exit_code_of, interrupted_code, settings_of
from rfbulk.client.context import uploads_dir
from rfbulk.errors import RfbulkError, UsageError
from rfbulk.events import TransferBegun

if TYPE_CHECKING:
    from rfbulk.cli.running import Command, Session
    from rfbulk.dashboard.address import Address
    from rfbulk.dashboard.cells import Place
    from rfbulk.dashboard.chronicle import Chronicle
    from rfbulk.dashboard.picture import About
    from rfbulk.events import Event
    from rfbulk.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

_ADDRESS: Final = re.compile(r"(\[[0-9a-fA-F:.%]+\]|[A-Za-z0-9.-]*):[0-9]{1,5}|[0-9]{1,5}")

WORDS: Final = {
    ExitCode.DONE: "done and confirmed",
    ExitCode.FAILED: "failed",
    ExitCode.USAGE: "could not begin",
    ExitCode.SOME_FAILED: "finished, but some files failed",
    ExitCode.NOT_AUTHORISED: "not authorised",
    ExitCode.AGAIN: "stopped by a passing trouble; the same command resumes",
    ExitCode.SERVICE_FAILED: "the service reports a failure",
    ExitCode.TIMED_OUT: "waiting timed out; all is stored",
    ExitCode.INTERRUPTED: "interrupted; the checkpoint is kept",
    ExitCode.TERMINATED: "terminated; the checkpoint is kept",
}
"""What each exit code says to who looks at the page or the report."""


class WatchedCommand(click.Command):
    """A command whose `--dashboard` may stand without an address, before an argument too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Give `--dashboard` an empty address where none follows it."""
        rest = super().parse_args(ctx, with_addresses(args))
        shown = [ctx.params.get("dashboard"), ctx.params.get("report_html")]
        if ctx.params.get("dry_run") and shown != [None, None] and not ctx.resilient_parsing:
            raise click.UsageError("--dry-run sends nothing: there is nothing to show and nothing to report", ctx)
        return rest


def with_addresses(args: list[str]) -> list[str]:
    """Join `--dashboard` with its address, or with nothing if the word behind it is none."""
    found: list[str] = []
    words = iter(args)
    for word in words:
        if found[-1:] == ["--dashboard"]:
            is_address = _ADDRESS.fullmatch(word) is not None
            found[-1] = f"--dashboard={word}" if is_address else "--dashboard="
            if is_address:
                continue
        found.append(word)
        if word == "--":
            return [*found, *words]
    return [*found[:-1], "--dashboard="] if found[-1:] == ["--dashboard"] else found


def watch_options(function: F) -> F:
    """Give a command `--dashboard` and `--report-html`. The command's class is `WatchedCommand`."""
    report = click.option(
        "--report-html",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Write what happened as one page to hand on, in the end.",
    )
    dashboard = click.option(
        "--dashboard",
        metavar="[HOST:PORT]",
        help="Show it live on a web page.  [default: 127.0.0.1:8791; beyond this machine with a token]",
    )
    return dashboard(report(function))


def watched(context: click.Context, command: Command) -> Command:
    """Return the command with what `--dashboard` and `--report-html` ask for around it; itself if neither does.

    Raises:
        click.UsageError: what they say cannot be carried out.
    """
    dashboard, report = context.params.get("dashboard"), context.params.get("report_html")
    if dashboard is None and report is None:
        return command
    from rfbulk.dashboard.address import parse_address  # noqa: PLC0415 - only where it is asked for
    from rfbulk.edge.wholefile import check_writable  # noqa: PLC0415

    try:
        address = None if dashboard is None else parse_address(dashboard)
        if report is not None:
            check_writable(report, "--report-html")
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    watch = Watch(about_of(context), address, report)
    return watch.around(command)


def about_of(context: click.Context) -> About:
    """Say what the command is, without its secrets."""
    import platform  # noqa: PLC0415 - only where it is asked for
    from importlib.metadata import version  # noqa: PLC0415

    from rfbulk.dashboard.picture import About  # noqa: PLC0415

    packages = ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "anyio", "msgspec"))
    return About(
        command=context.command_path.removeprefix("rfbulk").strip(),
        line=shown_line(sys.argv[1:]),
        version=__version__,
        began=time.time(),
        folder=str(Path.cwd()),
        settings=(
            *settings_shown(context),
            ("Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
            ("libraries", packages),
        ),
    )


@dataclass(slots=True)
class Watch:
    """Keeps the chronicle of one command, serves it, and writes the report in the end.

    Whatever goes wrong here is told once and changes nothing of the transfer.
    """

    about: About
    address: Address | None
    report: Path | None
    has_told: bool = False

    def around(self, command: Command) -> Command:
        """Return a command that does the same, watched."""

        async def run(session: Session) -> int | None:
            async with AsyncExitStack() as stack:
                chronicle = await stack.enter_async_context(self._chronicle(session))
                return await _with_ending(session, command, chronicle)

        return run

    @asynccontextmanager
    async def _chronicle(self, session: Session) -> AsyncIterator[Watched]:
        from rfbulk.dashboard.chronicle import Chronicle  # noqa: PLC0415

        chronicle = Watched(Chronicle(), partial(states_before, settings_of(session.options)), self.tell_trouble)
        session.watchers.append(chronicle.take)
        session.readers_of_reports.append(chronicle.report)
        try:
            async with self._served(chronicle.chronicle):
                yield chronicle
        finally:
            await chronicle.finish()
            await self._write_report(chronicle.chronicle)

    @asynccontextmanager
    async def _served(self, chronicle: Chronicle) -> AsyncIterator[None]:
        if self.address is None:
            yield
            return
        from rfbulk.dashboard.frames import Frames  # noqa: PLC0415 - loads a server
        from rfbulk.dashboard.picture import Painter  # noqa: PLC0415
        from rfbulk.dashboard.server import Site, serving  # noqa: PLC0415

        site = Site(Frames(Painter(chronicle, self.about)), on_trouble=self.tell_trouble)
        async with serving(site, self.address) as url:
            say_where(url)
            yield

    async def _write_report(self, chronicle: Chronicle) -> None:
        if self.report is None:
            return
        from rfbulk.dashboard.report import report_page  # noqa: PLC0415

        try:
            page = report_page(chronicle, self.about).encode("utf-8", "replace")
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(_write, self.report, page)
        except Exception as error:  # noqa: BLE001 - the transfer has ended as it has ended
            click.echo(f"warning: the report {self.report} could not be written: {plain(str(error))}", err=True)

    def tell_trouble(self, error: Exception) -> None:
        """Say once that the page is broken."""
        if not self.has_told:
            self.has_told = True
            text = f"{type(error).__name__}: {error}"
            click.echo(f"warning: the dashboard has failed, the transfer goes on: {plain(text)}", err=True)


class Watched:
    """A chronicle that is told the time and what earlier runs did, and whose defects harm nobody."""

    def __init__(
        self,
        chronicle: Chronicle,
        states: Callable[[str], dict[int, Place | None]],
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self.chronicle = chronicle
        self._states = states
        self._began = time.monotonic()
        self._on_trouble = on_trouble
        self._reading: asyncio.Future[None] | None = None

    @property
    def now(self) -> float:
        """Seconds since the command began."""
        return time.monotonic() - self._began

    def take(self, event: Event) -> None:
        """Take note of an event."""
        try:
            self.chronicle.take(event, self.now)
            if isinstance(event, TransferBegun) and event.kind == "upload":
                self._reading = asyncio.ensure_future(self._seed(event.batch_id))
        except Exception as error:  # noqa: BLE001 - a broken page never harms the transfer
            self._on_trouble(error)

    async def _seed(self, batch: str) -> None:
        """Where an upload is resumed, the map begins with what its checkpoint says, read in a thread."""
        try:
            self.chronicle.seed(await anyio.to_thread.run_sync(self._states, batch))
        except Exception as error:  # noqa: BLE001 - as above
            self._on_trouble(error)

    async def finish(self) -> None:
        """Wait for what is being read."""
        if self._reading is not None:
            with anyio.CancelScope(shield=True):
                await self._reading

    def report(self, report: Any) -> None:
        """Keep what a transfer returned."""
        try:
            self.chronicle.report(report)
        except Exception as error:  # noqa: BLE001 - as above
            self._on_trouble(error)


async def _with_ending(session: Session, command: Command, watched: Watched) -> int | None:
    from rfbulk.dashboard.chronicle import Ending  # noqa: PLC0415

    error_text = ""
    code = ExitCode.FAILED
    try:
        returned = await command(session)
        code = ExitCode(returned or 0)
    except RfbulkError as error:
        code, error_text = exit_code_of(error), str(error)
        raise
    except BaseException as error:
        code = interrupted_code(session) if session.interrupted_by is not None else code
        error_text = "" if session.interrupted_by is not None else type(error).__name__
        raise
    finally:
        if session.interrupted_by is not None:
            code = interrupted_code(session)
        watched.chronicle.end(Ending(int(code), WORDS[code], error_text), watched.now)
    return returned


def states_before(settings: Settings, batch: str) -> dict[int, Place | None]:
    """Return where earlier runs left the shards of the upload into `batch` that this process works on. Blocks."""
    from rfbulk.dashboard.cells import PLACES  # noqa: PLC0415
    from rfbulk.edge.overview import states_of_upload  # noqa: PLC0415

    states = states_of_upload(uploads_dir(settings), batch)
    return {number: PLACES.get(state.name.lower()) for number, state in states.items()}


def say_where(url: str) -> None:
    """Print the page's address, the one time that its token is shown."""
    click.echo(f"dashboard: {url}", err=True)
    if "token=" in url:
        click.echo("warning: this is plain HTTP beyond this machine; who has this address can look on", err=True)


def _write(path: Path, page: bytes) -> None:
    from rfbulk.edge.wholefile import whole_file  # noqa: PLC0415

    with whole_file(path, "--report-html") as file:
        file.write(page)
