"""The options of uploads: those of every form, and how they become records."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from rfbulk.cli.cluster_options import cluster_from, cluster_options, partition_option
from rfbulk.cli.options import AUTO_OR_NUMBER, DURATION, SIZE
from rfbulk.errors import UsageError
from rfbulk.settings import UploadOptions

F = TypeVar("F", bound=Callable[..., Any])
DEFAULTS = UploadOptions()

_FOR_ALL: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (("--batch-id", "-b"), {"metavar": "B", "help": "The batch: a-z, 0-9, _ and -, at most 64."}),
    (("--batch-name",), {"metavar": "N", "help": "The name shown for it. [default: the batch id]"}),
    (("--include",), {"multiple": True, "metavar": "GLOB", "help": "Send only what matches. May be repeated."}),
    (("--exclude",), {"multiple": True, "metavar": "GLOB", "help": "Leave out what matches. May be repeated."}),
    (("--null", "-0"), {"is_flag": True, "help": "Paths of lists stand between NULs.  [default: seen by itself]"}),
    (("--recursive/--no-recursive",), {"default": True, "help": "Subfolders too.  [default: yes]"}),
    (
        ("--names",),
        {
            "type": click.Choice(["auto", "path", "basename"]),
            "default": "auto",
            "help": "How files are named in the batch: from their path (auto; path: with the folder's name in front),"
            " or bare.",
        },
    ),
    (
        ("--concurrency",),
        {"type": AUTO_OR_NUMBER, "default": "auto", "show_default": True, "help": "How much is sent at once."},
    ),
    (
        ("--memory",),
        {"type": SIZE, "default": "256MiB", "show_default": True, "help": "Bound of the bytes in flight."},
    ),
    (("--limit-rate",), {"type": SIZE, "metavar": "SIZE", "help": "Bytes per second at most."}),
    (
        ("--by-reference",),
        {"is_flag": True, "help": "Buckets only: the service fetches the files by signed URLs."},
    ),
    (
        ("--url-expiry",),
        {"type": DURATION, "default": "2d", "show_default": True, "help": "How long those are valid; at most 7d."},
    ),
    (("--notifications-url",), {"metavar": "URL", "help": "Where the service reports what was taken in."}),
    (("--ingest-id",), {"metavar": "ID", "help": "The name of this ingest in notifications."}),
    (
        ("--wait/--no-wait",),
        {"default": True, "help": "Until the service has indexed and counted all.  [default: wait]"},
    ),
    (("--timeout",), {"type": DURATION, "default": "2h", "show_default": True, "help": "How long to wait for that."}),
    (
        ("--verify",),
        {
            "type": click.Choice(["none", "count", "names"]),
            "default": "count",
            "show_default": True,
            "help": "What is compared with the service in the end.",
        },
    ),
    (
        ("--on-unsure",),
        {
            "type": click.Choice(["verify", "reupload", "skip"]),
            "default": "verify",
            "show_default": True,
            "help": "What may have arrived: look it up, send it again, or leave it.",
        },
    ),
    (
        ("--on-changed",),
        {
            "type": click.Choice(["name", "send"]),
            "default": "name",
            "show_default": True,
            "help": "Files that were sent and are different now: name them, or send them under a new name.",
        },
    ),
    (("--max-failures",), {"type": int, "metavar": "N", "help": "Stop when more files than this have failed."}),
    (("--dry-run",), {"is_flag": True, "help": "Print the plan; send nothing."}),
    (
        ("--report",),
        {"type": click.Path(path_type=Path), "metavar": "FILE", "help": "Write every file's fate, as JSON lines."},
    ),
    (("--retry-failed",), {"is_flag": True, "help": "Send again what earlier runs named as failed, and nothing else."}),
    (("--restart",), {"is_flag": True, "help": "Forget what earlier runs have sent, and send all again."}),
    (("--quiet-period",), {"type": DURATION, "default": "15s", "hidden": True}),
    (("--grace",), {"type": DURATION, "default": "5s", "hidden": True}),
]
_OF_IMAGES: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (
        ("--shard-images",),
        {"type": int, "default": DEFAULTS.shard_images, "show_default": True, "help": "Images in a shard."},
    ),
    (("--shard-bytes",), {"type": SIZE, "default": "64MiB", "show_default": True, "help": "Bytes in a shard."}),
    (
        ("--processes",),
        {
            "type": AUTO_OR_NUMBER,
            "default": "auto",
            "show_default": True,
            "help": "Processes that send; auto: as pays.",
        },
    ),
    (("--one-by-one",), {"is_flag": True, "help": "A request an image, no shards: for small batches."}),
    (
        ("--check-images",),
        {"is_flag": True, "help": "Name what is no whole image by its content; do not send it."},
    ),
]


def upload_options(function: F) -> F:
    """Give a command the options that every upload has."""
    return _with(_FOR_ALL, cluster_options(partition_option(function)))


def options_of_images(function: F) -> F:
    """Give a command the options that uploads of images have besides."""
    return _with(_OF_IMAGES, function)


def _with(options: list[tuple[tuple[str, ...], dict[str, Any]]], function: F) -> F:
    for names, settings in reversed(options):
        function = click.option(*names, **settings)(function)
    return function


def options_from(values: dict[str, Any]) -> UploadOptions:
    """Return what the options say.

    Raises:
        UsageError: they cannot be carried out.
    """
    verify = values["verify"]
    of_images = {name: values[name] for name in _NAMES_OF_IMAGES if name in values}
    options = UploadOptions(
        **of_images,
        batch_name=values["batch_name"],
        include=values["include"],
        exclude=values["exclude"],
        recursive=values["recursive"],
        names=values["names"],
        concurrency=values["concurrency"],
        memory_bytes=values["memory"],
        limit_rate=values["limit_rate"],
        wait=values["wait"] and verify != "none",
        wait_seconds=values["timeout"],
        verify=verify,
        on_unsure=values["on_unsure"],
        on_changed=values["on_changed"],
        quiet_seconds=values["quiet_period"],
        max_failures=values["max_failures"],
        notifications_url=values["notifications_url"],
        ingest_id=values["ingest_id"],
        restart=values["restart"],
        retry_failed=values["retry_failed"],
        report_file=values["report"],
        grace_seconds=values["grace"],
        cluster=cluster_from(values),
        partition=values["partition"],
    )
    if options.report_file is not None:
        check_writable(options.report_file)
    return options


_NAMES_OF_IMAGES = ("shard_images", "shard_bytes", "processes", "one_by_one", "check_images")


def check_writable(path: Path) -> None:
    """Refuse a report that cannot be written: that must not be found out after hours of work.

    Raises:
        UsageError: it cannot.
    """
    folder = path.parent
    cause = "its folder is not there" if not folder.is_dir() else "its folder cannot be written to"
    if not os.access(folder, os.W_OK):
        raise UsageError("write", f"the report {path}", cause=cause, advice="name another --report")
    if path.is_dir():
        raise UsageError("write", f"the report {path}", cause="it is a folder", advice="name another --report")
