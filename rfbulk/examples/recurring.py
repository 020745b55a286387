"""A standing automation: folders that are complete become batches, batches become jobs, jobs become results.

    export ROBOFLOW_API_KEY=…
    python -m rfbulk.examples.recurring ~/cameras --workflow-id detect --results ~/results \\
        --key-file publishable.key --public-url https://me.example/roboflow --port 8787

Each subfolder in which there is a file named DONE is uploaded into the batch of its name. The service tells the webhook
when it has taken one in; then a job is started on it, once, and its results are brought home. Killed and started again,
it goes on: saying to rfbulk what was said before is cheap, and does nothing twice.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

import rfbulk

log = logging.getLogger("recurring")


@dataclass
class Automation:
    """What is watched and what is made of it. `public_url` is where the service reaches `app`."""

    client: rfbulk.Client
    folder: Path
    results: Path
    workflow_id: str
    keys: list[str]
    public_url: str
    seconds: float = 60.0
    done: set[str] = field(default_factory=set)

    async def look_again_and_again(self) -> None:
        """Upload each folder that is complete. What was uploaded before costs a look at its checkpoint."""
        while True:
            for marker in sorted(self.folder.glob("*/DONE")):
                if marker.parent.name not in self.done:
                    await self.upload(marker.parent)
            await asyncio.sleep(self.seconds)

    async def upload(self, folder: Path) -> None:
        """Upload a folder; trouble that passes is met again at the next look."""
        options = rfbulk.UploadOptions(notifications_url=self.public_url, wait=False)
        try:
            report = await self.client.upload_images(folder, folder.name, options=options)
        except rfbulk.RfbulkError as error:
            log.warning("%s: %s", folder.name, error)
            return
        log.info("%s: %d of %d images sent", folder.name, report.sent, report.planned)
        for failure in report.failures:
            log.warning("%s: %s %s", failure.path, failure.reason, failure.detail)
        self.done.add(folder.name)

    async def heard(self, notice: Any, _body: bytes) -> None:
        """Go on with a batch that was taken in. A notification is a hint: the service is asked whether it is so."""
        batch = getattr(notice, "batch_id", "")
        if not batch or not await self.client.confirms(notice):
            return
        state = await self.client.wait_for_batch(batch)
        if not state.is_ready or state.failed_files:
            log.warning("%s is incomplete: no job is started on it", batch)
            return
        job = rfbulk.WorkflowJob(batch_id=batch, workflow_id=self.workflow_id)
        started = await self.client.start_job(job)  # the same job for each of its shards' notifications
        ended = await self.client.wait_for_job(started.job_id, is_new=True)
        if not ended.succeeded:
            log.warning("job %s failed: %s", ended.job_id, "; ".join(ended.reasons))
            return
        for output in await self.client.output_batches(started.job_id):
            report = await self.client.export(output, self.results / batch)
            log.info("%s: %d files of results", batch, report.files)

    async def serve(self, port: int) -> None:
        """Listen and work until cancelled. Put a server that speaks TLS in front; an application of yours will do."""
        async with self.client, self.client.webhook(self.keys, on_notice=self.heard) as receiver:
            app = web.Application()
            app.add_subapp("/roboflow/", receiver.app)
            runner = web.AppRunner(app)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", port).start()
                await self.look_again_and_again()
            finally:
                await runner.cleanup()


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Make batches of folders, jobs of batches, and results of jobs.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--workflow-id", required=True)
    parser.add_argument("--key-file", type=Path, required=True, help="the workspace's publishable key")
    parser.add_argument("--public-url", required=True, help="where the service reaches /roboflow/ of this machine")
    parser.add_argument("--port", type=int, default=8787)
    given = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    keys = given.key_file.read_text().split()
    work = Automation(rfbulk.Client(), given.folder, given.results, given.workflow_id, keys, given.public_url)
    with suppress(KeyboardInterrupt):
        asyncio.run(work.serve(given.port))


if __name__ == "__main__":
    main()
