"""What is told of a transfer, in phrases: the same for the live view and for plain lines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from rfbulk.core.wording import number, plain, size

if TYPE_CHECKING:
    from rfbulk.core.pacing import Why
    from rfbulk.events import Connection, ExportProgress, UploadProgress, Wait

PACES: Final[dict[Why, str]] = {
    "fixed": "as asked for",
    "starting": "to begin with",
    "climbing": "more brought more",
    "best": "more brought nothing",
    "most": "no more are allowed",
    "processor": "the processor is busy",
    "slowed": "fewer after an overload",
}

UPLOAD_WAITS: Final[dict[Wait, str]] = {
    "retry": "to try again",
    "grant": "for a grant",
    "answer": "for an answer",
    "source": "for the scan",
    "turn": "for a place",
}

EXPORT_WAITS: Final[dict[Wait, str]] = {
    "retry": "to try again",
    "grant": "for a fresh URL",
    "answer": "for a first byte",
    "source": "for the listing",
    "turn": "files for a place",
}


def counts(numbers: Mapping[str, int]) -> list[str]:
    """Return causes or reasons with their numbers, the most frequent first."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return [f"{plain(name)} ×{count:,}" for name, count in ordered]


def at_once(in_flight: int, progress: UploadProgress | ExportProgress) -> list[str]:
    """Return how many are in flight, and why not more or fewer."""
    level, why = progress.concurrency, PACES[progress.pace]
    if in_flight >= level:
        return [f"{in_flight}: {why}"]
    return [f"{in_flight} of {level}: {why if progress.waits.get('turn') else 'no more is ready'}"]


def waits(numbers: Mapping[Wait, int], rest_seconds: float, words: Mapping[Wait, str]) -> list[str]:
    """Return what waits for what."""
    told = [f"{numbers[wait]:,} {text}" for wait, text in words.items() if numbers.get(wait)]
    if rest_seconds > 0:
        told.insert(0, f"all rest {rest_seconds:.0f} s, as asked")
    elif numbers.get("rest"):
        told.insert(0, f"{numbers['rest']} rest, as asked")
    return told


def connection(one: Connection) -> list[str]:
    """Return where a connection stands. Its name comes last, since it may be long."""
    told = [f"{size(one.rate)}/s", f"{one.seconds:.0f} s", size(one.bytes)]
    if one.of_bytes:
        told[2] = f"{100 * one.bytes / one.of_bytes:.0f} % of {size(one.of_bytes)}"
    if one.attempt > 1:
        told.append(f"attempt {one.attempt}")
    return [*told, _name(one)]


def _name(one: Connection) -> str:
    if not one.name:
        return f"shard {one.number}"
    more = f" and {number(one.files - 1, 'file')}" if one.files > 1 else ""
    return f"{plain(one.name)}{more}"
