"""Receives remote files in this process: each group in flight has a thread that asks, writes, checks and lands.

Memory: a group in flight holds `GROUP_BYTES`, whatever the sizes of its files: the buffer that is received into and,
while an archive is unpacked, two inflated pieces, the input that waits for them, and a header. Beside them the names of
the archive's members, which its limits bound. A buffer goes on to another group; a thread that is left behind keeps its
own. Descriptors of a group: a connection, a file, an archive's folder, and those of its `Site`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import anyio

from rfbulk.core.fetching import FetchJob, FetchOutcome, FetchResult, Landed, Move, UnpackLimits
from rfbulk.core.tarstream import MAX_HEADER_BYTES
from rfbulk.core.unpacking import PIECE_BYTES
from rfbulk.edge.downlink import BUFFER_BYTES, Downlink
from rfbulk.edge.landing import Site, discard_staging, sync_file_system, trouble_of_disk
from rfbulk.edge.lines import Call
from rfbulk.edge.threads import Rate, call_in_thread
from rfbulk.errors import NoRoom, TransferFailed
from rfbulk.receivers.groups import Groups, shown, unwritable
from rfbulk.receivers.landing import land_all

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.edge.transport import Transport

GROUP_BYTES = 2 * BUFFER_BYTES + 2 * PIECE_BYTES + 2 * MAX_HEADER_BYTES


@dataclass(frozen=True, slots=True)
class Folders:
    """Where an export lands, and a folder beneath it for what is not whole yet, which is made when it is needed."""

    target: bytes
    staging: bytes


class InlineReceiver:
    """Makes attempts in threads of this process. Made by `open_inline_receiver`."""

    interpreters = 1

    def __init__(
        self,
        groups: Groups,
        room: anyio.CapacityLimiter,
        folders: Folders,
        reach: Callable[[Failpoint], None],
    ) -> None:
        self._groups = groups
        self._room = room
        self._folders = folders
        self._reach = reach

    def cpu_seconds(self) -> float:
        """Return the processor time of all that receives."""
        return self._groups.cpu_seconds

    def release(self) -> None:
        """Give back the memory that no group uses just now."""
        self._groups.release()

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        """Fetch files in their order, each once. Whatever goes wrong with one is told in its result.

        Results may be fewer than jobs: behind one that is BUSY, BROKEN or NO_ROOM, none is tried. `on_bytes` is called
        from the group's thread. Cancelling cuts the connection and waits for the thread, a few seconds at most; what
        pays to continue stays in staging.

        Raises:
            ServiceRefused, NotAuthorised: the store cannot be trusted, or the proxy refuses.
            UsageError: the target cannot be written to, or the proxy is of a kind that is not spoken.
        """
        async with self._room:
            call = Call(on_bytes)
            return await call_in_thread(partial(self._groups.fetch, jobs, call), call, name="rfbulk-receive")

    async def land(self, moves: Sequence[Move]) -> list[Landed]:
        """Move members of sound archives to their places, in their order. Saying the same again is safe.

        Raises:
            UsageError: the target cannot be written to.
        """
        call = Call(lambda _count: None)
        return await call_in_thread(partial(self._land, moves, call), call, name="rfbulk-land")

    async def sync(self) -> None:
        """Return once all that has landed, and all folders that were made for it, are durable.

        To be called before a checkpoint calls them so: nothing else here waits for the disk. It costs what the disk
        needs for what is not written yet, once for all files.

        Raises:
            NoRoom, TransferFailed: something that had been written may not be on the disk.
        """
        call = Call(lambda _count: None)
        await call_in_thread(partial(_sync, self._folders.target), call, name="rfbulk-sync")

    async def discard(self) -> None:
        """Remove all that is in staging, and staging itself. Nothing may be in flight.

        Raises:
            UsageError: the target cannot be written to.
        """
        call = Call(lambda _count: None)
        await call_in_thread(partial(_discard, self._folders), call, name="rfbulk-discard")

    def _land(self, moves: Sequence[Move], call: Call) -> list[Landed]:
        if not moves:
            return []
        try:
            site = Site(moves[0].target, moves[0].staging)
        except OSError as error:
            raise unwritable(moves[0].target, trouble_of_disk(error)[1]) from error
        with site:
            return land_all(moves, site, call, self._reach)


@asynccontextmanager
async def open_inline_receiver(
    transport: Transport,
    folders: Folders,
    *,
    stall_seconds: float,
    rate: Rate,
    most_at_once: int,
    limits: UnpackLimits | None = None,
    reach: Callable[[Failpoint], None] = lambda _failpoint: None,
) -> AsyncIterator[InlineReceiver]:
    """Yield a receiver that fetches at most so many groups at once. Its connections end with the context."""
    downlink = Downlink(transport.ways, allow_http=transport.options.allow_http)
    try:
        groups = Groups(downlink, stall_seconds=stall_seconds, rate=rate, limits=limits or UnpackLimits(), reach=reach)
        yield InlineReceiver(groups, anyio.CapacityLimiter(most_at_once), folders, reach)
    finally:
        downlink.close()


def _sync(target: bytes) -> None:
    try:
        sync_file_system(target)
    except OSError as error:
        outcome, detail = trouble_of_disk(error)
        kind = NoRoom if outcome is FetchOutcome.NO_ROOM else TransferFailed
        raise kind("write to the disk of", shown(target), cause=detail, advice="mend it and run again") from error


def _discard(folders: Folders) -> None:
    try:
        discard_staging(folders.target, folders.staging)
    except OSError as error:
        raise unwritable(folders.target, trouble_of_disk(error)[1]) from error
