"""What a process holds: memory, files, threads, tasks, children. Read from `/proc`, so Linux alone."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import median

MAX_GROWTH_BYTES = 24 << 20
MAX_GROWTH_SHARE = 0.10
"""What memory may grow by from the first quarter to the last: allocators breathe, leaks do not stop."""

MAX_MORE = 2
"""Open files and threads that may come and go, such as idle threads of pools."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look at this process, behind a collection of garbage."""

    rss_bytes: int
    pss_bytes: int
    open_files: int
    threads: int
    tasks: int
    children: int
    objects: int


def look() -> Sample:
    """Look at this process now."""
    gc.collect()
    rollup = Path("/proc/self/smaps_rollup").read_text()
    sizes = {line.split(":")[0]: int(line.split()[1]) << 10 for line in rollup.splitlines()[1:]}
    return Sample(
        rss_bytes=sizes["Rss"],
        pss_bytes=sizes["Pss"],
        open_files=_count("fd"),
        threads=_count("task"),
        tasks=len(asyncio.all_tasks()),
        children=len(_children()),
        objects=len(gc.get_objects()),
    )


def _count(folder: str) -> int:
    return sum(1 for _ in Path("/proc/self", folder).iterdir())


def _children() -> list[str]:
    found: list[str] = []
    for task in Path("/proc/self/task").iterdir():
        found += (task / "children").read_text().split()
    return found


def complaints(samples: list[Sample]) -> list[str]:
    """Return what is not flat, in words: the last quarter of the samples against the first. None: all is."""
    quarter = max(1, len(samples) // 4)
    first, last = samples[:quarter], samples[-quarter:]
    found = []
    for field in fields(Sample):
        before = median(getattr(sample, field.name) for sample in first)
        after = median(getattr(sample, field.name) for sample in last)
        if after > before + _allowed(field.name, before):
            found.append(f"{field.name} grew from {before:,.0f} to {after:,.0f}")
    return found


def _allowed(name: str, before: float) -> float:
    match name:
        case "rss_bytes" | "pss_bytes":
            return max(MAX_GROWTH_BYTES, MAX_GROWTH_SHARE * before)
        case "open_files" | "threads":
            return MAX_MORE
        case "objects":
            return max(20_000, MAX_GROWTH_SHARE * before)
        case _:
            return 0
