"""A web application whose users upload a folder of the server, watch it go, and may cancel it.

    export ROBOFLOW_API_KEY=…
    python -m rfbulk.examples.web_upload ~/photos            # http://127.0.0.1:8080

Subfolders of the one that is named can be uploaded, each into a batch of its own. Progress comes by server-sent events.
Cancelling loses nothing: the same upload again goes on where it was. All of it lives in one event loop, which stays
free for other requests.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

import rfbulk

PAGE = """<!doctype html>
<meta charset="utf-8"><title>Uploads</title>
<form><label>Folder <input name="folder"></label> <label>Batch <input name="batch_id"></label>
<button>Upload</button> <button type="button" id="cancel" disabled>Cancel</button></form>
<p><progress max="1" value="0"></progress> <output role="status"></output></p>
<script>
const form = document.querySelector("form"), cancel = document.querySelector("#cancel");
form.onsubmit = async event => {
  event.preventDefault();
  const answer = await fetch("/uploads", {method: "POST", body: new FormData(form)});
  if (!answer.ok) { document.querySelector("output").value = await answer.text(); return; }
  const {id} = await answer.json(), source = new EventSource(`/uploads/${id}/events`);
  cancel.disabled = false;
  cancel.onclick = () => fetch(`/uploads/${id}`, {method: "DELETE"});
  source.onmessage = message => {
    const state = JSON.parse(message.data);
    document.querySelector("progress").value = state.planned ? state.sent / state.planned : 0;
    document.querySelector("output").value = `${state.state}: ${state.sent} of ${state.planned} ${state.detail}`;
    if (state.state !== "running") { source.close(); cancel.disabled = true; }
  };
};
</script>"""


@dataclass
class Upload:
    """One upload: what is known of it, and who watches. Its task is kept, so that it can be cancelled."""

    state: dict[str, Any] = field(default_factory=lambda: {"state": "running", "sent": 0, "planned": 0, "detail": ""})
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def tell(self, **values: Any) -> None:
        """Take note of news, and wake all that wait for some."""
        self.state = self.state | values
        self.changed.set()
        self.changed = asyncio.Event()

    def on_event(self, event: rfbulk.events.Event) -> None:
        """Take an event of rfbulk. It comes in this event loop, and must be taken at once."""
        if isinstance(event, rfbulk.events.UploadProgress):
            self.tell(sent=event.images_sent, planned=event.images_planned)


class Uploads:
    """The application's uploads. One client serves them all; calls of it may overlap."""

    def __init__(self, root: Path, client: rfbulk.Client) -> None:
        self.root = root.resolve()
        self.client = client
        self.known: dict[str, Upload] = {}

    async def start(self, request: web.Request) -> web.Response:
        """Begin an upload and answer with its id."""
        form = await request.post()
        folder, batch_id = (self.root / str(form.get("folder", ""))).resolve(), str(form.get("batch_id", ""))
        if not folder.is_relative_to(self.root):
            raise web.HTTPBadRequest(text="that folder is not ours to send")
        upload = self.known[str(len(self.known))] = Upload()
        upload.task = asyncio.create_task(self._carry(upload, folder, batch_id))
        return web.json_response({"id": str(len(self.known) - 1)}, status=202)

    async def _carry(self, upload: Upload, folder: Path, batch_id: str) -> None:
        try:
            report = await self.client.upload_images(folder, batch_id, on_event=upload.on_event)
        except rfbulk.RfbulkError as error:
            upload.tell(state="failed", detail=str(error))
        except asyncio.CancelledError:
            upload.tell(state="cancelled", detail="(the same upload again goes on)")
            raise
        else:
            named = [f"{failure.path}: {failure.reason}" for failure in report.failures]
            upload.tell(state="done", sent=report.sent, planned=report.planned, detail="; ".join(named[:5]))

    async def watch(self, request: web.Request) -> web.StreamResponse:
        """Send what is known of an upload, and each change of it, until it has ended."""
        upload = self._found(request)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        while True:
            changed, state = upload.changed, upload.state
            await response.write(f"data: {json.dumps(state)}\n\n".encode())
            if state["state"] != "running":
                return response
            await changed.wait()

    async def cancel(self, request: web.Request) -> web.Response:
        """End an upload at once; nothing that counts is lost."""
        upload = self._found(request)
        if upload.task is not None:
            upload.task.cancel()
            with suppress(asyncio.CancelledError):
                await upload.task
        return web.json_response(upload.state)

    def _found(self, request: web.Request) -> Upload:
        if request.match_info["id"] not in self.known:
            raise web.HTTPNotFound(text="there is no such upload")
        return self.known[request.match_info["id"]]


def application(root: Path, client: rfbulk.Client) -> web.Application:
    """Return the application. The client is entered when it starts, and left when it ends."""
    uploads = Uploads(root, client)

    async def living(_app: web.Application) -> AsyncIterator[None]:
        async with client:
            yield
            tasks = [upload.task for upload in uploads.known.values() if upload.task is not None]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def page(_request: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    app = web.Application()
    app.cleanup_ctx.append(living)
    app.router.add_get("/", page)
    app.router.add_post("/uploads", uploads.start)
    app.router.add_get("/uploads/{id}/events", uploads.watch)
    app.router.add_delete("/uploads/{id}", uploads.cancel)
    return app


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description="Upload folders of this machine by a web page.")
    parser.add_argument("root", type=Path, help="the folder whose subfolders may be uploaded")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    given = parser.parse_args()
    web.run_app(application(given.root, rfbulk.Client()), host=given.host, port=given.port)


if __name__ == "__main__":
    main()
