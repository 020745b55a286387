"""The command line as it may be shown: without keys, and without what signs a URL."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from typing import Any, Final

import click

from rfbulk.core.redaction import excerpt
from rfbulk.core.secrets import REDACTED
from rfbulk.core.wording import duration, plain, size

_KEY_OPTION: Final = "--api-key"
_LONGEST: Final = 1000
_MOST_SHOWN: Final = 20


def shown_line(arguments: Iterable[str]) -> str:
    """Return the command as a shell takes it again, `rfbulk` in front. Secrets are left out."""
    return shlex.join(["rfbulk", *_shown(arguments)]).replace(f"'{REDACTED}'", REDACTED)


def _shown(arguments: Iterable[str]) -> Iterator[str]:
    words = iter(arguments)
    for word in words:
        if word == _KEY_OPTION:
            next(words, None)
            continue
        if not word.startswith(f"{_KEY_OPTION}="):
            yield shown_word(word)


def shown_word(word: str) -> str:
    """Return one word, or the value of an option, without what is secret in it."""
    has_secret = "://" in word or "=" in word
    return excerpt(word, limit=_LONGEST) if has_secret else plain(word)


def settings_shown(context: click.Context) -> list[tuple[str, str]]:
    """Return the options of a command and what they are, those that were given first."""
    given: list[tuple[str, str]] = []
    defaults: list[tuple[str, str]] = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        if value in (None, (), "") or getattr(parameter, "hidden", False) or parameter.name == "api_key":
            continue
        source = context.get_parameter_source(parameter.name or "")
        is_given = source is not None and source is not click.core.ParameterSource.DEFAULT
        if is_given:
            given.append((_name_of(parameter), _value_of(parameter, value)))
        elif value is not False:
            defaults.append((_name_of(parameter), f"{_value_of(parameter, parameter.default)} (default)"))
    return [*given, *defaults]


def _name_of(parameter: click.Parameter) -> str:
    if isinstance(parameter, click.Argument):
        return str(parameter.metavar or parameter.name)
    return max(parameter.opts, key=len)


def _value_of(parameter: click.Parameter, value: Any) -> str:
    if parameter.type.name == "size" and isinstance(value, int):
        return size(value)
    if parameter.type.name == "duration" and isinstance(value, float):
        return duration(value)
    if isinstance(value, tuple | list):
        shown = ", ".join(shown_word(str(each)) for each in value[:_MOST_SHOWN])
        return shown + (f" and {len(value) - _MOST_SHOWN:,} more" if len(value) > _MOST_SHOWN else "")
    if isinstance(value, bool):
        return "yes" if value else "no"
    return shown_word(str(value))
