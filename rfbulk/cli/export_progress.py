"""How far an export is: on one line, and as rows of the live view."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rfbulk.cli.printing import duration, size

if TYPE_CHECKING:
    from rfbulk.events import ExportProgress


def files_done(progress: ExportProgress) -> int:
    """Remote files that are here."""
    return progress.files_fetched + progress.files_here


def seconds_left(progress: ExportProgress) -> float | None:
    """An estimate from this run's files, None while the total is unknown or nothing has come."""
    if not progress.listing_finished or not progress.files_fetched or progress.seconds <= 0:
        return None
    left = progress.files_listed - files_done(progress) - progress.failures
    return max(0, left) * progress.seconds / progress.files_fetched


def line_of_export(progress: ExportProgress, rate: float) -> str:
    """Return where an export stands, on one line."""
    more = "" if progress.listing_finished else "+"
    pieces = [
        f"{files_done(progress):,} of {progress.files_listed:,}{more} files",
        f"{size(progress.bytes_fetched)} fetched",
        f"{size(rate)}/s",
    ]
    left = seconds_left(progress)
    if left is not None:
        pieces.append(f"{duration(left)} left")
    pieces.append(f"{progress.fetches_in_flight} at once")
    if progress.files_here:
        pieces.append(f"{progress.files_here:,} by earlier runs")
    if progress.retries:
        pieces.append(f"{sum(progress.retries.values()):,} retries")
    if progress.failures:
        pieces.append(f"{progress.failures:,} failures")
    return ", ".join(pieces)


def rows_of_export(progress: ExportProgress, rate: float) -> list[tuple[str, str]]:
    """Return where an export stands, as names and values."""
    more = "" if progress.listing_finished else "+"
    average = progress.bytes_received / progress.seconds if progress.seconds > 0 else 0.0
    at_once = f"{progress.fetches_in_flight} at once"
    rows = [
        ("files", f"{files_done(progress):,} of {progress.files_listed:,}{more}, {at_once}"),
        ("bytes", size(progress.bytes_fetched)),
        ("rate", f"{size(rate)}/s, on average {size(average)}/s"),
    ]
    if progress.files_here:
        rows.append(("earlier", f"{progress.files_here:,} files here from earlier runs"))
    if progress.retries:
        rows.append(("retries", ", ".join(f"{cause} ×{count}" for cause, count in sorted(progress.retries.items()))))
    if progress.failures:
        rows.append(("failures", f"{progress.failures:,}"))
    return rows
