"""Options that are refused by their names."""

from __future__ import annotations


def check_choice(options: object, name: str, allowed: tuple[str, ...]) -> None:
    """Refuse an option that is none of the allowed words.

    Raises:
        ValueError: it is not.
    """
    if getattr(options, name) not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}: {getattr(options, name)!r}")


def check_range(options: object, name: str, least: float, most: float) -> None:
    """Refuse an option that is too small or too large.

    Raises:
        ValueError: it is.
    """
    if not least <= getattr(options, name) <= most:
        raise ValueError(f"{name} must be between {least} and {most}: {getattr(options, name)!r}")
