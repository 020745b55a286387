"""The live view: a bar and a few calm numbers on the terminal, redrawn twice a second."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from rfbulk.cli.export_progress import files_done, rows_of_export, seconds_left
from rfbulk.cli.printing import duration, size
from rfbulk.cli.progress import PHASES, State, line_of_ingest, line_of_job

if TYPE_CHECKING:
    from rfbulk.events import ExportProgress

NARROW = 70


class LiveView:
    """Draws the state on stderr while it is entered, and leaves nothing behind."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)

    def __enter__(self) -> LiveView:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the view away."""
        self._live.stop()

    def show(self, state: State) -> None:
        """Draw the state."""
        self._live.update(drawing(state, self._console.width), refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the view."""
        self._console.print(Text(text), highlight=False)


def drawing(state: State, width: int) -> Group:
    """Return the state as something to draw on `width` columns."""
    if state.job is not None:
        bar = _bar(round(1000 * state.job.progress), 1000, width)
        return Group(Text(line_of_job(state.job)), bar)
    if state.phase == "confirming" and state.confirm is not None:
        counted, expected = state.confirm.counted, state.confirm.expected
        bar = _bar(max(0, counted), expected, width)
        return Group(Text(PHASES["confirming"]), bar, Text(f"{counted:,} of {expected:,} images counted"))
    if state.export is not None:
        return _export_drawing(state, state.export, width)
    if state.ingest is not None:
        return Group(Text(PHASES[state.phase]), Text(line_of_ingest(state.ingest)))
    progress = state.progress
    if progress is None:
        return Group(Text(PHASES[state.phase]))
    done = state.bytes_done
    more = "" if progress.scan_finished else "+"
    bar = _bar(done, progress.bytes_planned, width)
    share = f"{100 * done / progress.bytes_planned:.0f} %" if progress.bytes_planned else ""
    left = state.seconds_left
    head = Text.assemble(
        (PHASES[state.phase], "bold"), f"  {share}", f"  {duration(left)} left" if left is not None else ""
    )
    rows = [
        (progress.content, f"{progress.images_sent:,} of {progress.images_planned:,}{more}"),
        ("bytes", f"{size(done)} of {size(progress.bytes_planned)}{more}"),
        (
            "shards",
            f"{progress.shards_sent:,} of {progress.shards_planned:,}{more}, {progress.shards_in_flight} at once",
        ),
        ("rate", f"{size(state.rate)}/s, on average {size(_average(state))}/s"),
    ]
    if progress.images_before:
        rows.append(("earlier", f"{progress.images_before:,} {progress.content} sent by earlier runs"))
    if progress.retries:
        causes = ", ".join(f"{cause} ×{count}" for cause, count in sorted(progress.retries.items()))
        rows.append(("retries", causes))
    if progress.failures:
        rows.append(("failures", f"{progress.failures:,}"))
    return Group(head, bar, _table(rows, width))


def _export_drawing(state: State, progress: ExportProgress, width: int) -> Group:
    left = seconds_left(progress)
    head = Text.assemble((PHASES[state.phase], "bold"), f"  {duration(left)} left" if left is not None else "")
    bar = _bar(files_done(progress), progress.files_listed, width)
    return Group(head, bar, _table(rows_of_export(progress, state.rate), width))


def _bar(done: int, total: int, width: int) -> Table:
    """A bar on a line of its own: alone it would not end its line."""
    line = Table.grid()
    line.add_row(ProgressBar(total=max(1, total), completed=done, width=max(8, min(40, width - 4))))
    return line


def _average(state: State) -> float:
    progress = state.progress
    return progress.bytes_on_the_wire / progress.seconds if progress and progress.seconds > 0 else 0.0


def _table(rows: list[tuple[str, str]], width: int) -> Table:
    """Names whole, values cut where the terminal ends."""
    gap = 1 if width < NARROW else 2
    longest = max(len(name) for name, _ in rows)
    table = Table.grid(padding=(0, gap))
    table.add_column(style="dim", no_wrap=True, min_width=longest)
    table.add_column(overflow="ellipsis", no_wrap=True, max_width=max(1, width - longest - gap))
    for name, value in rows:
        table.add_row(name, value)
    return table
