"""Chooses where shards are sent: in this process as long as that is fast enough, else in processes of their own.

`auto` begins here. Once this process spends most of a core although nothing but sending is to be done, the line is
faster than one interpreter: sending processes are started, and further shards go to them. A slow line never sees one.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from rfbulk.core.pacing import CPU_BOUND
from rfbulk.edge.threads import Rate, start_thread
from rfbulk.senders.attempts import Pack, pack_files
from rfbulk.senders.frames import SetUp
from rfbulk.senders.inline import InlineSender, open_inline_sender
from rfbulk.senders.processes import MAX_PROCESSES, SendingProcess, WorkerGone, can_start

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping

    from rfbulk.core.model import ShardJob, ShardResult
    from rfbulk.edge.ways import Ways

LOOK_SECONDS: Final = 0.15
"""How long sending is watched before `auto` decides: a process pays for its start within a second."""

MAX_RESTARTS: Final = 3


class ScalingSender:
    """Sends in this process, and in `most` processes of their own once that pays. Made by `open_scaling_sender`."""

    def __init__(
        self,
        inline: InlineSender,
        start: Callable[[int], list[SendingProcess]],
        *,
        most: int,
        at_once: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inline = inline
        self._start = start
        self._now = now
        self._most = most
        self._is_wanted = at_once
        self._processes: list[SendingProcess] = []
        self._starting: asyncio.Future[list[SendingProcess]] | None = None
        self._restarts = 0
        self._ended_cpu_seconds = 0.0
        self._watched: tuple[float, float] | None = None

    @property
    def interpreters(self) -> int:
        """How many of them share the work."""
        return max(1, len(self._processes))

    def cpu_seconds(self) -> float:
        """Return the processor time of all that sends."""
        own = self._inline.cpu_seconds()
        return own + self._ended_cpu_seconds + sum(each.cpu_seconds for each in self._processes)

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Make an attempt, as `InlineSender.send`."""
        self._consider()
        self._take_in()
        for process in sorted(self._processes, key=lambda each: each.load):
            self._inline.release()
            try:
                return await process.send(job, on_bytes)
            except WorkerGone:
                continue
            except OverflowError:
                break
        return await self._inline.send(job, on_bytes)

    async def close(self) -> None:
        """End all processes. What they still send is cut."""
        with anyio.CancelScope(shield=True):
            if self._starting is not None:
                self._processes += await self._starting
                self._starting = None
            for process in self._processes:
                await anyio.to_thread.run_sync(process.close)

    def _consider(self) -> None:
        if self._is_wanted or not self._most:
            return
        now, cpu = self._now(), self._inline.cpu_seconds()
        if self._watched is None:
            self._watched = now, cpu
            return
        seconds, spent = now - self._watched[0], cpu - self._watched[1]
        if seconds >= LOOK_SECONDS:
            self._is_wanted = spent >= seconds * CPU_BOUND
            self._watched = now, cpu

    def _take_in(self) -> None:
        """Let started processes take part, those that are gone be replaced, and start what is wanted."""
        if not self._is_wanted:
            return
        if self._starting is not None and self._starting.done():
            self._processes += self._starting.result()
            self._starting = None
        for gone in [each for each in self._processes if each.is_gone]:
            self._processes.remove(gone)
            self._ended_cpu_seconds += gone.cpu_seconds
            self._restarts += 1
            if not gone.has_proved:
                self._restarts = MAX_RESTARTS + 1  # it cannot work here: all goes on in this process
        missing = self._most - len(self._processes)
        if missing > 0 and self._starting is None and self._restarts <= MAX_RESTARTS:
            self._starting = start_thread(partial(self._start, missing), name="rfbulk-start")


@asynccontextmanager
async def open_scaling_sender(
    ways: Ways,
    *,
    chunk_bytes: int,
    stall_seconds: float,
    rate: Rate | None,
    most_at_once: int,
    processes: int | None,
    pack: Pack = pack_files,
) -> AsyncIterator[ScalingSender]:
    """Yield a sender. `processes` None finds out what helps, 1 stays in this process, more are started at once.

    A rate is kept by this process alone, and what is no file is packed by it alone: the credentials for it stay here.
    """
    most = min(_cores(), MAX_PROCESSES) if processes is None else processes
    if most == 1 or rate is not None or pack is not pack_files or not can_start():
        most = 0
    set_up = SetUp(
        environment=_ways_out(os.environ),
        connect_seconds=ways.connect_seconds,
        ca_file=None if ways.ca_file is None else str(ways.ca_file),
        chunk_bytes=chunk_bytes,
        stall_seconds=stall_seconds,
    )
    async with open_inline_sender(
        ways, chunk_bytes=chunk_bytes, stall_seconds=stall_seconds, rate=rate, most_at_once=most_at_once, pack=pack
    ) as inline:
        start = partial(_started, set_up)
        sender = ScalingSender(inline, start, most=most, at_once=processes is not None and most > 0)
        try:
            yield sender
        finally:
            await sender.close()


def _started(set_up: SetUp, count: int) -> list[SendingProcess]:
    found = []
    for _ in range(count):
        process = SendingProcess(set_up)
        try:
            process.start()
        except WorkerGone:
            break
        found.append(process)
    return found


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _ways_out(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that name proxies and certificate authorities."""
    return {name: value for name, value in environment.items() if name.lower().endswith(("_proxy", "ssl_cert_file"))}
