"""`rfbulk upload … --by-reference`: the service fetches a bucket's objects by signed URLs."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click

from rfbulk.cli.ingest import ingest_with, preview_with
from rfbulk.cli.options import Globals
from rfbulk.cli.running import run
from rfbulk.cli.upload_options import check_writable
from rfbulk.cli.watching import watched
from rfbulk.client.bucket_ingest import Objects
from rfbulk.client.ingest_preview import preview_objects
from rfbulk.errors import UsageError
from rfbulk.settings import IngestOptions, ObjectOptions

if TYPE_CHECKING:
    from collections.abc import Awaitable

    import anyio

    from rfbulk.client import Client
    from rfbulk.core.ingest_report import IngestReport
    from rfbulk.core.references import MediaKind
    from rfbulk.events import OnEvent

_OF_SENDING: Final = {
    "shard_images": "--shard-images",
    "shard_bytes": "--shard-bytes",
    "concurrency": "--concurrency",
    "processes": "--processes",
    "memory": "--memory",
    "limit_rate": "--limit-rate",
    "verify": "--verify",
    "on_unsure": "--on-unsure",
    "on_changed": "--on-changed",
    "max_failures": "--max-failures",
    "retry_failed": "--retry-failed",
    "one_by_one": "--one-by-one",
    "check_images": "--check-images",
}
"""Options of an upload that mean nothing where the service fetches the bytes itself."""


def refer(
    context: click.Context, options: Globals, sources: list[str], batch: str, media: MediaKind, values: dict[str, Any]
) -> int:
    """Ask for an ingest of buckets' objects and return the exit code. `values` are the options of the upload."""
    objects = _objects_from(context, values)
    try:
        ingest_options = IngestOptions(
            batch_name=values["batch_name"],
            ingest_id=values["ingest_id"],
            notifications_url=values["notifications_url"],
            wait=values["wait"],
            wait_seconds=values["timeout"],
            quiet_seconds=values["quiet_period"],
            restart=values["restart"],
            report_file=values["report"],
        )
        if values["report"] is not None:
            check_writable(values["report"])
    except UsageError as error:
        raise click.UsageError(str(error), context) from None

    def work(client: Client, on_event: OnEvent, stop: anyio.Event) -> Awaitable[IngestReport]:
        return client.ingest_bucket(
            sources, batch, media, objects=objects, options=ingest_options, on_event=on_event, stop=stop
        )

    return run(options, watched(context, partial(ingest_with, work=work)))


def preview_refer(
    context: click.Context, options: Globals, sources: list[str], media: MediaKind, values: dict[str, Any]
) -> int:
    """Print what would be asked for, and return the exit code."""
    objects = Objects(sources, media, _objects_from(context, values))
    return run(options, partial(preview_with, work=lambda settings: preview_objects(objects, settings)))


def _objects_from(context: click.Context, values: dict[str, Any]) -> ObjectOptions:
    _refuse_what_means_nothing(context)
    try:
        return ObjectOptions(
            include=values["include"],
            exclude=values["exclude"],
            recursive=values["recursive"],
            names=values["names"],
            url_expiry_seconds=values["url_expiry"],
        )
    except UsageError as error:
        raise click.UsageError(str(error), context) from None


def _refuse_what_means_nothing(context: click.Context) -> None:
    given = [
        spelled
        for name, spelled in _OF_SENDING.items()
        if name in context.params and context.get_parameter_source(name) is not click.core.ParameterSource.DEFAULT
    ]
    if given:
        text = f"{', '.join(given)}: nothing is sent from here with --by-reference, so this has no meaning"
        raise click.UsageError(text, context)
