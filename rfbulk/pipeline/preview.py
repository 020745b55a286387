"""What an upload would do, from the source alone: nothing is sent and nothing is recorded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from rfbulk.core.model import SKIPPED, Refusal

if TYPE_CHECKING:
    from rfbulk.core.model import Entry
    from rfbulk.core.partition import Partition
    from rfbulk.core.planning import Planner, SinglePlanner
    from rfbulk.pipeline.ports import Source

MAX_SHOWN = 1000


class Preview(msgspec.Struct):
    """The plan in numbers, and the first thousand names that had to change and files that would not be sent.

    `content` says what "images" are here: images or videos.
    """

    content: str = "images"
    images: int = 0
    bytes: int = 0
    shards: int = 0
    tar_bytes: int = 0
    renamed: int = 0
    renamed_examples: list[tuple[str, str]] = []
    refused: dict[str, int] = {}
    refused_examples: list[tuple[str, str, str]] = []
    skipped: int = 0
    advice: str = ""
    """What sending it would take."""


def preview(source: Source, planner: Planner | SinglePlanner, partition: Partition | None = None) -> Preview:
    """Walk the source and plan it, or one share of it. Blocks on the disk: call it in a thread."""
    result, refused = Preview(), Counter[str]()
    for group in source.scan():
        entries = [entry for entry in group.entries if partition is None or partition.holds(entry.path)]
        for entry in entries:
            _count(result, entry)
        for refusal in group.refusals:
            if partition is None or partition.holds(refusal.path):
                _count_refusal(result, refused, refusal)
        _add_shards(result, planner.add(entries))
    _add_shards(result, planner.rest())
    result.refused = dict(refused)
    return result


def _count(result: Preview, entry: Entry) -> None:
    result.images += 1
    result.bytes += entry.size
    path = entry.path.decode("utf-8", "backslashreplace")
    if path != entry.name:
        result.renamed += 1
        if len(result.renamed_examples) < MAX_SHOWN:
            result.renamed_examples.append((path, entry.name))


def _count_refusal(result: Preview, refused: Counter[str], refusal: Refusal) -> None:
    if refusal.reason in SKIPPED:
        result.skipped += 1
        return
    refused[refusal.reason] += 1
    if len(result.refused_examples) < MAX_SHOWN:
        path = refusal.path.decode("utf-8", "backslashreplace")
        result.refused_examples.append((path, refusal.reason, refusal.detail))


def _add_shards(result: Preview, shards: list[tuple[tuple[Entry, ...], int]]) -> None:
    result.shards += len(shards)
    result.tar_bytes += sum(size for _, size in shards)
