"""The client asks for ingests that need no upload, and has itself told how they end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from rfbulk.emulator.images import write_images
from tests.support.receiver import receiver

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.compat.client import Run
    from tests.support.receiver import Receiver


def try_ingests(run: Run) -> None:
    """Let the client ingest references, a query, and a folder with notifications."""
    with run.portal.wrap_async_context_manager(receiver()) as taker:
        for check in _checks(run, taker):
            run.step(f"ingests: {check.__name__.replace('_', ' ')}", check)


def _checks(run: Run, taker: Receiver) -> list[Callable[[], None]]:
    told = ["--notifications-url", taker.url]

    def references_to_images() -> None:
        path = _references(run, "images.jsonl", 3, "png")
        options = ["--data-source", "references-file", "--references", str(path), "--ingest-id", "refs"]
        output = ""
        for _ in range(2):
            output = run.command("create-batch-of-images", "--batch-id", "image-refs", *options, *told)
        assert "deduplicated" in output, output
        _settle(run)
        assert len(run.records("list-batch-content", "image-refs")) == 3
        assert [row["status_type"] for row in run.records("list-ingest-details", "image-refs")] == ["success"]

    def references_to_videos() -> None:
        path = _references(run, "videos.jsonl", 2, "mp4")
        options = ["--data-source", "references-file", "--references", str(path), "--ingest-id", "videos"]
        categories = ["--notification-category", "files-status"]
        run.command("create-batch-of-videos", "--batch-id", "video-refs", *options, *told, *categories)
        _settle(run)
        assert len(run.records("list-batch-content", "video-refs")) == 2

    def query() -> None:
        options = ["--data-source", "roboql", "--query", "tag:street", "--ingest-id", "query"]
        run.command("create-batch-of-images", "--batch-id", "query", *options, *told)
        _settle(run)
        assert len(run.records("list-batch-content", "query")) == 5

    def folder_with_notifications() -> None:
        folder = run.folder / "told"
        write_images(folder, 240, seed=1)  # a sixth of them lies in the folder itself
        options = ["--images-dir", str(folder), "--ingest-id", "folder"]
        run.command("create-batch-of-images", "--batch-id", "told", *options, *told)
        _settle(run)

    def everything_was_told() -> None:
        assert {(body["ingest_id"], body["notification"]["success"]) for body in taker.bodies} == {
            ("refs", True),
            ("videos", True),
            ("query", True),
            ("folder", True),
        }
        assert set(taker.keys) == {f"Bearer rf_{run.emulator.workspace}"}

    return [references_to_images, references_to_videos, query, folder_with_notifications, everything_was_told]


def _settle(run: Run) -> None:
    run.portal.call(run.emulator.settled)
    run.portal.call(run.emulator.notifications_settled)


def _references(run: Run, name: str, count: int, suffix: str) -> Path:
    rows = [{"name": f"{number}.{suffix}", "url": f"https://example.com/{number}"} for number in range(count)]
    path = run.folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
