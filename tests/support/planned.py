"""Shards planned in a checkpoint, without a loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.edge import checkpoint as module

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.model import Entry
    from rfbulk.edge.checkpoint import Checkpoint


def plan_now(checkpoint: Checkpoint, shards: Sequence[tuple[tuple[Entry, ...], int]]) -> None:
    """Record planned shards, in order, as `Checkpoint.plan_shards` does."""
    checkpoint._writer.run_blocking(lambda db: module._insert_planned(db, shards))
