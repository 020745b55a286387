"""Printers of events: a live view on a terminal, a plain line every 30 seconds elsewhere, JSON lines in a log file."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Final, Protocol

import click

from rfbulk.cli.event_log import EventLog, LogOptions, open_log
from rfbulk.cli.lines import line_of
from rfbulk.cli.metrics import served, words_of
from rfbulk.cli.options import DUMB, Globals
from rfbulk.cli.state import VISIBLE, State
from rfbulk.core.wording import plain
from rfbulk.events import (
    Advised,
    Event,
    FetchRetried,
    FileNamed,
    OnEvent,
    PhaseChanged,
    RemoteFileNamed,
    RequestRetried,
    ShardRetried,
    Warned,
)

PLAIN_SECONDS: Final = 30.0


class View(Protocol):
    """Something that shows where an upload stands."""

    def show(self, state: State) -> None:
        """Show it, now or at the next good moment."""

    def say(self, text: str) -> None:
        """Print a line beside it."""


class PlainView:
    """A line on stderr every half minute."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = now()

    def show(self, state: State) -> None:
        """Print the line if it is time."""
        if self._now() - self._last >= PLAIN_SECONDS:
            self._last = self._now()
            self.say(line_of(state))

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)


class SilentView:
    """Shows nothing; warnings are still said."""

    def show(self, state: State) -> None:
        """Do nothing."""

    def say(self, text: str) -> None:
        """Print a line."""
        click.echo(text, err=True)


@contextmanager
def progress_printer(options: Globals) -> Iterator[OnEvent]:
    """Yield a callable that prints events as the options and the terminal ask for it.

    Raises:
        UsageError: the log file cannot be opened, or metrics cannot be served.
    """
    state = State()
    with ExitStack() as stack:
        view = stack.enter_context(_view(options))
        log = _opened_log(options, stack, view)
        metrics = _served_metrics(options, stack, view)

        def on_event(event: Event) -> None:
            is_visible = type(event) in VISIBLE
            if is_visible:
                state.take(event)
            if log is not None:
                log.take(event)
            if metrics is not None:
                metrics(event)
            text = _remark(event, options)
            if text:
                view.say(text)
            if is_visible:
                view.show(state)

        yield on_event


@contextmanager
def _view(options: Globals) -> Iterator[View]:
    if options.quiet:
        yield SilentView()
    elif not sys.stderr.isatty() or os.environ.get("TERM") in DUMB:
        yield PlainView()
    else:
        from rfbulk.cli.live import LiveView  # noqa: PLC0415 - rich costs 60 ms and is only for terminals

        with LiveView() as view:
            yield view


def _opened_log(options: Globals, stack: ExitStack, view: View) -> EventLog | None:
    if options.log_file is None:
        return None
    wanted = LogOptions(options.log_file, options.log_file_size, options.log_file_keep)
    return stack.enter_context(open_log(wanted, lambda text: view.say(f"warning: {plain(text)}")))


def _served_metrics(options: Globals, stack: ExitStack, view: View) -> OnEvent | None:
    if options.metrics is None:
        return None
    serving = stack.enter_context(served(options.metrics))
    for line in words_of(options.metrics, serving.url):
        view.say(line)
    return serving.on_event


def _remark(event: Event, options: Globals) -> str:
    if isinstance(event, PhaseChanged) and event.phase == "stopping":
        return "stopping: what is in flight may finish; once more stops at once"
    if isinstance(event, Warned):
        return f"warning: {plain(event.text)}"
    if isinstance(event, Advised):
        return "" if options.quiet else f"note: {plain(event.text)}"
    return _detail(event) if options.verbose else ""


def _detail(event: Event) -> str:
    if isinstance(event, ShardRetried):
        return f"shard {event.shard}: {event.cause}, again in {event.delay:.1f} s ({plain(event.detail)})"
    if isinstance(event, RequestRetried):
        return f"{event.operation}: {plain(event.cause)}, again in {event.delay:.1f} s"
    if isinstance(event, FileNamed):
        return f"{event.failure.reason}: {plain(event.failure.path)}"
    if isinstance(event, FetchRetried):
        files = plain(event.name) + (f" and {event.files - 1:,} more" if event.files > 1 else "")
        return f"{files}: {event.cause}, again in {event.delay:.1f} s ({plain(event.detail)})"
    if isinstance(event, RemoteFileNamed):
        return f"{event.failure.reason}: {plain(event.failure.name)}"
    return ""
