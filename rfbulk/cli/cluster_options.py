"""The options of transfers beyond one machine: a cluster that carries them, or a share of the source."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, TypeVar

import click

from rfbulk.cli.options import DURATION, Worded
from rfbulk.core.clusters import ClusterOptions, parse_path_map
from rfbulk.core.partition import Partition, parse_partition
from rfbulk.errors import UsageError

F = TypeVar("F", bound=Callable[..., Any])


def _path_map(text: str) -> tuple[str, str]:
    try:
        return parse_path_map(text)
    except UsageError as error:
        raise ValueError(str(error)) from None


def _partition(text: str) -> Partition:
    try:
        return parse_partition(text, os.environ)
    except UsageError as error:
        raise ValueError(str(error)) from None


_OF_CLUSTERS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (
        ("--cluster",),
        {
            "metavar": "ADDRESS",
            "help": "Have a Dask cluster carry it: tcp:// or tls://HOST:PORT, a scheduler's file, or local[:N].",
        },
    ),
    (
        ("--path-map",),
        {
            "type": Worded("here=there", _path_map),
            "multiple": True,
            "metavar": "HERE=THERE",
            "help": "How its workers call a folder. May be repeated.",
        },
    ),
    (("--cluster-ca",), {"metavar": "FILE", "help": "With tls://: the authority,"}),
    (("--cluster-cert",), {"metavar": "FILE", "help": "this side's certificate,"}),
    (("--cluster-key",), {"metavar": "FILE", "help": "and its key.  [default: as Dask is configured]"}),
    (("--cluster-wait",), {"type": DURATION, "default": "60s", "hidden": True}),
    (
        ("--allow-insecure-cluster",),
        {"is_flag": True, "help": "Permit tcp:// beyond this machine: signed URLs go in the clear."},
    ),
]
_OF_PARTITIONS: list[tuple[tuple[str, ...], dict[str, Any]]] = [
    (
        ("--partition",),
        {
            "type": Worded("i/n", _partition),
            "metavar": "I/N",
            "help": "Only the I-th of N shares, the same on every run; auto: as Slurm or Kubernetes says.",
        },
    ),
]


def cluster_options(function: F) -> F:
    """Give a command the options of a cluster."""
    return _with(_OF_CLUSTERS, function)


def partition_option(function: F) -> F:
    """Give a command the option of a share."""
    return _with(_OF_PARTITIONS, function)


def _with(options: list[tuple[tuple[str, ...], dict[str, Any]]], function: F) -> F:
    for names, settings in reversed(options):
        function = click.option(*names, **settings)(function)
    return function


def cluster_from(values: dict[str, Any]) -> ClusterOptions | None:
    """Return the cluster that options name, None if they name none.

    Raises:
        UsageError: they cannot be carried out.
    """
    given = [name for name in ("path_map", "cluster_ca", "cluster_cert", "cluster_key") if values[name]]
    if values["allow_insecure_cluster"]:
        given.append("allow_insecure_cluster")
    if values["cluster"] is None:
        if given:
            raise UsageError(
                "set",
                given[0].replace("_", "-"),
                cause="it goes with --cluster",
                advice="add --cluster ADDRESS, or leave it out",
            )
        return None
    return ClusterOptions(
        values["cluster"],
        path_map=tuple(values["path_map"]),
        ca=values["cluster_ca"],
        cert=values["cluster_cert"],
        key=values["cluster_key"],
        allow_insecure=values["allow_insecure_cluster"],
        wait_seconds=values["cluster_wait"],
    )


def check_against_reference(context: click.Context, values: dict[str, Any]) -> None:
    """Refuse what would be without effect: by reference nothing is sent from here, and a list is not shared."""
    if values["by_reference"] and (values["cluster"] or values["partition"]):
        raise click.UsageError("--cluster and --partition are for what is sent, not for --by-reference", context)
