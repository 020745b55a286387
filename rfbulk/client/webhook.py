"""The receiver of notifications, to be served alone or within an application of the caller's.

`client.webhook(keys, on_notice=heard)` gives one; while it is entered, its `app` may be served, or added to another.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeAlias

import anyio
import anyio.to_thread

from rfbulk.client.context import state_dir
from rfbulk.core.jobs import job_id as checked_job_id
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.notices import IngestNotice, JobNotice, Notice, OtherNotice, subject_of
from rfbulk.edge.clock import SystemClock
from rfbulk.edge.notices_store import Delivery, Inbox, open_inbox
from rfbulk.edge.secret_file import read_or_make_secret
from rfbulk.edge.webhook import App, ReceiverOptions, receiver_app
from rfbulk.errors import TroublePassing, UsageError
from rfbulk.events import OnEvent, Warned, ignore
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.following import Follower, OnNotice

if TYPE_CHECKING:
    from rfbulk.client.context import Context
    from rfbulk.core.jobs import JobId
    from rfbulk.settings import Settings


OnKept: TypeAlias = Callable[["Notice", Delivery], None]


@dataclass(frozen=True, slots=True)
class Follow:
    """What follows from each event: `on_notice` is awaited with it and its body, `at_once` calls together.

    If it raises, it is called again later, five times in all.
    """

    on_notice: OnNotice
    at_once: int = 1


class WebhookReceiver:
    """Takes the service's notifications, from entering to leaving. Each is durable before its sender hears 2xx.

    `options` say who may notify, and where. `folder` holds the inbox. `follow` says what is awaited for each event
    once it was kept. A notification is a hint and no proof: ask the service before anything costly follows from it
    (`Client.confirms`). `on_kept` is told each delivery, repeated ones too; it must return at once.

    Raises on entering:
        UsageError: the folder cannot be used.
        CheckpointBusy: another process receives into the same folder.
    """

    def __init__(
        self,
        options: ReceiverOptions,
        folder: Path,
        *,
        follow: Follow | None = None,
        flows: bool = False,
        bell: Bell | None = None,
        on_event: OnEvent = ignore,
        on_kept: OnKept | None = None,
    ) -> None:
        self._options = options
        self._folder = folder
        self._follow = follow
        self._flows = flows
        self._bell = bell or Bell()
        self._tell = on_event
        self._told = on_kept
        self._stack = AsyncExitStack()
        self._follower: Follower | None = None

    async def __aenter__(self) -> WebhookReceiver:
        """Open the inbox, and go on with what was left in it."""
        async with AsyncExitStack() as stack:
            self.inbox = await self._open(stack)
            self.app: App = receiver_app(self._options, self.inbox, self._on_kept)
            if self._follow is not None:
                on_notice, at_once = self._follow.on_notice, self._follow.at_once
                follower = Follower(self.inbox, on_notice, SystemClock(), self._tell, at_once=at_once)
                tasks = await stack.enter_async_context(anyio.create_task_group())
                stack.callback(tasks.cancel_scope.cancel)
                tasks.start_soon(follower.run)
                self._follower = follower
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the inbox. What was not followed is followed after the next entering."""
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> Inbox:
        manager = open_inbox(self._folder, follows=self._follow is not None, flows=self._flows)
        inbox = await anyio.to_thread.run_sync(manager.__enter__)

        async def close() -> None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(manager.__exit__, None, None, None)

        stack.push_async_callback(close)
        return inbox

    def _on_kept(self, notice: Notice, delivery: Delivery) -> None:
        if delivery is Delivery.CONFLICTING:
            self._tell(Warned(f"event {notice.event_id} was delivered again with another content; both are kept"))
        if delivery is Delivery.NEW and self._follower is not None:
            self._follower.wake()
        if self._told is not None:
            self._told(notice, delivery)
        self._bell.ring(subject_of(notice))
        self._bell.ring(ANYTHING)


__all__ = [
    "ANYTHING",
    "Follow",
    "ReceiverOptions",
    "WebhookReceiver",
    "check_with_service",
    "hook_path",
    "inbox_dir",
    "run_inbox_dir",
]

ANYTHING = "anything"
"""What rings for every notification."""


def inbox_dir(settings: Settings) -> Path:
    """Return where notifications are kept unless a caller says otherwise."""
    return state_dir(settings) / "webhook"


def run_inbox_dir(settings: Settings, port: int) -> Path:
    """Return where a run keeps the notifications that it receives itself."""
    return inbox_dir(settings) / f"run-{port}"


async def hook_path(settings: Settings) -> str:
    """Return the path that runs from this machine are notified at: hard to guess, and the same on every run."""
    return f"/hook-{await anyio.to_thread.run_sync(read_or_make_secret, inbox_dir(settings) / 'path.key')}"


async def check_with_service(context: Context, notice: Notice) -> bool:
    """Ask the service whether it knows what a notification speaks of. False where it does not, or cannot.

    Raises:
        TroublePassing: a job is said to have ended, and the service does not show its end yet.
    """
    try:
        match notice:
            case JobNotice():
                return await _has_ended(context, checked_job_id(notice.job_id))
            case IngestNotice():
                batch = checked_batch_id(notice.batch_id)
                return await context.persist(lambda: context.api.batch(batch)) is not None
            case OtherNotice():
                return False
    except UsageError:  # an id that the service would never give
        return False


async def _has_ended(context: Context, job: JobId) -> bool:
    shown = await context.persist(lambda: context.jobs.job(job))
    if shown is not None and not shown.is_terminal:
        raise TroublePassing("look at", f"job {job}", cause="the service does not show yet that it has ended")
    return shown is not None
