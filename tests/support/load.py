"""A processor that is as busy as it is told to be."""

from __future__ import annotations

from rfbulk.edge.turns import LOOK_SECONDS, Turns


class Load:
    """A clock, and a processor that is busy to the share that is told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.spent = 0.0

    def turns(self) -> Turns:
        return Turns(lambda: self.spent, now=lambda: self.seconds)

    def go_on(self, share: float) -> None:
        self.seconds += LOOK_SECONDS
        self.spent += LOOK_SECONDS * share
