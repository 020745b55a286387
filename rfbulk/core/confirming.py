"""Whether the service has taken in all that was sent, from what it counts and what it says of each shard."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class RowKind(StrEnum):
    """What a shard's status amounts to. A status that is not known is not ready."""

    SUCCESS = "success"
    ERROR = "error"
    PENDING = "pending"


def row_kind(status_type: str) -> RowKind:
    """Read a `statusType` as the service's own client does: by what it contains."""
    lowered = status_type.lower()
    if "success" in lowered:
        return RowKind.SUCCESS
    return RowKind.ERROR if "error" in lowered else RowKind.PENDING


class Rows(msgspec.Struct):
    """What `/shards` lists: rows that are known to be ours by the id in their grant's URL, and all others."""

    ours: dict[RowKind, int] = {}
    others: dict[RowKind, int] = {}
    our_objects: int = 0

    def add(self, kind: RowKind, objects: int, *, is_ours: bool) -> None:
        """Count a row."""
        counts = self.ours if is_ours else self.others
        counts[kind] = counts.get(kind, 0) + 1
        if is_ours:
            self.our_objects += objects

    @property
    def listed(self) -> int:
        """How many rows are known to be ours."""
        return sum(self.ours.values())


class Sent(msgspec.Struct, frozen=True):
    """What the service should come to show. `baseline*` is what it showed before anything was sent.

    `unfilled` is how many grants were asked for and never filled: the service may list each as a shard for ever.
    `may_repeat`: something was sent again that may have arrived before, and may be taken in a second time.
    """

    images: int
    shards: int
    baseline_images: int
    baseline: dict[RowKind, int]
    unfilled: int
    may_repeat: bool = False


class Verdict(StrEnum):
    """What follows from one look at the service."""

    CONFIRMED = "confirmed"
    WAIT = "wait"
    SHORT = "short"  # all is over, and something of ours is missing or failed
    EXTRA = "extra"  # all is over, and more is counted than was sent


def judge(sent: Sent, count: int, rows: Rows, *, is_quiet: bool) -> Verdict:
    """Weigh what is listed. `is_quiet` tells that nothing has changed for the quiet period.

    ============================================= =============================== ===========================
    count                                         rows of ours                    verdict
    ============================================= =============================== ===========================
    as expected                                   all success                     confirmed; where something may
                                                                                  come twice, once it is quiet
    as expected                                   all success, and others pending confirmed, once it is quiet
    any                                           some pending                    wait
    any                                           some failed                     short, once it is quiet
    less than expected                            all success                     short, once it is quiet
    more than expected, and other rows explain it all success                     confirmed
    more than expected                            all success                     extra, once it is quiet
    ============================================= =============================== ===========================
    """
    pending, failed, succeeded, foreign = _our_rows(sent, rows)
    expected = sent.baseline_images + sent.images
    if is_quiet and count == expected and succeeded >= sent.shards and not failed:
        return Verdict.CONFIRMED  # what is pending beside is of grants whose answer was lost: nobody will fill it
    if pending > 0 or succeeded + failed < sent.shards:
        has_lost_rows = is_quiet and pending <= 0
        return Verdict.SHORT if has_lost_rows and count < expected else Verdict.WAIT
    if failed:
        return Verdict.SHORT if is_quiet else Verdict.WAIT
    is_as_expected = count == expected or (count > expected and foreign > 0)
    if is_as_expected and (is_quiet or not sent.may_repeat):
        return Verdict.CONFIRMED
    if not is_quiet:
        return Verdict.WAIT
    return Verdict.SHORT if count < expected else Verdict.EXTRA


def _our_rows(sent: Sent, rows: Rows) -> tuple[int, int, int, int]:
    """Pending, failed and succeeded rows of ours, and succeeded ones of others that came since the baseline."""
    now = {kind: rows.others.get(kind, 0) - sent.baseline.get(kind, 0) for kind in RowKind}
    if rows.listed:
        ours = rows.ours
        lost = max(0, sent.shards - rows.listed)
        return (
            ours.get(RowKind.PENDING, 0) + lost,
            ours.get(RowKind.ERROR, 0),
            ours.get(RowKind.SUCCESS, 0),
            max(0, now[RowKind.SUCCESS]),
        )
    pending = max(0, now[RowKind.PENDING] - sent.unfilled)
    failed = max(0, now[RowKind.ERROR])
    succeeded = max(0, now[RowKind.SUCCESS])
    return pending, failed, min(succeeded, sent.shards), max(0, succeeded - sent.shards)


FIRST_WAIT: Final = 0.25
LONGEST_WAIT: Final = 15.0


def next_wait(wait: float, *, has_changed: bool) -> float:
    """Seconds until the next look: longer while nothing changes, at most 2 after a change."""
    return min(2.0, wait * 2) if has_changed else min(LONGEST_WAIT, wait * 2)
