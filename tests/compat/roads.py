"""Every road of the client into a batch beside rfbulk's, on one emulator: the batches are equal."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from rfbulk.core.naming import source_path
from tests.compat.client import COMMAND_SECONDS, PROJECT, client_environment
from tests.compat.uploads import flat_images

if TYPE_CHECKING:
    from tests.compat.client import Run

_WRITE_VIDEO = """
import sys, cv2, numpy
for number in range(int(sys.argv[2])):
    path = f"{sys.argv[1]}/clip-{number:02}.avi"
    writer = cv2.VideoWriter(path, cv2.VideoWriter_fourcc(*"MJPG"), 5, (64, 48))
    for frame in range(5):
        writer.write(numpy.full((48, 64, 3), 20 * number + frame, dtype=numpy.uint8))
    writer.release()
"""
VIDEOS = 6


def try_roads(run: Run) -> None:
    """Fill batches by both clients, road by road, and compare what is in them."""
    for check in (single_images, shards, references_to_images, references_to_videos, query, videos):
        run.step(f"beside rfbulk: {check.__name__.replace('_', ' ')}", partial(check, run))


def single_images(run: Run) -> None:
    """The client posts folders of up to 32 images one by one."""
    folder = run.folder / "beside-20"
    flat_images(folder, 20, seed=20)
    command = ["create-batch-of-images", "--images-dir", str(folder)]
    _compare(run, "single", command, ["images", str(folder), "--one-by-one"])


def shards(run: Run) -> None:
    folder = run.folder / "beside-300"
    flat_images(folder, 300, seed=300)
    command = ["create-batch-of-images", "--images-dir", str(folder)]
    _compare(run, "shards", command, ["images", str(folder)])


def references_to_images(run: Run) -> None:
    path = _references(run, "png", 7)
    command = ["create-batch-of-images", "--data-source", "references-file", "--references", path]
    _compare(run, "image-references", command, ["references", path, "--kind", "images"])


def references_to_videos(run: Run) -> None:
    path = _references(run, "mp4", 3)
    command = ["create-batch-of-videos", "--data-source", "references-file", "--references", path]
    _compare(run, "video-references", command, ["references", path, "--kind", "videos"])


def query(run: Run) -> None:
    command = ["create-batch-of-images", "--data-source", "roboql", "--query", "tag:street"]
    _compare(run, "roboql", command, ["query", "tag:street"])


def videos(run: Run) -> None:
    """The client opens each video, so they are real ones, which its own environment writes."""
    folder = run.folder / "beside-videos"
    folder.mkdir()
    python = run.client.parent / "python"
    subprocess.run([python, "-c", _WRITE_VIDEO, folder, str(VIDEOS)], check=True, capture_output=True)
    assert len(list(folder.iterdir())) == VIDEOS
    command = ["create-batch-of-videos", "--videos-dir", str(folder)]
    _compare(run, "videos", command, ["videos", str(folder)])


def _compare(run: Run, road: str, theirs: list[str], ours: list[str]) -> None:
    run.command(*theirs, "--batch-id", f"theirs-{road}")
    run.portal.call(run.emulator.settled)
    rfbulk(run, "upload", *ours, "--batch-id", f"ours-{road}", "--quiet-period", "100ms")
    first, second = run.emulator.ledger(f"theirs-{road}"), run.emulator.ledger(f"ours-{road}")
    assert first.names, "nothing arrived"
    led_back = Counter(source_path(name).decode() for name in second.names.elements())
    assert (first.names, first.hashes, first.failed) == (led_back, second.hashes, second.failed)
    kinds = [kind_of(run, f"{whose}-{road}") for whose in ("theirs", "ours")]
    assert kinds[0] == kinds[1], kinds


def kind_of(run: Run, batch_id: str) -> list[str]:
    """Return what kind of batch the service says it is."""
    said = json.loads(rfbulk(run, "batch", "show", batch_id, "--json"))
    return [said["batch_type"], said["content_type"]]


def rfbulk(run: Run, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Run a command of ours and return what it printed."""
    finished = subprocess.run(
        [sys.executable, "-m", "rfbulk", *arguments],
        env=client_environment(run.emulator) | {"RFBULK_STATE_DIR": str(run.folder / "state")} | (environment or {}),
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
        timeout=COMMAND_SECONDS,
    )
    assert finished.returncode == 0, f"exit {finished.returncode}: {finished.stdout}{finished.stderr}"
    return finished.stdout


def _references(run: Run, suffix: str, count: int) -> str:
    rows = [{"name": f"{number}.{suffix}", "url": f"https://example.com/{number}"} for number in range(count)]
    path: Path = run.folder / f"beside.{suffix}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return os.fspath(path)
