"""A deterministic share of a source, so that several commands without a common coordinator send the whole of it.

Whose share a file is depends on its path alone: adding files never moves others, and every command that is given the
same count decides the same.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from rfbulk.errors import UsageError

MOST: Final = 10_000
_SPELLED: Final = re.compile(r"([0-9]{1,9})/([0-9]{1,9})")
_AUTO: Final = re.compile(r"auto(?:/([0-9]{1,9}))?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Partition:
    """The `index`-th of `count` shares, counted from 1."""

    index: int
    count: int

    def __post_init__(self) -> None:
        """Refuse what is no share of anything."""
        if not 1 <= self.index <= self.count <= MOST:
            raise _unusable(f"{self.index}/{self.count}", f"partitions count from 1/{self.count} to N/N, N ≤ {MOST}")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    def holds(self, path: bytes) -> bool:
        """Tell whether a path, relative to its root, belongs to this share."""
        return share_of(path, self.count) == self.index


def share_of(path: bytes, count: int) -> int:
    """Return which of `count` shares a path belongs to, from 1. It will never be another."""
    return int.from_bytes(blake2b(path, digest_size=8).digest(), "big") % count + 1


def parse_partition(text: str, environment: Mapping[str, str]) -> Partition:
    """Read `2/7`, or find out from the scheduler that started us.

    ========== =============================================== ==========================
    written    means                                           from
    ========== =============================================== ==========================
    `2/7`      the second of seven                             itself
    `auto`     this task of a Slurm array                      SLURM_ARRAY_TASK_ID, _MIN, _MAX, _STEP, _COUNT
    `auto/7`   the same, or this pod of an indexed job         JOB_COMPLETION_INDEX, which counts from 0
    ========== =============================================== ==========================

    Raises:
        UsageError: it is none of these, or the environment does not say.
    """
    if spelled := _SPELLED.fullmatch(text.strip()):
        return Partition(int(spelled[1]), int(spelled[2]))
    if auto := _AUTO.fullmatch(text.strip()):
        return _found(int(auto[1]) if auto[1] else None, environment)
    raise _unusable(text, "it must be I/N, auto, or auto/N")


def _found(count: int | None, environment: Mapping[str, str]) -> Partition:
    if "SLURM_ARRAY_TASK_ID" in environment:
        return _of_slurm(count, environment)
    if "JOB_COMPLETION_INDEX" in environment:
        index = _number("JOB_COMPLETION_INDEX", environment) + 1
        if count is None:
            raise _unusable("auto", "a pod does not know how many there are", "write auto/N, N as in `completions`")
        return Partition(index, count)
    raise _unusable("auto", "neither SLURM_ARRAY_TASK_ID nor JOB_COMPLETION_INDEX is set", "write I/N")


def _of_slurm(count: int | None, environment: Mapping[str, str]) -> Partition:
    """An array need not begin at 0 nor be dense in its numbers, but its steps are all alike."""
    first = _number("SLURM_ARRAY_TASK_MIN", environment, 0)
    step = max(1, _number("SLURM_ARRAY_TASK_STEP", environment, 1))
    place, beside = divmod(_number("SLURM_ARRAY_TASK_ID", environment) - first, step)
    of_array = _number("SLURM_ARRAY_TASK_COUNT", environment, count)
    last = _number("SLURM_ARRAY_TASK_MAX", environment, first + step * (of_array - 1))
    if beside or (last - first) // step + 1 != of_array:
        raise _unusable("auto", "the array's numbers have gaps, so that shares would be missing", "write I/N")
    return Partition(place + 1, of_array if count is None else count)


def _number(name: str, environment: Mapping[str, str], default: int | None = None) -> int:
    text = environment.get(name)
    if text is None and default is not None:
        return default
    if text is None or not re.fullmatch(r"[0-9]{1,9}", text):
        raise _unusable("auto", f"{name} is {'not set' if text is None else 'no number'}", "write I/N")
    return int(text)


def _unusable(text: str, cause: str, advice: str = "") -> UsageError:
    return UsageError("set", f"partition {text}", cause=cause, advice=advice)
