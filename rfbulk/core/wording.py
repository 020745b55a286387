"""How sizes, durations, counts and foreign names are written, wherever people read them."""

from __future__ import annotations


def plain(text: str) -> str:
    """Return foreign text with control characters made visible, so that it cannot command the terminal."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def size(count: float) -> str:
    """Return a number of bytes in the largest unit that leaves at least one."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.2f} TiB"


def duration(seconds: float) -> str:
    """Return a duration as one looks at a clock: `4.2 s`, `3 min 20 s`, `2 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min"


def number(count: int, noun: str) -> str:
    """Return a count with its noun: `1 image`, `1,024 images`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
