"""Lets a waiting call hear of notifications that another process of this machine receives (`rfbulk webhook serve`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from rfbulk.client.context import inbox_dir
from rfbulk.edge.notices_store import latest_number

if TYPE_CHECKING:
    from rfbulk.client.context import Context

T = TypeVar("T")
LOOK_SECONDS: Final = 2.0
"""Between two looks into the inbox: a file of this machine, not the service."""


async def hearing_inbox(context: Context, subject: str, work: Callable[[], Awaitable[T]]) -> T:
    """Do `work`, which waits for `subject`; the bell rings whenever the inbox has news of that.

    Errors of `work` come out as they are.
    """
    caught: BaseException
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_listen, context, subject)
        try:
            return await work()
        except BaseException as error:  # noqa: BLE001 - raised again below, outside of the group that would wrap it
            caught = error
        finally:
            tasks.cancel_scope.cancel()
    raise caught


async def _listen(context: Context, subject: str) -> None:
    folder = inbox_dir(context.settings)
    known = await anyio.to_thread.run_sync(latest_number, folder, subject)
    while True:
        await context.clock.sleep(LOOK_SECONDS)
        latest = await anyio.to_thread.run_sync(latest_number, folder, subject)
        if latest > known:
            context.bell.ring(subject)
        known = latest
