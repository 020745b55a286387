"""`rfbulk cluster check`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from rfbulk.cli.cluster_options import cluster_from, cluster_options
from rfbulk.cli.options import CONTEXT, SIZE, ExitCode, global_options, globals_of
from rfbulk.cli.printing import number, plain, print_json, print_table, size
from rfbulk.cli.running import Session, run, settings_of
from rfbulk.cli.sources import sources_of
from rfbulk.client.sources import Source
from rfbulk.core.cluster_report import ClusterReport, WorkerReport
from rfbulk.core.clusters import ClusterOptions
from rfbulk.errors import UsageError

FEW_VERSIONS = ("rfbulk", "python", "distributed")


@click.command(context_settings=CONTEXT)
@click.argument("source", nargs=-1, metavar="[SOURCE]...")
@cluster_options
@click.option("--target", type=click.Path(path_type=Path), metavar="DIR", help="The folder of an export, too.")
@click.option("--speed-batch", metavar="B", help="Measure each line, by shards of no meaning into this batch.")
@click.option("--speed-url", metavar="URL", help="Measure each line, by PUTs to this URL.")
@click.option("--speed-bytes", type=SIZE, default="32MiB", show_default=True, help="What each sends for that.")
@global_options
@click.pass_context
def check(context: click.Context, /, source: tuple[str, ...], **values: Any) -> int:
    """Look at a cluster before work is given to it: versions, mounts, clocks, and the line of every worker.

    Exit codes: 0 every worker fits, 3 some do not, 1 none does, 5 the cluster cannot be reached.

    \b
    rfbulk cluster check --cluster tcp://127.0.0.1:8786 /shared/photos
    rfbulk cluster check --cluster tls://head:8786 /data/photos --path-map /data=/mnt/data
    rfbulk cluster check --cluster tls://head:8786 s3://bucket/photos/
    rfbulk cluster check --cluster tls://head:8786 --speed-batch scratch --speed-bytes 256MiB
    """
    try:
        cluster = cluster_from(values)
    except UsageError as error:
        raise click.UsageError(str(error), context) from None
    if cluster is None:
        raise click.UsageError("no cluster was named: --cluster ADDRESS", context)
    if values["speed_url"] and values["speed_batch"]:
        raise click.UsageError("--speed-batch and --speed-url are two ways to measure: choose one", context)
    command = partial(_check, cluster=cluster, sources=sources_of(source, null=False), values=values)
    return run(globals_of(context), command)


async def _check(session: Session, *, cluster: ClusterOptions, sources: list[Source], values: dict[str, Any]) -> int:
    target, speed_bytes = values["target"], values["speed_bytes"]
    if values["speed_batch"]:
        async with session.client() as client:
            report = await client.check_cluster(
                cluster, sources, target=target, speed_batch=values["speed_batch"], speed_bytes=speed_bytes
            )
    else:
        report = await _check_without_service(session, cluster, sources, values)
    if session.options.json:
        print_json(msgspec.to_builtins(report) | {"fit": report.fit})
    else:
        _print(report)
    return exit_code_of(report)


async def _check_without_service(
    session: Session, cluster: ClusterOptions, sources: list[Source], values: dict[str, Any]
) -> ClusterReport:
    """Nothing is asked of the service, so no api key is needed."""
    from rfbulk.client.cluster_check import check_cluster, given_url  # noqa: PLC0415 - loaded where it is asked for

    settings = settings_of(session.options)
    url = values["speed_url"]
    grant = None if url is None else given_url(url, allow_http=settings.allow_http)
    call = partial(check_cluster, settings, cluster, sources)
    return await call(target=values["target"], speed_bytes=values["speed_bytes"], grant=grant)


def exit_code_of(report: ClusterReport) -> ExitCode:
    """Return the exit code that tells how much of a cluster is of use."""
    if report.fit == len(report.workers):
        return ExitCode.DONE
    return ExitCode.SOME_FAILED if report.fit else ExitCode.FAILED


def _print(report: ClusterReport) -> None:
    threads = number(report.threads, "thread")
    click.echo(f"{report.fit} of {number(len(report.workers), 'worker')} at {plain(report.address)} fit, {threads}")
    headings = ["worker", "threads", *FEW_VERSIONS, "clock", "source", "line"]
    print_table(headings, [_row(report, worker) for worker in report.workers])
    for worker in report.workers:
        for fault in worker.faults:
            click.echo(f"  {plain(_name(worker))} does not fit: {plain(fault)}")
    if report.together_bytes_per_second is not None:
        click.echo(f"  all together: {size(report.together_bytes_per_second)}/s")
    for warning in report.warnings:
        click.echo(f"  {plain(warning)}")


def _row(report: ClusterReport, worker: WorkerReport) -> list[str]:
    versions = [_version(report, worker, library) for library in FEW_VERSIONS]
    speed = "" if worker.bytes_per_second is None else f"{size(worker.bytes_per_second)}/s"
    return [_name(worker), str(worker.threads), *versions, _clock(worker), _source(worker), speed]


def _name(worker: WorkerReport) -> str:
    port = worker.address.rpartition(":")[2]
    return f"{worker.host}:{port}" if worker.host else worker.address


def _version(report: ClusterReport, worker: WorkerReport, library: str) -> str:
    there = worker.versions.get(library, "none")
    return there if there == report.here.get(library) else f"{there} ≠"


def _clock(worker: WorkerReport) -> str:
    if worker.clock_seconds is None:
        return ""
    return f"{worker.clock_seconds:+.2f} s" if abs(worker.clock_seconds) > worker.clock_within else "as here"


def _source(worker: WorkerReport) -> str:
    if not worker.looked_at:
        return ""
    return "no" if worker.clock_seconds is None else "same"  # clocks are compared with those that fit
