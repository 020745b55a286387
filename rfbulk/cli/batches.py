"""`rfbulk batch list | show | files | shards | wait`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from functools import partial
from typing import Any

import click
import msgspec

from rfbulk.cli.options import CONTEXT, DURATION, ExitCode, global_options, globals_of
from rfbulk.cli.printing import number, plain, print_json, print_table
from rfbulk.cli.progress import progress_printer
from rfbulk.cli.running import Session, run
from rfbulk.client import Client
from rfbulk.core.confirming import row_kind
from rfbulk.core.wire import BatchMetadata, RemoteFile, ShardStatus
from rfbulk.errors import UsageError


@click.command("list", context_settings=CONTEXT)
@global_options
@click.pass_context
def list_batches(context: click.Context) -> int:
    """List the batches of the workspace.

    \b
    rfbulk batch list
    rfbulk batch list --json
    """
    return run(globals_of(context), _list)


async def _list(session: Session) -> int:
    found: list[BatchMetadata] = []
    async with session.client() as client:
        await client.each_batch(found.append)
    if session.options.json:
        for batch in found:
            print_json(msgspec.structs.asdict(batch))
        return ExitCode.DONE
    rows = [[b.batch_id, b.display_name, b.batch_type, b.content_type, _days_left(b)] for b in found]
    print_table(["batch", "name", "type", "content", "expires"], rows)
    return ExitCode.DONE


def _days_left(batch: BatchMetadata) -> str:
    try:
        expiry = datetime.fromisoformat(batch.expiry_date)
    except ValueError:
        return batch.expiry_date
    left = (expiry if expiry.tzinfo else expiry.replace(tzinfo=UTC)) - datetime.now(UTC)
    return f"in {number(left.days, 'day')}" if left.days >= 0 else "expired"


@click.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@global_options
@click.pass_context
def show(context: click.Context, batch_id: str) -> int:
    """Describe a batch: its type, age and expiry, how many files it holds, and how far its shards are.

    \b
    rfbulk batch show spring
    """
    return run(globals_of(context), partial(_show, batch_id=batch_id))


async def _show(session: Session, *, batch_id: str) -> int:
    kinds: Counter[str] = Counter()
    async with session.client() as client:
        batch = await _known_batch(client, batch_id)
        parts = await client.parts(batch_id) if batch.batch_type == "multipart-batch" else []
        count = None if parts else await client.count(batch_id)
        counts = [(part, await client.count(batch_id, part=part.part_name)) for part in parts]
        if batch.batch_type == "sharded-batch":
            await client.each_shard(batch_id, lambda shard: kinds.update([str(row_kind(shard.status_type))]))
    values = msgspec.structs.asdict(batch) | {"count": count, "shards": dict(kinds)}
    values["parts"] = [msgspec.structs.asdict(part) | {"count": held} for part, held in counts]
    if session.options.json:
        print_json(values)
        return ExitCode.DONE
    _print_batch(batch, values)
    return ExitCode.DONE


def _print_batch(batch: BatchMetadata, values: dict[str, Any]) -> None:
    click.echo(f"batch {plain(batch.batch_id)}: {plain(batch.display_name)}")
    click.echo(f"  type     {plain(batch.batch_type)} of {plain(batch.content_type)}")
    click.echo(f"  created  {plain(batch.created_date)}")
    click.echo(f"  expires  {plain(batch.expiry_date)} ({_days_left(batch)})")
    if values["count"] is not None:
        click.echo(f"  files    {values['count']:,}")
    if values["shards"]:
        click.echo(f"  shards   {', '.join(f'{count:,} {kind}' for kind, count in sorted(values['shards'].items()))}")
    for part in values["parts"]:
        click.echo(f"  part     {plain(part['part_name'])}: {part['count']} of {plain(part['content_type'])}")


@click.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@click.option("--part", "--part-name", metavar="P", help="One part of a multipart batch.")
@click.option("--urls", is_flag=True, help="With --json: print the download URLs, which are permissions to read.")
@global_options
@click.pass_context
def files(context: click.Context, batch_id: str, part: str | None, *, urls: bool) -> int:
    """List the files of a batch, as the service lists them.

    \b
    rfbulk batch files spring
    rfbulk batch files results --part predictions --json
    """
    return run(globals_of(context), partial(_files, batch_id=batch_id, part=part, urls=urls))


async def _files(session: Session, *, batch_id: str, part: str | None, urls: bool) -> int:
    def take(file: RemoteFile) -> None:
        if session.options.json:
            values = msgspec.structs.asdict(file)
            values["download_url"] = file.download_url.reveal() if urls else str(file.download_url)
            print_json(values)
        else:
            click.echo(plain(file.file_name))

    async with session.client() as client:
        await _known_batch(client, batch_id)
        await client.each_file(batch_id, take, part=part)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@global_options
@click.pass_context
def shards(context: click.Context, batch_id: str) -> int:
    """List the shards of a batch and how far each is.

    \b
    rfbulk batch shards spring
    """
    return run(globals_of(context), partial(_shards, batch_id=batch_id))


async def _shards(session: Session, *, batch_id: str) -> int:
    rows: list[list[str]] = []

    def take(shard: ShardStatus) -> None:
        if session.options.json:
            print_json(msgspec.to_builtins(shard))
        else:
            about = [shard.shard_id, shard.status_type, shard.status_name, f"{shard.objects:,}", shard.metadata]
            rows.append(about)

    async with session.client() as client:
        await _known_batch(client, batch_id)
        await client.each_shard(batch_id, take)
    if not session.options.json:
        print_table(["shard", "status", "name", "objects", "more"], rows)
    return ExitCode.DONE


@click.command(context_settings=CONTEXT)
@click.argument("batch_id", metavar="BATCH")
@click.option(
    "--expect", type=click.IntRange(min=0), metavar="N", help="How many files there must be. [default: as was sent]"
)
@click.option("--timeout", type=DURATION, default="2h", show_default=True, help="How long to wait.")
@global_options
@click.pass_context
def wait(context: click.Context, batch_id: str, expect: int | None, timeout: float) -> int:
    """Wait until a batch is ready: the expected number is counted and no shard is pending or failed.

    Without --expect it is the number that uploads from this machine bring. Where there was none, the batch is ready
    when nothing is pending and the count has stood still for 15 seconds.

    \b
    rfbulk batch wait spring
    rfbulk batch wait spring --expect 1024 --timeout 30m
    """
    return run(globals_of(context), partial(_wait, batch_id=batch_id, expect=expect, timeout=timeout))


async def _wait(session: Session, *, batch_id: str, expect: int | None, timeout: float) -> int:  # noqa: ASYNC109 - the user's
    with progress_printer(session.options) as on_event:
        async with session.client() as client:
            state = await client.wait_for_batch(batch_id, expect=expect, seconds=timeout, on_event=on_event)
    if session.options.json:
        print_json({"batch_id": batch_id, **msgspec.to_builtins(state)})
    else:
        of = f" of {state.expected:,}" if state.expected is not None else ""
        word = "ready" if state.is_ready else "not ready, and will not be"
        click.echo(f"batch {batch_id}: {word}: {state.count:,}{of} {'file' if state.count == 1 else 'files'} counted")
        for shard, why in state.failed:
            click.echo(f"  failed shard {plain(shard)}: {plain(why)}")
        for name, why in state.failed_files:
            click.echo(f"  failed file {plain(name)}: {plain(why)}")
    if not state.is_ready:
        return ExitCode.SERVICE_FAILED
    return ExitCode.SOME_FAILED if state.failed_files else ExitCode.DONE


async def _known_batch(client: Client, batch_id: str) -> BatchMetadata:
    batch = await client.batch(batch_id)
    if batch is None:
        raise UsageError(
            "find", f"batch {batch_id}", cause="the service does not know it", advice="`rfbulk batch list` shows all"
        )
    return batch
