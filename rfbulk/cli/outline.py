"""The commands and options in outline, kept in a file, so that a shell that completes need not load what they do.

Loading every command takes a second, and a user who presses Tab waits for it. The file is made anew when a file of the
command line has changed. Where it cannot be kept, completion works all the same.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import click

from rfbulk import __version__
from rfbulk.cli.completing import complete_batch, complete_checkpoint

_SUGGESTED: Final = {"batch_id": complete_batch, "batch": complete_batch, "checkpoint_id": complete_checkpoint}
_FILES: Final = frozenset({"source", "references"})
_FOLDERS: Final = frozenset({"folder", "output"})


def outlined(root: click.Group) -> click.Command:
    """Return a command that has the names and options of `root` and all below, and does nothing."""
    stamp = _stamp()
    path = _place()
    outline = _read(path, stamp)
    if outline is None:
        outline = {"stamp": stamp, "root": _outline_of(root, click.Context(root, info_name="rfbulk"))}
        _keep(path, outline)
    return _command_from("rfbulk", outline["root"])


def remember(root: click.Group) -> None:
    """Make the file now, so that the first completion is as quick as all others."""
    outlined(root)


def _place() -> Path:
    folder = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")  # noqa: PTH111 - pathlib raises without a home
    return Path(folder) / "rfbulk" / "commands.json"


def _stamp() -> str:
    """What changes when any file of the command line does."""
    with os.scandir(Path(__file__).parent) as files:
        times = [each.stat().st_mtime_ns for each in files if each.name.endswith(".py")]
    return f"{__version__}-{len(times)}-{max(times)}"


def _read(path: Path, stamp: str) -> dict[str, Any] | None:
    try:
        outline: Any = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return outline if isinstance(outline, dict) and outline.get("stamp") == stamp else None


def _keep(path: Path, outline: dict[str, Any]) -> None:
    new = path.with_name(f".{path.name}.{os.getpid()}")
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        new.write_text(json.dumps(outline))
        new.replace(path)


# from commands to an outline


def _outline_of(command: click.Command, context: click.Context) -> dict[str, Any]:
    outline: dict[str, Any] = {
        "help": command.get_short_help_str(),
        "params": [_parameter(each) for each in command.get_params(context)],
        "passes": bool(command.context_settings.get("ignore_unknown_options")),
    }
    if isinstance(command, click.Group):
        below = {name: command.get_command(context, name) for name in command.list_commands(context)}
        outline["commands"] = {
            name: _outline_of(each, click.Context(each, context, info_name=name))
            for name, each in below.items()
            if each
        }
    return outline


def _parameter(parameter: click.Parameter) -> dict[str, Any]:
    values: dict[str, Any] = {"name": parameter.name, "nargs": parameter.nargs}
    if isinstance(parameter.type, click.Choice):
        values["choices"] = [str(each) for each in parameter.type.choices]
    elif isinstance(parameter.type, click.Path):
        values["path"] = "dir" if not parameter.type.file_okay else "file"
    if isinstance(parameter, click.Option):
        values["opts"] = [*parameter.opts]
        values["secondary"] = [*parameter.secondary_opts]
        values |= {"flag": parameter.is_flag, "count": parameter.count, "multiple": parameter.multiple}
        values |= {"hidden": parameter.hidden, "help": parameter.help or ""}
    return values


# and back


def _command_from(name: str, outline: dict[str, Any]) -> click.Command:
    params = [_parameter_from(each) for each in outline["params"]]
    settings = {"ignore_unknown_options": outline["passes"]}
    if "commands" not in outline:
        return click.Command(
            name, params=params, help=outline["help"], context_settings=settings, add_help_option=False
        )
    group = click.Group(name, params=params, help=outline["help"], add_help_option=False)
    for below, each in outline["commands"].items():
        group.add_command(_command_from(below, each))
    return group


def _parameter_from(values: dict[str, Any]) -> click.Parameter:
    name = values["name"]
    suggest = _SUGGESTED.get(name)
    if "opts" not in values:
        return click.Argument(
            [name], nargs=values["nargs"], type=_type_of(values), required=False, shell_complete=suggest
        )
    words = [*values["opts"]]
    if values["secondary"]:
        words = [f"{max(words, key=len)}/{max(values['secondary'], key=len)}"]
    more: dict[str, Any] = {"hidden": values["hidden"], "help": values["help"]}
    if values["flag"] or values["count"]:
        more |= {"count": True} if values["count"] else {"is_flag": True}
        return click.Option([*words, name], **more)
    more |= {"type": _type_of(values), "multiple": values["multiple"], "shell_complete": suggest}
    return click.Option([*words, name], **more)


def _type_of(values: dict[str, Any]) -> click.ParamType[Any]:
    if "choices" in values:
        return click.Choice(values["choices"])
    if values.get("path") == "dir" or values["name"] in _FOLDERS:
        return click.Path(file_okay=False)
    if "path" in values or values["name"] in _FILES:
        return click.Path()
    return click.STRING
