"""A command as it was said, kept so that it can be said again: its words, and the folder in which they hold.

Nothing secret is kept: no key, and no address that carries a permission. What had to be left out is named, so that
nobody goes on without it.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from rfbulk.cli.options import Globals, globals_of
from rfbulk.core.redaction import excerpt

SAID: Final = "said"
"""The fact by which a checkpoint keeps it."""

_SHARED: Final = (
    *("api_url", "api_key_file", "workspace", "state_dir", "ca_file", "allow_http", "retry_for", "log_file"),
    *("json", "quiet", "emulator", "emulator_dir"),
)
_OF_THAT_TIME: Final = frozenset({"restart", "dry_run", "retry_failed"})
"""What was meant for one run, and would do harm in the next."""

_LONGEST: Final = 10_000


@dataclass(frozen=True, slots=True)
class Said:
    """The words behind `rfbulk`, where they were said, and which of them were left out as secret."""

    words: tuple[str, ...]
    folder: str
    left_out: tuple[str, ...] = ()

    @property
    def line(self) -> str:
        """The command as a shell takes it, from wherever one is now."""
        line = shlex.join(["rfbulk", *self.words])
        is_here = not self.folder or self.folder == str(Path.cwd())
        return line if is_here else f"cd {shlex.quote(self.folder)} && {line}"


def said_text(context: click.Context | None) -> str:
    """Return what the invocation says, as a checkpoint keeps it; empty outside of any."""
    return "" if context is None else json.dumps(asdict(_said(context)))


def said_from(text: str) -> Said:
    """Return it again."""
    values: dict[str, Any] = json.loads(text)
    return Said(tuple(values["words"]), str(values["folder"]), tuple(values["left_out"]))


def _said(context: click.Context) -> Said:
    options, arguments, left_out = [], [], []
    for parameter in context.command.params:
        name = parameter.name or ""
        if name in _OF_THAT_TIME or context.get_parameter_source(name) is click.core.ParameterSource.DEFAULT:
            continue
        words = list(_words(context, parameter, context.params.get(name)))
        if any(_is_secret(word) for word in words):
            left_out.append(parameter.human_readable_name if isinstance(parameter, click.Argument) else words[0])
        elif isinstance(parameter, click.Argument):
            arguments += words
        else:
            options += words
    odd = ["--"] if any(word.startswith("-") and word != "-" for word in arguments) else []
    words = [*context.command_path.split()[1:], *options, *shared_words(globals_of(context)), *odd, *arguments]
    return Said(tuple(words), str(Path.cwd()), tuple(left_out))


def shared_words(options: Globals) -> list[str]:
    """Return the shared options that were given, but the key itself."""
    words: list[str] = []
    for name in _SHARED:
        value = getattr(options, name)
        if value is True:
            words.append(_spelled(name))
        elif value:
            words += [_spelled(name), f"{value}s" if isinstance(value, float) else os.fspath(value)]
    return words


def _spelled(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _words(context: click.Context, parameter: click.Parameter, value: Any) -> Iterator[str]:
    if value is None:
        return
    if isinstance(parameter, click.Argument):
        yield from _each(context, parameter, value if parameter.nargs == -1 else [value])
        return
    spelled = max(parameter.opts, key=len)
    if isinstance(value, bool):
        if value or parameter.secondary_opts:
            yield spelled if value else max(parameter.secondary_opts, key=len)
        return
    is_many = isinstance(parameter, click.Option) and parameter.multiple
    for word in _each(context, parameter, value if is_many else [value]):
        yield spelled
        yield word


def _each(context: click.Context, parameter: click.Parameter, values: Sequence[Any]) -> Iterator[str]:
    """Spell values so that they are read again as what they are; what cannot be spelled is left to its default."""
    for value in values:
        for text in _spellings(value):
            try:
                if parameter.type.convert(text, parameter, context) == value:
                    yield text
                    break
            except (click.ClickException, ValueError):
                continue


def _spellings(value: Any) -> Iterator[str]:
    """How a value may be written, the most readable first: a duration, a size, a pair, or as it is."""
    if isinstance(value, float):
        yield f"{value:g}s"
    elif isinstance(value, int) and value and not value % (1 << 20):
        yield f"{value >> 20}MiB"
    elif isinstance(value, tuple):
        yield "=".join(map(str, value))
    yield str(value)


def _is_secret(word: str) -> bool:
    return ("://" in word or "=" in word) and excerpt(word, limit=_LONGEST) != word


def made_of(kind: str, facts: dict[str, str]) -> Said | None:
    """Return the command for what a program has begun, from what its checkpoint records; None if that is too little."""
    sources: list[str] = json.loads(facts.get("sources", "[]"))
    batch = ["--batch-id", facts.get("batch", "")]
    if kind == "export":
        unpack = [facts["unpack"]] if facts.get("unpack") == "--no-unpack" else []
        return Said(("export", facts.get("batch", ""), facts.get("target", ""), *unpack), "")
    if kind == "ingest":
        source = sources[0] if sources else ""
        if facts.get("kind") == "query":
            return Said(("upload", "query", source, *batch), "")
        is_file = not source.startswith("list ") and "://" not in source
        words = ("upload", "references", source, *batch, "--kind", facts.get("kind", "images"))
        return Said(words, "") if is_file else None
    return _made_of_upload(sources, batch, facts)


def _made_of_upload(sources: Sequence[str], batch: Sequence[str], facts: dict[str, str]) -> Said | None:
    if any(each.startswith("list ") for each in sources):
        return None
    chosen: dict[str, Any] = json.loads(facts.get("selection") or "{}")
    road = facts.get("road", "")
    words = ["upload", "videos" if "videos" in road else "images", *batch]
    words += [word for glob in chosen.get("include", ()) for word in ("--include", glob)]
    words += [word for glob in chosen.get("exclude", ()) for word in ("--exclude", glob)]
    words += ["--no-recursive"] if chosen.get("recursive") is False else []
    words += ["--names", facts["names"]] if facts.get("names", "auto") != "auto" else []
    words += ["--one-by-one"] if road.endswith("one-by-one") else []
    words += ["--partition", facts["partition"]] if facts.get("partition") else []
    return Said((*words, *(each.partition(" at http")[0] for each in sources)), "")
