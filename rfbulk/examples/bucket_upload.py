"""A script that uploads a bucket's images, tells how far it is, and says by its exit code what came of it.

    pip install 'rfbulk[cloud]'
    export ROBOFLOW_API_KEY=… AWS_PROFILE=…                  # or what your cloud's own tools go by
    python -m rfbulk.examples.bucket_upload s3://bucket/photos/ spring

Objects stream through memory into the batch, and touch no disk. Interrupted, the same again goes on.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

import rfbulk

log = logging.getLogger("bucket_upload")


def tell(event: rfbulk.events.Event) -> None:
    """Log what a person wants to know; there are events for everything else."""
    match event:
        case rfbulk.events.UploadProgress():
            log.info("%d of %d images", event.images_sent, event.images_planned)
        case rfbulk.events.FileNamed():
            log.warning("%s: %s", event.failure.path, event.failure.reason)
        case rfbulk.events.Warned():
            log.warning("%s", event.text)


async def upload(source: str, batch_id: str, include: tuple[str, ...]) -> bool:
    """Upload, and then audit: what the bucket has, what was sent and what the service lists must agree."""
    options = rfbulk.UploadOptions(include=include, memory_bytes=128 << 20)
    async with rfbulk.Client() as client:
        report = await client.upload_images(source, batch_id, options=options, on_event=tell)
        log.info("%d images are in batch %s, confirmed by the service: %s", report.sent, batch_id, report.is_confirmed)
        audit = await client.verify(batch_id, source)
    for difference in audit.differences:
        log.warning("%s: %s %s", difference.kind, difference.path or difference.name, difference.detail)
    return not report.has_failures and audit.agrees


def main() -> None:
    """Upload once."""
    parser = argparse.ArgumentParser(description="Upload the images of a bucket.")
    parser.add_argument("source", help="s3://…, gs://… or az://…; a folder of this machine will do, too")
    parser.add_argument("batch_id")
    parser.add_argument("--include", action="append", default=[], help="as in '*.jpg'")
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    try:
        is_well = asyncio.run(upload(given.source, given.batch_id, tuple(given.include)))
    except rfbulk.RfbulkError as error:
        sys.exit(str(error))  # it says what failed, on which thing, why, and what to do
    sys.exit(0 if is_well else 3)


if __name__ == "__main__":
    main()
