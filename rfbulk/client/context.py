"""What every call of an open client works with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import platformdirs

from rfbulk.events import OnEvent, ignore
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.edge.api import ServiceApi
    from rfbulk.edge.clock import SystemClock
    from rfbulk.edge.transport import Transport
    from rfbulk.settings import Settings

T = TypeVar("T")
Reach: TypeAlias = Callable[["Failpoint"], None]


@dataclass(frozen=True, slots=True)
class Context:
    """An open client's surroundings. `api_url` has no slash behind it. `reach` is told each failpoint."""

    settings: Settings
    api_url: str
    api: ServiceApi
    transport: Transport
    clock: SystemClock
    reach: Reach

    async def persist(self, call: Callable[[], Awaitable[T]], *, tell: OnEvent = ignore) -> T:
        """Make a call of the API until it succeeds, or the retry policy ends."""
        return await persist(call, policy=self.settings.retry, clock=self.clock, tell=tell)


def state_dir(settings: Settings) -> Path:
    """Return where everything durable is kept: `state_dir` of the settings, else the user's state folder."""
    return settings.state_dir or Path(platformdirs.user_state_dir("rfbulk", appauthor=False))


def uploads_dir(settings: Settings) -> Path:
    """Return where checkpoints of uploads are kept."""
    return state_dir(settings) / "uploads"
