"""Members of sound archives moved from staging to the paths that were chosen for them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.fetching import FetchOutcome, Landed, Move
from rfbulk.edge.landing import PathTaken, trouble_of_disk

if TYPE_CHECKING:
    from rfbulk.edge.landing import Site
    from rfbulk.edge.lines import Call


def land_all(moves: Sequence[Move], site: Site, call: Call, reach: Callable[[Failpoint], None]) -> list[Landed]:
    """Move them in their order, and remove the staged folders that are empty then. Raises CalledOff between two."""
    landed: list[Landed] = []
    for move in moves:
        call.go_on()
        landed.append(_land(move, site))
        if len(landed) == 1:
            reach(Failpoint.LAND_STARTED)
    for folder in {move.staged.rpartition("/")[0] for move in moves} - {""}:
        site.remove_if_empty(folder)
    return landed


def _land(move: Move, site: Site) -> Landed:
    try:
        found = site.place(move.staged, move.path, size=move.size, crc=move.crc32c, overwrite=move.overwrite)
    except PathTaken:
        return Landed(FetchOutcome.TAKEN, detail="a file of other content lies where it is to land")
    except FileNotFoundError:
        return _landed_before(move, site)
    except OSError as error:
        return Landed(*_trouble(error))
    return Landed(FetchOutcome.FETCHED, found)


def _landed_before(move: Move, site: Site) -> Landed:
    """What is staged no longer has moved already, before a crash, or is lost."""
    try:
        found = site.found(move.path, size=move.size, crc=move.crc32c)
    except OSError as error:
        return Landed(*_trouble(error))
    if found is None:
        return Landed(FetchOutcome.GONE, detail="it is neither staged nor landed")
    return Landed(FetchOutcome.FETCHED, found)


def _trouble(error: OSError) -> tuple[FetchOutcome, None, str]:
    outcome, detail = trouble_of_disk(error)
    return outcome, None, detail
