"""What is started before the command's own modules are loaded, which takes a fifth of a second: processes that send.

It reads the command line by eye. A mistake costs a process that is not used, or comes a little later: nothing else.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from rfbulk.workers.starting import Spares, start_spares

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.workers.starting import Road

MOST: Final = 2
"""What is started before anybody knows how much there is to do. The pool starts more where these are busy."""

_ROADS: Final[dict[str, Road]] = {"export": "fetch", "run": "send"}
_ALONE: Final = (
    *("-h", "--help", "--version", "--dry-run"),
    *("--limit-rate", "--check-images", "--one-by-one", "--by-reference", "--cluster", "--processes"),
)
"""With one of these nothing is done, or not by processes of this command, or not by so many."""

_BUCKETS: Final = ("s3://", "gs://", "az://")


def started_early(arguments: Sequence[str]) -> Spares | None:
    """Start processes for a command that will use them."""
    road = _road_of(arguments)
    return start_spares(road, most=MOST) if road else None


def _road_of(arguments: Sequence[str]) -> Road | None:
    if any(argument.partition("=")[0] in _ALONE or argument.startswith(_BUCKETS) for argument in arguments):
        return None
    if ("upload", "images") in pairwise(arguments):
        return "send"
    return next((_ROADS[argument] for argument in arguments if argument in _ROADS), None)
