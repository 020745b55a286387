"""`rfbulk webhook serve`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click
import msgspec

from rfbulk.cli.options import CONTEXT, DURATION, ExitCode, global_options, globals_of
from rfbulk.cli.printing import plain, print_json
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, failpoint_from_environment, run, settings_of
from rfbulk.client import Client
from rfbulk.client.webhook import ReceiverOptions, WebhookReceiver, inbox_dir
from rfbulk.core.notices import JobNotice, Notice, subject_of
from rfbulk.core.secrets import ApiKey
from rfbulk.core.standing import Flow, parse_flows
from rfbulk.edge.commands import command_words, run_command
from rfbulk.edge.webhook import serve_app
from rfbulk.errors import UsageError
from rfbulk.events import Event, FlowEnded, NoticeKept, OnEvent

LOOPBACK = ("127.0.0.1", "::1", "localhost")


@dataclass(frozen=True, slots=True)
class Serving:
    """What `webhook serve` was asked for."""

    options: ReceiverOptions
    host: str
    port: int
    folder: Path | None
    command: tuple[str, ...]
    at_once: int
    seconds: float
    flows: tuple[Flow, ...]


@click.command(context_settings=CONTEXT)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0: any free one.")
@click.option(
    "--key-file",
    "key_files",
    multiple=True,
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A file with the workspace's publishable key, or several, one a line. May be repeated.",
)
@click.option("--path", default="/", metavar="SECRET", help="The only path that is answered; make it unguessable.")
@click.option("--exec", "command", metavar="CMD", help="Run a command for each event, with its JSON on stdin.")
@click.option("--shell", is_flag=True, help="Give CMD to /bin/sh instead of running it directly.")
@click.option("--exec-at-once", type=click.IntRange(1, 64), default=1, show_default=True, help="Commands together.")
@click.option("--exec-timeout", type=DURATION, default="5m", show_default=True, help="How long a command may take.")
@click.option(
    "--run-config",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Standing flows: an ingest that has ended starts a job, a job that has ended is exported.",
)
@click.option("--dir", "folder", type=click.Path(path_type=Path), metavar="DIR", help="Where notifications are kept.")
@global_options
@click.pass_context
def serve(context: click.Context, /, **values: Any) -> int:
    """Receive the service's notifications until Ctrl-C. Each is on disk before the service hears that it was taken.

    An event is followed once, after the service has confirmed what it says. A command that ends otherwise than with
    0 is run again, five times in all; the process may die in between, so that a command can see an event twice.

    \b
    rfbulk webhook serve --key-file publishable.key
    rfbulk webhook serve --key-file publishable.key --path /hook-7f3a9c --exec './on-event.sh'
    rfbulk webhook serve --key-file publishable.key --run-config flows.toml
    """
    try:
        serving = _serving(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    return run(globals_of(context), partial(_serve, serving=serving))


def _serving(values: dict[str, Any]) -> Serving:
    keys = [key for file in values["key_files"] for key in read_keys(file)]
    return Serving(
        options=ReceiverOptions(tuple(map(ApiKey, keys)), (values["path"],)),
        host=values["host"],
        port=values["port"],
        folder=values["folder"],
        command=command_words(values["command"], shell=values["shell"]) if values["command"] is not None else (),
        at_once=values["exec_at_once"],
        seconds=values["exec_timeout"],
        flows=() if values["run_config"] is None else read_flows(values["run_config"]),
    )


def read_keys(file: Path) -> list[str]:
    """Read publishable keys, one a line.

    Raises:
        UsageError: the file cannot be read, or holds none.
    """
    try:
        keys = file.read_text().split()
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            "read", f"the key file {file}", cause=str(cause), advice="name a file that can be read with --key-file"
        ) from None
    if not keys:
        raise UsageError(
            "read", f"the key file {file}", cause="it holds no key", advice="put the workspace's publishable key in it"
        )
    return keys


def read_flows(file: Path) -> tuple[Flow, ...]:
    """Read standing flows.

    Raises:
        UsageError: the file cannot be read, or describes none.
    """
    try:
        return parse_flows(file.read_text())
    except (OSError, UnicodeDecodeError) as error:
        cause = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(
            "read", f"the flows {file}", cause=str(cause), advice="name a file that can be read with --run-config"
        ) from None


async def _serve(session: Session, *, serving: Serving) -> int:
    async with AsyncExitStack() as stack:
        on_event = _telling(session, stack.enter_context(progress_printer(session.options)))
        receiver = await _receiver(stack, session, serving, on_event)
        await stack.enter_async_context(receiver)
        url = await stack.enter_async_context(serve_app(receiver.app, serving.host, serving.port))
        _say_ready(session, url + serving.options.paths[0], serving.host)
        await anyio.sleep_forever()
    return ExitCode.DONE


async def _receiver(stack: AsyncExitStack, session: Session, serving: Serving, on_event: OnEvent) -> WebhookReceiver:
    """Only where something is to follow is the service needed, and an api key."""
    folder = serving.folder or inbox_dir(settings_of(session.options))
    if not serving.command and not serving.flows:
        return WebhookReceiver(serving.options, folder, on_event=on_event, reach=failpoint_from_environment())
    client = await stack.enter_async_context(session.client())
    return client.webhook(
        [key.reveal() for key in serving.options.keys],
        folder=folder,
        path=serving.options.paths,
        on_notice=partial(_run_command, client, serving) if serving.command else None,
        at_once=serving.at_once,
        flows=serving.flows,
        on_event=on_event,
    )


def _telling(session: Session, show: OnEvent) -> OnEvent:
    def on_event(event: Event) -> None:
        if isinstance(event, NoticeKept | FlowEnded):
            _tell(session, event)
        show(event)

    return on_event


def _tell(session: Session, event: NoticeKept | FlowEnded) -> None:
    if session.options.json:
        print_json({"event": type(event).__name__} | msgspec.to_builtins(event))
    elif isinstance(event, FlowEnded):
        print(plain(f"{event.subject}: {event.outcome}"), flush=True)  # not by click, which writes into a view
    elif not session.options.quiet:
        print(plain(f"{event.delivery}: {event.subject or 'unknown'}, event {event.event_id}"), flush=True)


def _say_ready(session: Session, url: str, host: str) -> None:
    if session.options.json:
        print_json({"url": url})
        return
    click.echo(f"notifications are received at {url}; Ctrl-C ends it")
    if host not in LOOPBACK:
        click.echo("warning: this is plain HTTP beyond this machine; put a server that speaks TLS before it", err=True)


async def _run_command(client: Client, serving: Serving, notice: Notice, body: bytes) -> None:
    """The service is asked first: anybody who knows the publishable key could have sent this."""
    if not await client.confirms(notice):
        click.echo(f"warning: the service does not know of event {plain(notice.event_id)}; ignored", err=True)
        return
    subject = subject_of(notice)
    kind = "job" if isinstance(notice, JobNotice) else "ingest"
    about = {"RFBULK_EVENT_ID": notice.event_id, "RFBULK_EVENT_KIND": kind, "RFBULK_SUBJECT": subject}
    await run_command(serving.command, body, seconds=serving.seconds, environment=about)
