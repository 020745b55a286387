"""The receiver of notifications, to be served alone or within an application of the caller's.

`client.webhook(keys, on_notice=heard)` gives one; while it is entered, its `app` may be served, or added to another.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from rfbulk.client.context import Context, Reach, entered_in_thread, inbox_dir
from rfbulk.client.standing import work_off
from rfbulk.core.failpoints import Failpoint, pass_by
from rfbulk.core.jobs import job_id as checked_job_id
from rfbulk.core.limits import batch_id as checked_batch_id
from rfbulk.core.notices import IngestNotice, JobNotice, Notice, OtherNotice, subject_of
from rfbulk.edge.clock import SystemClock
from rfbulk.edge.notices_store import Delivery, Inbox, open_inbox
from rfbulk.edge.secret_file import read_or_make_secret
from rfbulk.edge.webhook import App, ReceiverOptions, receiver_app
from rfbulk.errors import TroublePassing, UsageError
from rfbulk.events import NoticeKept, OnEvent, Warned, ignore
from rfbulk.pipeline.bell import Bell
from rfbulk.pipeline.following import Follower, OnNotice
from rfbulk.pipeline.standing import StandingFlows

if TYPE_CHECKING:
    from rfbulk.core.jobs import JobId
    from rfbulk.core.standing import Flow
    from rfbulk.settings import Settings


@dataclass(frozen=True, slots=True)
class Follow:
    """What follows from each event: `on_notice` is awaited with it and its body, `at_once` calls together.

    If it raises, it is called again later, five times in all.
    """

    on_notice: OnNotice
    at_once: int = 1


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows from ingests: the flows of `flows`, carried out with `context`."""

    context: Context
    flows: Sequence[Flow]

    def over(self, inbox: Inbox, tell: OnEvent) -> StandingFlows:
        """Return what carries them out for the notifications of an inbox."""
        work = partial(work_off, self.context, self.flows, on_event=tell)
        return StandingFlows(inbox, work, self.context.clock, tell, self.context.reach)


@dataclass(frozen=True, slots=True)
class _Reaching:
    """Keeps notifications, and reaches the failpoints on both sides of that."""

    inbox: Inbox
    reach: Reach

    async def store(self, body: bytes, notice: Notice) -> Delivery:
        self.reach(Failpoint.NOTICE_RECEIVED)
        delivery = await self.inbox.store(body, notice)
        self.reach(Failpoint.NOTICE_KEPT)
        return delivery


class WebhookReceiver:
    """Takes the service's notifications, from entering to leaving. Each is durable before its sender hears 2xx.

    `options` say who may notify, and where. `folder` holds the inbox. `follow` says what is awaited for each event
    once it was kept, `standing` which flows follow from ingests. A notification is a hint and no proof: ask the
    service before anything costly follows from it (`Client.confirms`). `on_event` is told each delivery.

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
        standing: Standing | None = None,
        bell: Bell | None = None,
        on_event: OnEvent = ignore,
        reach: Reach = pass_by,
    ) -> None:
        self._options = options
        self._folder = folder
        self._follow = follow
        self._standing = standing
        self._flowing: StandingFlows | None = None
        self._bell = bell or Bell()
        self._tell = on_event
        self._reach = reach
        self._stack = AsyncExitStack()
        self._follower: Follower | None = None

    async def __aenter__(self) -> WebhookReceiver:
        """Open the inbox, and go on with what was left in it."""
        async with AsyncExitStack() as stack:
            self.inbox = await self._open(stack)
            self.app: App = receiver_app(self._options, _Reaching(self.inbox, self._reach), self._on_kept)
            tasks = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(tasks.cancel_scope.cancel)
            if self._follow is not None:
                on_notice, at_once = self._follow.on_notice, self._follow.at_once
                self._follower = Follower(
                    self.inbox, on_notice, SystemClock(), self._tell, at_once=at_once, reach=self._reach
                )
                tasks.start_soon(self._follower.run)
            if self._standing is not None:
                self._flowing = self._standing.over(self.inbox, self._tell)
                tasks.start_soon(self._flowing.run)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the inbox. What was not followed is followed after the next entering."""
        await self._stack.aclose()

    async def _open(self, stack: AsyncExitStack) -> Inbox:
        manager = open_inbox(self._folder, follows=self._follow is not None, flows=self._standing is not None)
        return await stack.enter_async_context(entered_in_thread(manager))

    def _on_kept(self, notice: Notice, delivery: Delivery) -> None:
        if delivery is Delivery.CONFLICTING:
            self._tell(Warned(f"event {notice.event_id} was delivered again with another content; both are kept"))
        for worker in (self._follower, self._flowing):
            if worker is not None and delivery is Delivery.NEW:
                worker.wake()
        subject = subject_of(notice)
        self._tell(NoticeKept(notice.event_id, subject, str(delivery)))
        self._bell.ring(subject)
        self._bell.ring(ANYTHING)


__all__ = [
    "ANYTHING",
    "Follow",
    "ReceiverOptions",
    "Standing",
    "WebhookReceiver",
    "check_with_service",
    "hook_path",
    "inbox_dir",
    "run_inbox_dir",
]

ANYTHING = "anything"
"""What rings for every notification."""


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
        raise TroublePassing(
            "look at",
            f"job {job}",
            cause="the service does not show yet that it has ended",
            advice="it is looked at again",
        )
    return shown is not None
