"""What earlier uploads of this machine did in how long: checkpoints remember it, advice is made of it."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec.structs import replace

from rfbulk.core.advice import Measured
from rfbulk.core.forecast import coarse
from rfbulk.edge.checkpoint_file import facts_of, newest_first
from rfbulk.errors import RfbulkError

if TYPE_CHECKING:
    from rfbulk.edge.checkpoint import Checkpoint

FACT: Final = "measured"
MOST_LOOKED_AT: Final = 20
"""Checkpoints that are looked into, the latest first: each costs some milliseconds."""


async def remember(checkpoint: Checkpoint, measured: Measured) -> None:
    """Record what a run did, unless nothing follows from it."""
    if measured.tells:
        now = replace(measured, ended=time.time())
        await checkpoint.record_fact(FACT, msgspec.json.encode(now).decode())


def latest_measured(folder: Path, *, road: str, service: str) -> tuple[Measured, str] | None:
    """Return what the latest upload of this road to this service did, and in words which that was. Blocks.

    What cannot be read is left out: advice is not worth an error.
    """
    with suppress(OSError):
        for path in newest_first(folder)[:MOST_LOOKED_AT]:
            with suppress(RfbulkError, msgspec.MsgspecError, OSError, KeyError):
                facts = facts_of(path)
                if FACT in facts and (facts.get("road"), facts.get("service")) == (road, service):
                    measured = msgspec.json.decode(facts[FACT], type=Measured)
                    age = coarse(max(0.0, time.time() - measured.ended))
                    return measured, f"the rate of the upload into batch {facts['batch']} {age} ago"
    return None
