"""Shards that are still to be sent, read from the checkpoint before there is a place for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio
import anyio.abc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rfbulk.core.transfer import Shard
    from rfbulk.pipeline.ports import Checkpoint

PAGE_IMAGES: Final = 4000
"""So many images are read at once, a megabyte of them, and as many wait to be sent meanwhile."""

MOST_IN_PAGE: Final = 256


class ReadAhead:
    """Reads pages of pending shards, each while those of the page before find their places.

    A read waits for what the checkpoint makes durable just then. Without this, places stand empty meanwhile.
    """

    def __init__(self, checkpoint: Checkpoint, tasks: anyio.abc.TaskGroup, images_each: int) -> None:
        self._checkpoint = checkpoint
        self._tasks = tasks
        self._shards = max(1, min(MOST_IN_PAGE, PAGE_IMAGES // images_each))
        self._after: int | None = None  # what is being read, or has been
        self._page: Sequence[Shard] = ()
        self._read = anyio.Event()

    async def page_after(self, number: int) -> Sequence[Shard]:
        """Return the next shards beyond `number`, in order of their ids: none if there are none just now."""
        page: Sequence[Shard] = ()
        if self._after == number:
            await self._read.wait()
            page = self._page
        if not page:  # what was looked for a while ago may be there by now
            page = await self._checkpoint.pending_after(number, self._shards)
        if page:
            self._after, self._page, self._read = page[-1].id, (), anyio.Event()
            self._tasks.start_soon(self._look, self._after, self._read)
        return page

    async def _look(self, after: int, read: anyio.Event) -> None:
        self._page = await self._checkpoint.pending_after(after, self._shards)
        read.set()
