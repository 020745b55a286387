"""The live view: a bar and a few calm numbers on the terminal, redrawn twice a second."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import ControlType, Segment
from rich.table import Table
from rich.text import Text

from rfbulk.cli.lines import line_of_audit, line_of_confirm, line_of_job, of_ingest
from rfbulk.cli.rows import Line, Row, fitted, rows_of_export, rows_of_upload
from rfbulk.cli.state import PHASES
from rfbulk.core.forecast import time_left
from rfbulk.core.wording import plain

if TYPE_CHECKING:
    from rfbulk.cli.state import State

DRAW_SECONDS: Final = 0.2
"""Drawing takes a millisecond or two: events that come faster wait for the next drawing."""

STEPS: Final = ("upload", "start", "wait", "export")
LONGEST_BAR: Final = 60
NO_HEIGHT: Final = 100


class LiveView:
    """Draws the state on stderr while it is entered, and leaves nothing behind."""

    def __init__(self, console: Console | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._console = console or Console(stderr=True)
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # else results for a pipe would be drawn above the view
        )
        self._now = now
        self._drawn_at = float("-inf")
        self._phase: tuple[str, str] | None = None
        self._width = self._console.width
        self._widths: list[int] = []

    def __enter__(self) -> LiveView:
        """Begin to draw."""
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Wipe the view away."""
        self._follow_resize(self._console.width)
        self._live.stop()

    def show(self, state: State) -> None:
        """Draw the state, unless it was drawn just now and is in the same phase."""
        phase = (state.step, state.phase)
        if phase == self._phase and self._now() - self._drawn_at < DRAW_SECONDS:
            return
        self._phase, self._drawn_at = phase, self._now()
        width, height = self._console.size
        self._follow_resize(width)
        picture = drawing(state, width, height)
        self._widths = [Segment.get_line_length(line) for line in self._console.render_lines(picture, pad=False)]
        self._live.update(picture, refresh=True)

    def say(self, text: str) -> None:
        """Print a line above the view."""
        self._console.print(Text(text), highlight=False)

    def _follow_resize(self, width: int) -> None:
        """A terminal that became narrower has broken what was drawn into more lines: wipe those away as well."""
        before, self._width = self._width, width
        if width >= before:
            return
        more = sum(max(0, (length - 1) // width) for length in self._widths)
        if more:
            line_up = ((ControlType.ERASE_IN_LINE, 2), (ControlType.CURSOR_UP, 1))
            self._console.control(Control(ControlType.CARRIAGE_RETURN, *line_up * more))
        self._widths = []


def drawing(state: State, width: int, height: int = NO_HEIGHT) -> Group:
    """Return the state as something to draw on so many columns and lines."""
    room = max(1, height - 1)  # a drawing that fills the terminal would scroll it
    parts: list[RenderableType] = []
    if state.step in STEPS:
        parts.append(_cut(Text(f"step {STEPS.index(state.step) + 1} of {len(STEPS)}: {state.step}", style="dim")))
    parts += _parts(state, width, room - len(parts))
    return Group(*parts[:room])


def _parts(state: State, width: int, height: int) -> list[RenderableType]:
    if state.job is not None:
        return [Text(line_of_job(state.job)), _bar(round(1000 * state.job.progress), 1000, width)]
    if state.phase == "confirming" and state.confirm is not None:
        confirm = state.confirm
        bar = _bar(max(0, confirm.counted), confirm.expected, width)
        return [Text(PHASES["confirming"], style="bold"), bar, Text(line_of_confirm(confirm))]
    if state.export is not None:
        done = state.export.files_fetched + state.export.files_here
        above = [*_head(state, done, state.export.files_listed, width), _bar(done, state.export.files_listed, width)]
        return above + _rows(rows_of_export(state, state.export), width, height - len(above))
    if state.ingest is not None:
        return [Text(state.doing, style="bold"), Text(of_ingest(state))]
    if state.progress is not None:
        done, planned = state.bytes_done, state.progress.bytes_planned
        above = [*_head(state, done, planned, width), _bar(done, planned, width)]
        return above + _rows(rows_of_upload(state, state.progress), width, height - len(above))
    if state.audit is not None:
        return [Text("comparing", style="bold"), Text(line_of_audit(state.audit))]
    return [Text(state.doing, style="bold")]


def _head(state: State, done: int, total: int, width: int) -> list[RenderableType]:
    """What it does, how much of it is done, and how long it takes yet: on two lines where one is too short."""
    is_counted = state.is_counted
    share = f"{100 * done / total:.0f} %" if total and is_counted else ""
    more = "" if is_counted or state.phase not in {"sending", "fetching"} else ", while more is found"
    left = time_left(state.forecast, is_final=is_counted)
    first = Text.assemble((state.doing, "bold"), more, f"  {share}" if share else "")
    if not left:
        return [_cut(first)]
    if first.cell_len + 2 + cell_len(left) <= width:
        return [_cut(first.append(f"  {left}"))]
    return [_cut(first), _cut(Text(left))]


def _bar(done: int, total: int, width: int) -> RenderableType:
    """A bar on a line of its own: alone it would not end its line."""
    line = Table.grid()
    line.add_row(ProgressBar(total=max(1, total), completed=done, width=max(8, min(LONGEST_BAR, width - 2))))
    return line


def _rows(rows: list[Row], width: int, height: int) -> list[RenderableType]:
    """Names whole, values cut where the terminal ends."""
    longest = max(cell_len(row.name) for row in rows)
    return [_line(line, longest) for line in fitted(rows, width, height, cell_len)]


def _line(line: Line, longest: int) -> RenderableType:
    name = line.name + " " * (longest - cell_len(line.name) + 2)
    return _cut(Text.assemble((name, "dim"), (plain(line.text), "yellow" if line.is_trouble else "")))


def _cut(text: Text) -> Text:
    text.no_wrap, text.overflow = True, "ellipsis"
    return text
