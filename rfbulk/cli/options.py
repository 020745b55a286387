"""Options that all commands share, and the words in which sizes and durations are given."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from rfbulk.cli.metrics import MetricsAddress, parse_metrics_address

if TYPE_CHECKING:
    from rfbulk.workers.starting import Spares

DUMB: Final = frozenset({"dumb", "unknown"})
"""Terminals, by `TERM`, on which nothing can be redrawn."""

F = TypeVar("F", bound=Callable[..., Any])
COMPLETING = "_RFBULK_COMPLETE"
"""The variable by which a shell says that it wants words completed, as click names it."""

CONTEXT: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class ExitCode(IntEnum):
    """What each exit code of the command line means."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    SOME_FAILED = 3
    NOT_AUTHORISED = 4
    AGAIN = 5
    SERVICE_FAILED = 6
    TIMED_OUT = 7
    INTERRUPTED = 130
    TERMINATED = 143


@dataclass(slots=True)
class Globals:
    """The options that any command takes, wherever on the line they stand."""

    api_url: str | None = None
    api_key: str | None = None
    api_key_file: Path | None = None
    workspace: str | None = None
    state_dir: Path | None = None
    ca_file: Path | None = None
    allow_http: bool = False
    retry_for: float | None = None
    json: bool = False
    quiet: bool = False
    verbose: int = 0
    log_file: Path | None = None
    log_file_size: int = 64 << 20
    log_file_keep: int = 10
    metrics: MetricsAddress | None = None
    emulator: bool = False
    emulator_dir: Path | None = None
    spares: Spares | None = None
    """Processes that were started early."""


def globals_of(context: click.Context) -> Globals:
    """Return the shared options of this invocation."""
    return context.find_root().ensure_object(Globals)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    """What stands nearer to the end of the line wins; what was not said changes nothing."""
    source = context.get_parameter_source(parameter.name or "")
    if value is not None and source is not click.core.ParameterSource.DEFAULT:
        setattr(globals_of(context), parameter.name or "", value)


_SIZE = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(?:([kmgt])(i?))?(b?)\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_DURATION = re.compile(r"\s*([0-9]{1,18}(?:\.[0-9]{1,9})?)\s*(ms|s|m|h|d|)\s*", re.IGNORECASE)
_SECONDS = {"ms": 0.001, "": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_size(text: str) -> int:
    """Read a size: `64MiB` and `64M` count in 1024s, `64MB` in 1000s, `4096` in bytes.

    Raises:
        ValueError: it is no size.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no size: write it as 64MiB")
    number, unit, binary, byte = match.groups()
    base = 1000 if byte and not binary else 1024
    return int(Fraction(number) * base ** _POWERS[(unit or "").lower()])


def parse_duration(text: str) -> float:
    """Read a duration in seconds: `500ms`, `90`, `5m`, `2h`, `1d`.

    Raises:
        ValueError: it is no duration.
    """
    match = _DURATION.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no duration: write it as 5m")
    return float(match.group(1)) * _SECONDS[match.group(2).lower()]


class Worded(click.ParamType[Any]):
    """A parameter read by a function that raises ValueError."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text; a default is taken as it is."""
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _auto_or_number(text: str) -> int | None:
    if text.lower() == "auto":
        return None
    if re.fullmatch(r"[0-9]{1,9}", text) is None or int(text) == 0:
        raise ValueError(f"{text!r} is neither auto nor a number from 1")
    return int(text)


SIZE = Worded("size", parse_size)
DURATION = Worded("duration", parse_duration)
METRICS = Worded("address", parse_metrics_address)
AUTO_OR_NUMBER = Worded("auto|n", _auto_or_number)

_SHARED: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--api-url",), {"metavar": "URL", "help": "The service. [default: ROBOFLOW_API_URL, API_BASE_URL, or Roboflow]"}),
    (("--api-key-file",), {"type": click.Path(path_type=Path), "metavar": "FILE", "help": "A file with the api key."}),
    (("--api-key",), {"metavar": "KEY", "help": "The api key itself: others on this machine can read it."}),
    (("--workspace",), {"metavar": "NAME", "help": "The workspace. [default: the api key's]"}),
    (("--state-dir",), {"type": click.Path(path_type=Path), "metavar": "DIR", "help": "Where checkpoints live."}),
    (
        ("--ca-file",),
        {"type": click.Path(path_type=Path), "metavar": "FILE", "help": "A further certificate authority."},
    ),
    (("--allow-http",), {"is_flag": True, "help": "Permit plain HTTP beyond this machine."}),
    (
        ("--retry-for",),
        {"type": DURATION, "metavar": "DURATION", "help": "How long troubles may last. [default: 15m]"},
    ),
    (("--json",), {"is_flag": True, "help": "Print each result as a line of JSON."}),
    (("--quiet", "-q"), {"is_flag": True, "help": "No progress; errors only."}),
    (("--verbose", "-v"), {"count": True, "help": "Tell every retry; twice: what the libraries below log, too."}),
    (
        ("--log-file",),
        {"type": click.Path(path_type=Path), "metavar": "FILE", "help": "Write all events as JSON lines."},
    ),
    (
        ("--log-file-size",),
        {"type": SIZE, "metavar": "SIZE", "help": "Begin a new log file behind this size; 0: never. [default: 64MiB]"},
    ),
    (
        ("--log-file-keep",),
        {"type": click.IntRange(1, 9999), "metavar": "N", "help": "Log files that are kept besides. [default: 10]"},
    ),
    (
        ("--metrics",),
        {"type": METRICS, "metavar": "[HOST:]PORT", "help": "Serve Prometheus metrics. [host: 127.0.0.1]"},
    ),
    (("--emulator",), {"is_flag": True, "help": "Start a server of the service's API for this command."}),
    (
        ("--emulator-dir",),
        {"type": click.Path(path_type=Path), "metavar": "DIR", "help": "The folder in which its batches last."},
    ),
]


def global_options(function: F) -> F:
    """Give a command the shared options. They may stand before or behind the command's name."""
    for names, settings in reversed(_SHARED):
        option = click.option(*names, callback=_keep, expose_value=False, **settings)
        function = option(function)
    return function
