"""What an ingest has asked for is durable, told apart by name and content, and holds no URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from rfbulk.core.ingesting import Accepted
from rfbulk.core.references import Reference
from rfbulk.edge.ingest_checkpoint import IngestCheckpoint, IngestIdentity, ingest_summaries, open_ingest_checkpoint
from rfbulk.errors import CheckpointBusy

pytestmark = pytest.mark.anyio
IDENTITY = IngestIdentity("https://api.test", "workspace", "spring", "images", "/list.jsonl")
A, B, C = (Reference(name, f"mark-{name}", "https://canary.example") for name in "abc")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def checkpoint(stack: ExitStack, tmp_path: Path) -> IngestCheckpoint:
    return stack.enter_context(open_ingest_checkpoint(tmp_path, IDENTITY))


async def test_references_are_told_apart_by_what_became_of_them(checkpoint: IngestCheckpoint) -> None:
    first = await checkpoint.plan("i-1", [A])
    await checkpoint.accept(first, Accepted(shards=2))
    await checkpoint.plan("i-2", [B])
    found = await checkpoint.sort_out([A, B, C, Reference("a", "other")])
    assert (found.new, found.accepted, found.changed) == ([C], 1, [Reference("a", "other")])
    assert found.pending == [(2, B)]
    assert [each.ingest_id for each in await checkpoint.pending()] == ["i-2"]
    totals = await checkpoint.totals()
    assert (totals.accepted, totals.pending, totals.lost, totals.requests, totals.shards) == (1, 1, 0, 1, 2)
    assert totals.ingest_ids == ["i-1", "i-2"]


async def test_what_a_request_did_not_ask_for_is_lost_until_it_is_found_again(checkpoint: IngestCheckpoint) -> None:
    planned = await checkpoint.plan("i-1", [A, B])
    assert await checkpoint.accept(planned, Accepted(present=frozenset({"a"}))) == ["b"]
    assert (await checkpoint.totals()).lost == 1
    found = await checkpoint.sort_out([A, B])
    assert (found.new, found.accepted) == ([B], 1)
    await checkpoint.accept(await checkpoint.plan("i-2", [B]), Accepted(is_duplicated=True, is_from_before=True))
    totals = await checkpoint.totals()
    assert (totals.accepted, totals.lost, totals.duplicated, totals.from_before) == (2, 0, 1, 1)


async def reopened(stack: ExitStack, folder: Path, *, restart: bool = False) -> IngestCheckpoint:
    """Be another process on the same checkpoint."""

    def work() -> IngestCheckpoint:
        stack.close()
        return stack.enter_context(open_ingest_checkpoint(folder, IDENTITY, restart=restart))

    return await anyio.to_thread.run_sync(work)


async def test_it_outlives_its_process(checkpoint: IngestCheckpoint, stack: ExitStack, tmp_path: Path) -> None:
    await checkpoint.plan("i-1", [A])
    await checkpoint.record_fact("baseline", "7")
    again = await reopened(stack, tmp_path)
    assert await again.fact("baseline") == "7"
    assert (await again.sort_out([A])).pending == [(1, A)]
    anew = await reopened(stack, tmp_path, restart=True)
    assert (await anew.sort_out([A])).new == [A]


def test_it_is_held_by_one(checkpoint: IngestCheckpoint, tmp_path: Path) -> None:
    with pytest.raises(CheckpointBusy), open_ingest_checkpoint(tmp_path, IDENTITY):
        pass


async def test_its_summary_tells_how_far_it_is_and_no_url_is_in_it(
    checkpoint: IngestCheckpoint, stack: ExitStack, tmp_path: Path
) -> None:
    await checkpoint.plan("i-1", [A, B])

    def look() -> tuple[list[dict[str, Any]], bytes]:
        stack.close()
        return ingest_summaries(tmp_path), b"".join(path.read_bytes() for path in tmp_path.iterdir())

    (summary,), content = await anyio.to_thread.run_sync(look)
    assert (summary["kind"], summary["batch"], summary["left"], summary["sent"]) == ("ingest", "spring", 2, 0)
    assert summary["sources"] == ["/list.jsonl"]
    assert b"canary" not in content


def test_another_source_kind_or_name_is_another_ingest() -> None:
    others = [
        IngestIdentity("https://api.test", "workspace", "spring", "videos", "/list.jsonl"),
        IngestIdentity("https://api.test", "workspace", "spring", "images", "/other.jsonl"),
        IngestIdentity("https://api.test", "workspace", "spring", "images", "/list.jsonl", "mine"),
    ]
    assert len({IDENTITY.id, *(other.id for other in others)}) == 4
