"""The account of a batch: how often each image is in it, what failed, and what became of each shard.

The oracle of tests: it is read from what was indexed, not from what clients were told.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rfbulk.emulator.state import unpack_members

if TYPE_CHECKING:
    from rfbulk.emulator.state import Batch


@dataclass(frozen=True, slots=True)
class LedgerShard:
    """One granted shard: `registered`, `uploaded`, `indexed` or `failed`, and how many objects were stored for it."""

    id: str
    status: str
    puts: int
    members: int
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a batch holds. A count store keeps no hashes; a batch that does not exist holds nothing."""

    hashes: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    failed: dict[str, str] = field(default_factory=dict)
    shards: list[LedgerShard] = field(default_factory=list)
    granted: int = 0
    stored: int = 0

    def to_json(self) -> dict[str, object]:
        """Return the same as values that JSON can write."""
        return {
            "hashes": dict(self.hashes),
            "names": dict(self.names),
            "failed": self.failed,
            "shards": self.shards,
            "granted": self.granted,
            "stored": self.stored,
        }


def read_ledger(batch: Batch | None) -> Ledger:
    """Draw up the account of a batch."""
    if batch is None:
        return Ledger()
    ledger = Ledger(
        failed=dict(pair for shard in batch.shards for pair in shard.failed),
        shards=[LedgerShard(s.shard_id, s.status, s.puts, s.indexed, s.failure) for s in batch.shards],
        granted=len(batch.shards),
        stored=len(batch.files) + sum(shard.puts > 0 for shard in batch.shards),
    )
    for each in batch.single_files():
        ledger.names[each.name] += 1
        ledger.hashes.update([each.sha256.hex()] if each.sha256 else [])
    for content in batch.contents:
        members = unpack_members(content.members)
        ledger.names.update(member.name for member in members)
        ledger.hashes.update(member.sha256.hex() for member in members if member.sha256)
    return ledger
