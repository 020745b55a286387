"""What the carriers of an upload share: how a row of failed attempts is remembered, and how files are looked into."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from rfbulk.core.model import Entry, RefusalReason

Look: TypeAlias = "Callable[[Entry], tuple[RefusalReason, str] | None]"

FLUSH_SECONDS = 5.0
"""What a cancelled upload gets to record that an attempt cannot have arrived."""


@dataclass(slots=True)
class Trouble:
    """A row of failed attempts at one shard: when it began, how many, and how many grants ended meanwhile."""

    began: float = 0.0
    failures: int = 0
    grants_ended: int = 0
