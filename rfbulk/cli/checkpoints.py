"""`rfbulk checkpoint list | show | forget | reseal`."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from rfbulk.cli.options import CONTEXT, ExitCode, Globals, global_options, globals_of
from rfbulk.cli.printing import number, plain, print_json, print_table, size
from rfbulk.cli.resuming import said_of
from rfbulk.cli.running import exit_code_of, settings_of
from rfbulk.client.context import exports_dir, ingests_dir, uploads_dir
from rfbulk.core.forms import VIDEOS
from rfbulk.edge.checkpoint import summaries
from rfbulk.edge.checkpoint_file import remove_files
from rfbulk.edge.checkpoint_file import reseal as reseal_checkpoint
from rfbulk.edge.export_checkpoint import export_summaries, staging_of
from rfbulk.edge.ingest_checkpoint import ingest_summaries
from rfbulk.edge.landing import discard_staging
from rfbulk.edge.locks import FileLock
from rfbulk.errors import CheckpointBusy, RfbulkError


@click.command("list", context_settings=CONTEXT)
@global_options
@click.pass_context
def list_checkpoints(context: click.Context) -> int:
    """List the uploads, ingests and exports that this machine remembers, newest first.

    \b
    rfbulk checkpoint list
    """
    options = globals_of(context)
    found = _summaries(options)
    if options.json:
        for summary in found:
            print_json(summary)
        return ExitCode.DONE
    rows = [[s["id"], s["kind"], s.get("batch", "?"), state_of(s), _age(s["modified"]), _where(s)] for s in found]
    print_table(["checkpoint", "kind", "batch", "state", "used", "where"], rows)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("checkpoint_id", metavar="ID")
@global_options
@click.pass_context
def show(context: click.Context, checkpoint_id: str) -> int:
    """Describe what an upload, an ingest or an export remembers. A unique beginning of the id is enough.

    \b
    rfbulk checkpoint show spring-3f
    """
    options = globals_of(context)
    summary = find(options, checkpoint_id)
    if options.json:
        said = None if "error" in summary else said_of(summary)
        print_json(summary | {"command": None if said is None else said.line})
        return ExitCode.DONE
    click.echo(f"checkpoint {summary['id']} of an {summary['kind']}")
    click.echo(f"  file     {summary['path']}")
    if "error" in summary:
        click.echo(f"  damaged  {plain(summary['error'])}")
        return ExitCode.FAILED
    click.echo(f"  service  {plain(summary['service'])}, workspace {plain(summary['workspace'])}")
    click.echo(f"  batch    {plain(summary['batch'])}")
    lines = {"export": _export_lines, "ingest": _ingest_lines, "upload": _upload_lines}[summary["kind"]]
    for line in lines(summary):
        click.echo(f"  {line}")
    said = said_of(summary)
    click.echo(f"  command  {plain(said.line) if said is not None else 'not known: a program has begun it'}")
    return ExitCode.DONE


def _upload_lines(summary: dict[str, Any]) -> list[str]:
    what = "video" if summary["road"] == VIDEOS.road else "image"
    return [
        f"source   {_where(summary)}",
        f"state    {state_of(summary)}",
        f"sent     {number(summary['images_sent'], what)}, {size(summary['bytes_sent'])}",
        f"left     {number(summary['images_left'], what)} in {number(summary['shards_left'], 'shard')}",
        f"failed   {number(summary['failures'], what)}",
    ]


def _ingest_lines(summary: dict[str, Any]) -> list[str]:
    return [
        f"source   {_where(summary)}",
        f"state    {state_of(summary)}",
        f"accepted {number(summary['sent'], 'reference')} in {number(summary['requests'], 'request')}",
        f"left     {number(summary['left'], 'reference')}",
        f"failed   {number(summary['failures'], 'reference')}",
    ]


def _export_lines(summary: dict[str, Any]) -> list[str]:
    return [
        f"target   {_where(summary)}",
        f"state    {state_of(summary)}",
        f"here     {number(summary['files_here'], 'file')}, {size(summary['bytes_here'])}",
        f"left     {number(summary['left'], 'remote file')}",
        f"failed   {number(summary['failures'], 'remote file')}",
    ]


@click.command(context_settings=CONTEXT)
@click.argument("checkpoint_id", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@global_options
@click.pass_context
def forget(context: click.Context, checkpoint_id: str, *, yes: bool) -> int:
    """Forget an upload or an export. The batch keeps what it has, the folder its files.

    The same upload again would send all of it again, the same export fetch all of it again.

    \b
    rfbulk checkpoint forget spring-3f --yes
    """
    options = globals_of(context)
    summary = find(options, checkpoint_id)
    left = summary.get("images_left", summary.get("left", 0))
    if not yes:
        what = {"upload": "images", "ingest": "references", "export": "files"}[summary["kind"]]
        click.confirm(f"forget {summary['id']} ({state_of(summary)}, {left:,} {what} left)?", abort=True, err=True)
    path = Path(summary["path"])
    lock = FileLock(path.with_suffix(".lock"))
    try:
        lock.acquire()
    except CheckpointBusy as error:
        click.echo(f"error: {error}", err=True)
        return exit_code_of(error)
    if summary.get("target"):
        _remove_staging(summary)
    remove_files(path)
    path.with_suffix(".lock").unlink(missing_ok=True)  # while it is held: who has opened it meanwhile looks again
    lock.release()
    click.echo(f"forgotten: {summary['id']}")
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("checkpoint_id", metavar="ID")
@global_options
@click.pass_context
def reseal(context: click.Context, checkpoint_id: str) -> int:
    """Take a checkpoint as it is, after another program has opened it.

    A checkpoint is sealed, and told as damaged when it is not as rfbulk left it. `sqlite3` changes what a killed
    process has left even if it only reads. This looks through the structure of the file and seals it anew; whether
    what it says is still true, nobody can tell then: `rfbulk verify` compares it with the service.

    \b
    rfbulk checkpoint reseal spring-3f
    """
    path = Path(find(globals_of(context), checkpoint_id)["path"])
    try:
        reseal_checkpoint(path)
    except RfbulkError as error:
        click.echo(f"error: {error}", err=True)
        return exit_code_of(error)
    click.echo(f"sealed as it is: {path.stem}")
    return ExitCode.DONE


def _remove_staging(summary: dict[str, Any]) -> None:
    """Nobody else would ever remove what an export has begun and not finished."""
    target = os.fsencode(summary["target"])
    with suppress(OSError):
        discard_staging(target, staging_of(summary["target"], summary["id"]))


def _summaries(options: Globals) -> list[dict[str, Any]]:
    settings = settings_of(options)
    uploads, exports = uploads_dir(settings), exports_dir(settings)
    found = [{"kind": "upload"} | summary for summary in (summaries(uploads) if uploads.is_dir() else [])]
    found += export_summaries(exports) if exports.is_dir() else []
    ingests = ingests_dir(settings)
    found += ingest_summaries(ingests) if ingests.is_dir() else []
    return sorted(found, key=lambda summary: float(summary["modified"]), reverse=True)


def find(options: Globals, beginning: str) -> dict[str, Any]:
    """Return the one checkpoint whose id begins so.

    Raises:
        click.UsageError: there is none, or there are several.
    """
    found = [summary for summary in _summaries(options) if summary["id"].startswith(beginning)]
    exact = [summary for summary in found if summary["id"] == beginning]
    if len(exact or found) != 1:
        how_many = f"{len(found)} checkpoints begin" if found else "no checkpoint begins"
        raise click.UsageError(f"{how_many} with {beginning!r}; `rfbulk checkpoint list` shows all")
    return (exact or found)[0]


def state_of(summary: dict[str, Any]) -> str:
    """Return in a word how far the transfer of a checkpoint is."""
    if "error" in summary:
        return "damaged"
    if summary["kind"] == "export":
        is_whole = summary["listing_finished"] and not summary["left"] + summary["failures"]
        return "here" if is_whole else "unfinished"
    if summary["kind"] == "ingest":
        state = "confirmed" if summary["confirmed"] else "sent"
        return state if summary["scan_finished"] and not summary["left"] else "unfinished"
    if summary["scan_finished"] and not summary["images_left"] + summary["images_sent"] + summary["failures"]:
        return "empty"
    if summary["confirmed"] and not summary["images_left"]:
        return "confirmed"
    if summary["scan_finished"] and not summary["images_left"]:
        return "sent"
    return "unfinished"


def _where(summary: dict[str, Any]) -> str:
    share = f" ({summary['partition']})" if summary.get("partition") else ""
    return ", ".join(plain(place) for place in summary.get("sources", [summary.get("target", "")])) + share


def _age(modified: float) -> str:
    return datetime.fromtimestamp(modified, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
