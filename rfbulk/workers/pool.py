"""Decides when processes of our own take over, keeps them running, and tells which has the least to do.

`auto` begins in this process. Once its threads spend most of a core, the line is faster than one interpreter: processes
are started, and further work goes to them. A slow line never sees one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from rfbulk.core.pacing import CPU_BOUND
from rfbulk.edge.threads import start_thread
from rfbulk.workers.process import WorkerGone, WorkerProcess, can_start

if TYPE_CHECKING:
    import asyncio

    from rfbulk.workers.frames import SetUp

LOOK_SECONDS: Final = 0.15
"""How long work is watched before `auto` decides: a process pays for its start within a second."""

MAX_RESTARTS: Final = 3

MAX_PROCESSES: Final = 8
"""What `auto` starts at the most: each takes some 20 MB, and no known line outruns eight cores."""


class Pool:
    """At most `most` processes. `inline_cpu_seconds` tells what the threads of this one have spent on the work.

    Belongs to one event loop. `close` it.
    """

    def __init__(
        self,
        inline_cpu_seconds: Callable[[], float],
        start: Callable[[int], list[WorkerProcess]],
        *,
        most: int,
        at_once: bool,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self._inline_cpu_seconds = inline_cpu_seconds
        self._start = start
        self._now = now
        self._is_wanted = at_once
        self._processes: list[WorkerProcess] = []
        self._starting: asyncio.Future[list[WorkerProcess]] | None = None
        self._restarts = 0
        self._ended_cpu_seconds = 0.0
        self._watched: tuple[float, float] | None = None

    @property
    def interpreters(self) -> int:
        """How many interpreters share the work."""
        return max(1, len(self._processes))

    def cpu_seconds(self) -> float:
        """Return the processor time of all that work."""
        own = self._inline_cpu_seconds()
        return own + self._ended_cpu_seconds + sum(each.cpu_seconds for each in self._processes)

    def ready(self) -> list[WorkerProcess]:
        """Return the processes that can be given work, the one with the least to do first. None: do it here."""
        self._consider()
        self._take_in()
        return sorted(self._processes, key=lambda each: each.load)

    async def close(self) -> None:
        """End all processes. What they still do is cut."""
        with anyio.CancelScope(shield=True):
            if self._starting is not None:
                self._processes += await self._starting
                self._starting = None
            for process in self._processes:
                await anyio.to_thread.run_sync(process.close)

    def _consider(self) -> None:
        if self._is_wanted or not self.most:
            return
        now, cpu = self._now(), self._inline_cpu_seconds()
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
        missing = self.most - len(self._processes)
        if missing > 0 and self._starting is None and self._restarts <= MAX_RESTARTS:
            self._starting = start_thread(partial(self._start, missing), name="rfbulk-start")


def most_processes(wanted: int | None) -> int:
    """Return how many processes may be started: `wanted`, or for None as many as there are cores. One is none."""
    most = min(_cores(), MAX_PROCESSES) if wanted is None else wanted
    return most if most > 1 and can_start() else 0


def started(set_up: SetUp, count: int) -> list[WorkerProcess]:
    """Start processes, as many of them as can be. Blocking."""
    found = []
    for _ in range(count):
        process = WorkerProcess(set_up)
        try:
            process.start()
        except WorkerGone:
            break
        found.append(process)
    return found


def ways_out(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that name proxies and certificate authorities (of None: of this process)."""
    values = os.environ if environment is None else environment
    return {name: value for name, value in values.items() if name.lower().endswith(("_proxy", "ssl_cert_file"))}


def _cores() -> int:
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
