"""What a shell may complete: batches and checkpoints that this machine remembers. Reads names of files, no more."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

    import click

KINDS: Final = ("uploads", "ingests", "exports")
DIGEST_CHARACTERS: Final = 11
"""What a checkpoint's name has behind the batch: a hyphen and ten digits."""


def complete_batch(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the batches of which there is a checkpoint."""
    batches = {name[:-DIGEST_CHARACTERS] for name in _checkpoints(context)}
    return sorted(each for each in batches if each.startswith(incomplete))


def complete_checkpoint(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names of checkpoints."""
    return sorted(each for each in _checkpoints(context) if each.startswith(incomplete))


def _checkpoints(context: click.Context) -> Iterator[str]:
    folder = _state_dir(context)
    for kind in KINDS:
        yield from (path.stem for path in (folder / kind).glob("*.sqlite"))


def _state_dir(context: click.Context) -> Path:
    here: click.Context | None = context
    given = None
    while here is not None and given is None:
        given, here = here.params.get("state_dir"), here.parent
    given = given or os.environ.get("RFBULK_STATE_DIR")
    if given:
        return Path(given)
    import platformdirs  # noqa: PLC0415 - a command that completes nothing of it starts sooner

    return Path(platformdirs.user_state_dir("rfbulk", appauthor=False))
