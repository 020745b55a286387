"""`rfbulk dashboard`: all uploads, ingests and exports that this machine remembers, on one page, live."""

from __future__ import annotations

import os
import time
import webbrowser
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from rfbulk import __version__
from rfbulk.cli.checkpoints import state_of
from rfbulk.cli.options import CONTEXT, ExitCode, global_options, globals_of
from rfbulk.cli.printing import plain, print_json
from rfbulk.cli.running import Session, run, settings_of
from rfbulk.cli.watching import say_where
from rfbulk.client.context import exports_dir, ingests_dir, uploads_dir
from rfbulk.dashboard.address import Address, parse_address
from rfbulk.dashboard.cells import MOST_CELLS
from rfbulk.dashboard.checkpoints import Shelf, cells_of, row_of
from rfbulk.dashboard.frames import Frames
from rfbulk.dashboard.server import Site, serving
from rfbulk.edge.locks import holder_of
from rfbulk.edge.overview import Overview, details
from rfbulk.errors import UsageError

LOOK_SECONDS = 1.0
SHARE = 5
"""Of the time, reading checkpoints takes at most one part in so many."""


@click.command(context_settings=CONTEXT)
@click.argument("address", required=False, default="", metavar="[HOST:PORT]")
@click.option("--open", "is_opened", is_flag=True, help="Open it in the browser.")
@global_options
@click.pass_context
def dashboard(context: click.Context, address: str, *, is_opened: bool) -> int:
    """Show on a web page what this machine remembers, and what is under way, until Ctrl-C.

    It reads the checkpoints and nothing else: it needs no api key, asks nobody, and holds up no transfer. Without an
    address it is seen from this machine alone, at port 8791 or another free one. Beyond this machine a token is needed,
    which is in the address that is printed.

    \b
    rfbulk dashboard
    rfbulk dashboard 127.0.0.1:9000
    rfbulk dashboard 0.0.0.0:8791
    """
    try:
        where = parse_address(address)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    return run(globals_of(context), partial(_serve, where=where, is_opened=is_opened))


async def _serve(session: Session, *, where: Address, is_opened: bool) -> int:
    settings = settings_of(session.options)
    folders = {"upload": uploads_dir(settings), "ingest": ingests_dir(settings), "export": exports_dir(settings)}
    shelf, overview = Shelf(__version__), Overview(folders)
    site = Site(Frames(shelf), "checkpoints.html", partial(_detail, folders), _tell_trouble)
    async with serving(site, where) as url:
        if session.options.json:
            print_json({"url": url})
        else:
            say_where(url)
        if is_opened:
            await anyio.to_thread.run_sync(webbrowser.open, url)
        session.has_gentle_stop = True
        await _keep_looking(session, shelf, overview, site)
    session.interrupted_by = None  # this is how it ends
    return ExitCode.DONE


async def _keep_looking(session: Session, shelf: Shelf, overview: Overview, site: Site) -> None:
    """Read what has changed while anybody looks on, until Ctrl-C."""
    seconds = 0.0
    is_first = True
    while not session.stop.is_set():
        if site.readers or is_first:
            began, is_first = time.monotonic(), False
            summaries = await anyio.to_thread.run_sync(overview.read)
            shelf.put((row_of(each, state_of(each)) for each in summaries), time.time())
            seconds = time.monotonic() - began
        with anyio.move_on_after(max(LOOK_SECONDS if site.readers else LOOK_SECONDS / 4, SHARE * seconds)):
            await session.stop.wait()


async def _detail(folders: dict[str, Path], name: str) -> dict[str, Any] | None:
    return await anyio.to_thread.run_sync(partial(_detail_of, folders, name))


def _detail_of(folders: dict[str, Path], name: str) -> dict[str, Any] | None:
    """The name is one of a listing, so that it leads nowhere else."""
    kind, _, identity = name.partition(":")
    folder = folders.get(kind)
    path = None if folder is None else folder / f"{identity}.sqlite"
    if folder is None or path is None or os.sep in identity or path not in set(folder.glob("*.sqlite")):
        return None
    found = details(kind, path, MOST_CELLS)
    is_held = bool(holder_of(path.with_suffix(".lock")))
    return found | {"map": cells_of(found, is_held=is_held), "cells": None, "checkpoint": str(path)}


def _tell_trouble(error: Exception) -> None:
    with suppress(OSError):
        click.echo(f"warning: the page has failed: {plain(type(error).__name__)}: {plain(str(error))}", err=True)
