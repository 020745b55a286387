"""`rfbulk completion`: the script that makes a shell complete commands, options, their values, and batches."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from rfbulk.cli.options import COMPLETING, CONTEXT, ExitCode, global_options
from rfbulk.cli.outline import remember

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(context_settings=CONTEXT)
@click.argument("shell", type=click.Choice(SHELLS))
@global_options
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print what makes a shell complete commands, options, their values, and what this machine remembers.

    \b
    rfbulk completion bash > ~/.local/share/bash-completion/completions/rfbulk
    rfbulk completion zsh  > ~/.zfunc/_rfbulk          # with fpath+=~/.zfunc before compinit
    rfbulk completion fish > ~/.config/fish/completions/rfbulk.fish
    """
    kind = get_completion_class(shell)
    if kind is None:
        raise AssertionError("click knows all three")
    command = context.find_root().command
    if isinstance(command, click.Group):
        remember(command)
    click.echo((kind.source_template % kind(command, {}, "rfbulk", COMPLETING).source_vars()).strip())
    return ExitCode.DONE
