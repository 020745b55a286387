"""`rfbulk emulator serve`, and the emulator that `--emulator` starts for one command."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import click

from rfbulk.cli.options import CONTEXT, DURATION, SIZE, ExitCode, Globals, global_options, globals_of
from rfbulk.cli.printing import print_json
from rfbulk.cli.running import Session, emulator_dir, run
from rfbulk.emulator import (
    DownloadOptions,
    Emulator,
    EmulatorOptions,
    JobOptions,
    JobScript,
    WebhookOptions,
    parse_fault,
)


@contextlib.asynccontextmanager
async def embedded(options: Globals) -> AsyncIterator[Emulator]:
    """Start an emulator whose batches last in a folder of the user's."""
    folder = emulator_dir(options)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    async with Emulator(EmulatorOptions(store="folder", directory=folder)) as emulator:
        yield emulator


@click.command(context_settings=CONTEXT)
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8790, show_default=True, help="0: any free one.")
@click.option("--dir", "directory", type=click.Path(path_type=Path), metavar="DIR", help="Keep everything in a folder.")
@click.option("--count-only", is_flag=True, help="Read and count what arrives, keep nothing: for benchmarks.")
@click.option("--workspace-name", default="emulator", show_default=True, help="The workspace it plays.")
@click.option("--key", default="emulator", show_default=True, help="The api key it takes.")
@click.option("--fault", "faults", multiple=True, metavar="FAULT", help="Script a fault: put:status=503,times=2.")
@click.option("--grant-seconds", type=DURATION, default="1h", show_default=True, help="How long a signed URL lives.")
@click.option("--max-shard-bytes", type=SIZE, help="The largest shard it grants.")
@click.option("--index-delay", type=DURATION, default="0", show_default=True, help="From stored to indexed.")
@click.option("--page-size", type=click.IntRange(1, 1000), default=100, show_default=True, help="Rows on a page.")
@click.option("--overwrite/--once-only", default=False, help="Whether a second PUT to a URL is taken or answered 412.")
@click.option("--second-put", type=click.Choice(["replaces", "indexes-again"]), default="replaces", show_default=True)
@click.option("--list-unfilled/--hide-unfilled", default=True, help="Whether shards never filled are listed.")
@click.option("--shard-id-in-url/--no-shard-id-in-url", default=True, help="Whether the signed URL names the shard.")
@click.option("--count-mode", type=click.Choice(["indexed", "accepted"]), default="indexed", show_default=True)
@click.option(
    "--equal-names", type=click.Choice(["keep-both", "last-wins", "fail"]), default="keep-both", show_default=True
)
@click.option("--sample-batch", metavar="ID", help="Fill a batch with a few parts, to try exports with.")
@click.option(
    "--download-seconds", type=DURATION, default="1h", show_default=True, help="How long a download URL lives."
)
@click.option("--download-store", type=click.Choice(["google", "s3"]), default="google", show_default=True)
@click.option(
    "--download-hashes", type=click.Choice(["both", "crc32c", "md5", "none"]), default="both", show_default=True
)
@click.option("--download-etag", type=click.Choice(["md5", "opaque", "weak", "none"]), default="md5", show_default=True)
@click.option(
    "--download-length", type=click.Choice(["stated", "chunked", "unstated"]), default="stated", show_default=True
)
@click.option("--ranges/--no-ranges", default=True, help="Whether ranges of files can be downloaded.")
@click.option("--job-seconds", type=DURATION, default="0", show_default=True, help="How long a job takes at least.")
@click.option("--job-end", type=click.Choice(["as-it-went", "fail", "stall"]), default="as-it-went", show_default=True)
@click.option("--fail-tasks", type=click.IntRange(0), default=0, show_default=True, help="So many tasks of a job fail.")
@click.option("--task-files", type=click.IntRange(1, 10_000), default=256, show_default=True, help="Images to a task.")
@click.option("--repeated-start", type=click.Choice(["accepted", "conflict"]), default="accepted", show_default=True)
@click.option("--status-words", type=click.Choice(["plain", "long"]), default="plain", show_default=True)
@click.option("--out-of-credits", is_flag=True, help="Answer the start of a job with 429.")
@click.option("--webhook-authorization", type=click.Choice(["bearer", "bare", "none"]), default="bearer")
@click.option("--webhook-attempts", type=click.IntRange(1, 1000), default=6, show_default=True, help="At most so many.")
@click.option("--webhook-duplicates", type=click.IntRange(0, 1000), default=0, help="More deliveries of each.")
@click.option("--webhook-conflicting", is_flag=True, help="Then say the contrary under the same event id.")
@click.option("--webhook-reorder", is_flag=True, help="Let each second notification overtake the one ahead.")
@click.option("--webhook-silent", is_flag=True, help="Send no notifications.")
@click.option("--webhook-remote", is_flag=True, help="Send notifications to other machines, too.")
@global_options
@click.pass_context
def serve(context: click.Context, /, faults: tuple[str, ...], **values: Any) -> int:
    """Run a server of the service's API on this machine, until Ctrl-C.

    \b
    rfbulk emulator serve
    ROBOFLOW_API_URL=http://127.0.0.1:8790 ROBOFLOW_API_KEY=emulator rfbulk upload images photos --batch-id try
    rfbulk emulator serve --dir /tmp/service --fault put:status=503,times=2 --fault grant:reset
    rfbulk emulator serve --sample-batch results --fault download:truncate --download-seconds 10s
    """
    try:
        options = _options(values)
        script = [parse_fault(fault) for fault in faults]
    except ValueError as error:
        raise click.UsageError(str(error), context) from None
    sample = values["sample_batch"]
    return run(globals_of(context), partial(_serve, options=options, script=script, sample=sample))


def _options(values: dict[str, Any]) -> EmulatorOptions:
    directory = values["directory"]
    if directory is not None:
        directory.mkdir(parents=True, exist_ok=True)
    limit = {"max_shard_bytes": values["max_shard_bytes"]} if values["max_shard_bytes"] else {}
    return EmulatorOptions(
        host=values["host"],
        port=values["port"],
        workspace=values["workspace_name"],
        api_key=values["key"],
        store="count" if values["count_only"] else "folder" if directory else "memory",
        directory=directory,
        grant_seconds=int(values["grant_seconds"]),
        index_delay_seconds=values["index_delay"],
        page_size=values["page_size"],
        if_generation_match=not values["overwrite"],
        second_put=values["second_put"],
        list_unfilled_shards=values["list_unfilled"],
        shard_id_in_url=values["shard_id_in_url"],
        count_mode=values["count_mode"],
        equal_names=values["equal_names"],
        downloads=_download_options(values),
        jobs=_job_options(values),
        webhooks=_webhook_options(values),
        **limit,
    )


def _download_options(values: dict[str, Any]) -> DownloadOptions:
    return DownloadOptions(
        seconds=int(values["download_seconds"]),
        dialect=values["download_store"],
        hashes=values["download_hashes"],
        etag=values["download_etag"],
        length=values["download_length"],
        ranges=values["ranges"],
    )


def _job_options(values: dict[str, Any]) -> JobOptions:
    return JobOptions(
        script=JobScript(seconds=values["job_seconds"], fail_tasks=values["fail_tasks"], end=values["job_end"]),
        task_files=values["task_files"],
        repeated_start=values["repeated_start"],
        out_of_credits=values["out_of_credits"],
        status_words=values["status_words"],
    )


def _webhook_options(values: dict[str, Any]) -> WebhookOptions:
    return WebhookOptions(
        authorization=values["webhook_authorization"],
        attempts=values["webhook_attempts"],
        duplicates=values["webhook_duplicates"],
        conflicting=values["webhook_conflicting"],
        reorder=values["webhook_reorder"],
        silent=values["webhook_silent"],
        allow_remote=values["webhook_remote"],
    )


async def _serve(session: Session, *, options: EmulatorOptions, script: list[Any], sample: str | None) -> int:
    def on_ready(url: str) -> None:
        if session.options.json:
            print_json({"url": url, "workspace": options.workspace})
            return
        click.echo(f"the emulator listens at {url}, workspace and api key {options.workspace}; Ctrl-C ends it")

    async with Emulator(options) as emulator:
        emulator.faults.add(*script)
        if sample is not None:
            await emulator.add_sample_batch(sample)
        on_ready(emulator.url)
        await anyio.sleep_forever()
    return ExitCode.DONE
