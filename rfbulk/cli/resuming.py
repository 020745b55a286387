"""`rfbulk checkpoint resume`: the command that began a transfer, said again."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rfbulk.cli.options import CONTEXT, ExitCode, Globals, global_options, globals_of
from rfbulk.cli.said import SAID, Said, made_of, said_from, shared_words
from rfbulk.core.wording import plain
from rfbulk.edge.checkpoint_file import facts_of

if TYPE_CHECKING:
    from collections.abc import Sequence

AS_IT_COMES: dict[str, Any] = CONTEXT | {"ignore_unknown_options": True}


@click.command(context_settings=AS_IT_COMES)
@click.argument("checkpoint_id", metavar="ID")
@click.argument("more", nargs=-1, type=click.UNPROCESSED, metavar="[OPTIONS OF THE TRANSFER]...")
@global_options
@click.pass_context
def resume(context: click.Context, checkpoint_id: str, more: tuple[str, ...]) -> int:
    """Go on with an upload, an ingest, an export or a run, with the options it was begun with.

    A unique beginning of the id is enough. What stands behind it is added to the command, and wins over what was said.
    Only the api key is not kept: it comes as for any command.

    \b
    rfbulk checkpoint resume spring-3f
    rfbulk checkpoint resume spring-3f --limit-rate 10MiB
    """
    from rfbulk.cli.checkpoints import find  # noqa: PLC0415 - it shows what this module says again
    from rfbulk.cli.main import rfbulk  # noqa: PLC0415 - the root imports its commands when they are called

    options = globals_of(context)
    summary = find(options, checkpoint_id)
    said = _sayable(summary)
    if not options.quiet:
        click.echo(f"resuming: {plain(said.line)}", err=True)
    if said.folder:
        _enter(said.folder)
    key = ["--api-key", options.api_key] if options.api_key else []
    words = _with_more(said.words, [*shared_words(options), *key, *more])
    code = rfbulk.main(args=words, prog_name="rfbulk", standalone_mode=False, obj=Globals(spares=options.spares))
    return code if isinstance(code, int) else ExitCode.DONE


def said_of(summary: dict[str, Any]) -> Said | None:
    """Return the command that goes on with a checkpoint, None if it cannot be known."""
    facts = facts_of(Path(summary["path"]))
    if facts.get(SAID):
        return said_from(facts[SAID])
    return made_of(summary["kind"], facts)


def _sayable(summary: dict[str, Any]) -> Said:
    if "error" in summary:
        raise click.UsageError(f"{summary['id']} cannot be read: {plain(summary['error'])}")
    said = said_of(summary)
    if said is None:
        raise click.UsageError(f"{summary['id']} was begun by a program, which alone can go on with it")
    if said.left_out:
        what = ", ".join(said.left_out)
        raise click.UsageError(f"{what} held a secret, which is not kept. Say it again, with that: {plain(said.line)}")
    if "-" in said.words and sys.stdin.isatty():
        raise click.UsageError("its list came by standard input: give it again, as in … | rfbulk checkpoint resume ID")
    return said


def _enter(folder: str) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise click.UsageError(f"it was begun in {folder}, which cannot be entered: {error.strerror}") from None


def _with_more(words: Sequence[str], more: Sequence[str]) -> list[str]:
    """Put options in front of what stands behind `--`."""
    place = words.index("--") if "--" in words else len(words)
    return [*words[:place], *more, *words[place:]]
