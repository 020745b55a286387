"""The client uploads images, and looks at what it has uploaded."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from typing import TYPE_CHECKING

from rfbulk.emulator.images import write_images

if TYPE_CHECKING:
    from pathlib import Path

    from tests.compat.client import Run


def flat_images(folder: Path, count: int, seed: int) -> Counter[str]:
    """Write images into one folder, since the client looks into no other; return how often each hash is there."""
    nested = folder.with_name(f"{folder.name}-nested")
    write_images(nested, count, seed)
    folder.mkdir()
    for number, path in enumerate(sorted(nested.rglob("*.png"))):
        path.rename(folder / f"{number:04}-{path.name}")
    return Counter(hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir())


def try_batch(run: Run, batch_id: str, count: int, kind: str) -> None:
    """Let the client make a batch and look at it in every way it knows."""
    images = run.folder / batch_id
    hashes = flat_images(images, count, seed=count)
    names = Counter(path.name for path in images.iterdir())
    expected_shards = 0 if kind == "simple-batch" else -(-count // 256)

    def create() -> None:
        run.command("create-batch-of-images", "--batch-id", batch_id, "--images-dir", str(images))
        run.portal.call(run.emulator.settled)

    def every_image_arrived_once() -> None:
        ledger = run.emulator.ledger(batch_id)
        assert hashes == ledger.hashes, "the hashes differ"
        assert names == ledger.names, "the names differ"
        assert (ledger.failed, ledger.granted, ledger.stored) == ({}, expected_shards, expected_shards or count)

    def show_details() -> None:
        output = run.command("show-batch-details", "--batch-id", batch_id)
        assert kind in output, output
        assert re.search(rf"Files Count\W+{count}\b", output), output

    def list_batches() -> None:
        assert batch_id in run.command("list-batches")

    def list_content() -> None:
        listed = run.records("list-batch-content", batch_id)
        assert names == Counter(str(each["file_name"]) for each in listed)

    def list_ingest_details() -> None:
        rows = run.records("list-ingest-details", batch_id)
        assert len(rows) == expected_shards, rows
        assert "success" in run.command("list-ingest-details", "--batch-id", batch_id) or not rows

    for check in (create, every_image_arrived_once, list_batches, show_details, list_content, list_ingest_details):
        run.step(f"{batch_id}: {check.__name__.replace('_', ' ')}", check)
