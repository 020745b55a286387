"""What every call of an open client works with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import platformdirs

from rfbulk.edge.threads import ended_of, start_thread
from rfbulk.events import OnEvent, ignore
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.paging import walk_pages
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.wire import Page
    from rfbulk.edge.api import ServiceApi
    from rfbulk.edge.clock import SystemClock
    from rfbulk.edge.jobs_api import JobsApi
    from rfbulk.edge.transport import Transport
    from rfbulk.settings import Settings
    from rfbulk.workers.starting import Spares

T = TypeVar("T")
Reach: TypeAlias = Callable[["Failpoint"], None]


@dataclass(frozen=True, slots=True)
class Context:
    """An open client's surroundings. `api_url` has no slash behind it. `reach` is told each failpoint.

    `bell` wakes who waits for a batch or a job when a notification has come for it. `spares` are processes that were
    started early. `said` is how a command line would say the transfers again: their checkpoints keep it.
    """

    settings: Settings
    api_url: str
    api: ServiceApi
    transport: Transport
    clock: SystemClock
    reach: Reach
    jobs: JobsApi
    bell: Bell = field(default_factory=Bell)
    spares: Spares | None = None
    said: str = ""

    async def persist(self, call: Callable[[], Awaitable[T]], *, tell: OnEvent = ignore) -> T:
        """Make a call of the API until it succeeds, or the retry policy ends."""
        return await persist(call, policy=self.settings.retry, clock=self.clock, tell=tell)

    async def each(
        self,
        operation: str,
        subject: str,
        page_at: Callable[[str | None], Awaitable[Page[T]]],
        take: Callable[[T], None],
    ) -> None:
        """Call `take` with every item of a listing, page by page."""

        async def take_all(items: Sequence[T]) -> None:
            for item in items:
                take(item)

        await walk_pages(operation, subject, lambda token: self.persist(partial(page_at, token)), take_all)


@asynccontextmanager
async def entered_in_thread(manager: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a checkpoint in a thread: both block on the disk. It is left whatever is cancelled.

    A task's own `cancel` reaches through every shield, also while the thread enters: what it enters is left then, or
    its lock would keep everybody out for as long as this process lives.
    """
    entering = start_thread(manager.__enter__, name="rfbulk-open")
    leave = partial(manager.__exit__, None, None, None)
    try:
        entered = await ended_of(entering)
    except asyncio.CancelledError:
        if entering.exception() is None:
            await ended_of(start_thread(leave, name="rfbulk-close"))
        raise
    try:
        yield entered
    finally:
        await ended_of(start_thread(leave, name="rfbulk-close"))


def state_dir(settings: Settings) -> Path:
    """Return where everything durable is kept: `state_dir` of the settings, else the user's state folder."""
    return settings.state_dir or Path(platformdirs.user_state_dir("rfbulk", appauthor=False))


def uploads_dir(settings: Settings) -> Path:
    """Return where checkpoints of uploads are kept."""
    return state_dir(settings) / "uploads"


def ingests_dir(settings: Settings) -> Path:
    """Return where checkpoints of ingests without upload are kept."""
    return state_dir(settings) / "ingests"


def exports_dir(settings: Settings) -> Path:
    """Return where checkpoints of exports are kept."""
    return state_dir(settings) / "exports"


def inbox_dir(settings: Settings) -> Path:
    """Return where notifications are kept unless a caller says otherwise."""
    return state_dir(settings) / "webhook"
