"""Decides when processes of our own take over, keeps them running, and tells which has the least to do.

`auto` begins in this process. Once its threads spend most of a core, the line is faster than one interpreter: processes
are started, and further work goes to them. A slow line never sees one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from rfbulk.core.pacing import CPU_BOUND
from rfbulk.edge.threads import ended_of, start_thread
from rfbulk.workers.process import WorkerProcess
from rfbulk.workers.starting import most_processes, start_child

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence
    from subprocess import Popen

    from rfbulk.workers.frames import SetUp
    from rfbulk.workers.starting import Road, Spares

LOOK_SECONDS: Final = 0.15
"""How long work is watched before `auto` decides: a process pays for its start within a second."""

WATCH_SECONDS: Final = 10.0
"""How far back it looks: what processes have spent is known when an attempt of theirs ends."""

MAX_RESTARTS: Final = 3


class Pool:
    """At most `most` processes. `inline_cpu_seconds` tells what the threads of this one have spent on the work.

    `running` are there already; with `at_once` the others are started when there is work, else once those that do it
    are busy all the time. Belongs to one event loop. `close` it.
    """

    def __init__(
        self,
        inline_cpu_seconds: Callable[[], float],
        start: Callable[[int], list[WorkerProcess]],
        *,
        most: int,
        at_once: bool,
        running: Sequence[WorkerProcess] = (),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.most = most
        self._inline_cpu_seconds = inline_cpu_seconds
        self._start = start
        self._now = now
        self._is_wanted = at_once
        self._processes: list[WorkerProcess] = list(running)
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
        """End all processes, whoever cancels meanwhile. What they still do is cut."""
        try:
            if self._starting is not None:
                await ended_of(self._starting)
        finally:
            self._take_in_started()
            await ended_of(start_thread(self._close_all, name="rfbulk-close"))

    def _close_all(self) -> None:
        for process in self._processes:
            process.close()

    def _take_in_started(self) -> None:
        starting = self._starting
        if starting is not None and starting.done():
            self._starting = None
            self._processes += starting.result()

    def _consider(self) -> None:
        if self._is_wanted or not self.most:
            return
        now, cpu = self._now(), self.cpu_seconds()
        if self._watched is None:
            self._watched = now, cpu
            return
        seconds, spent = now - self._watched[0], cpu - self._watched[1]
        if seconds >= LOOK_SECONDS:
            self._is_wanted = spent >= seconds * CPU_BOUND * self.interpreters
        if seconds >= WATCH_SECONDS:
            self._watched = now, cpu

    def _take_in(self) -> None:
        """Let started processes take part, forget those that are gone, and start what is wanted."""
        self._take_in_started()
        for gone in [each for each in self._processes if each.is_gone]:
            self._processes.remove(gone)
            self._ended_cpu_seconds += gone.cpu_seconds
            self._restarts += 1
            if not gone.has_proved:
                self._restarts = MAX_RESTARTS + 1  # it cannot work here: all goes on in this process
        missing = self.most - len(self._processes) if self._is_wanted else 0
        if missing > 0 and self._starting is None and self._restarts <= MAX_RESTARTS:
            self._starting = start_thread(partial(self._start, missing), name="rfbulk-start")


@dataclass(frozen=True, slots=True)
class Processes:
    """How many may share the work: None finds out what helps, 1 is this process alone. `spares` are used first."""

    wanted: int | None = None
    spares: Spares | None = None


def pool_of(processes: Processes, set_up: SetUp, road: Road, inline_cpu_seconds: Callable[[], float]) -> Pool:
    """Return a pool that takes over what was started early for this road, or ends it if it is of no use."""
    most = most_processes(processes.wanted)
    if not most and processes.spares is not None:
        processes.spares.close()
    return Pool(
        inline_cpu_seconds,
        partial(_started, set_up, road),
        most=most,
        at_once=processes.wanted is not None,
        running=_taken(set_up, road, processes.spares) if most else (),
    )


def _started(set_up: SetUp, road: Road, count: int) -> list[WorkerProcess]:
    """As many processes as can be started. Blocking."""
    found = []
    for _ in range(count):
        try:
            child = start_child(road)
        except (OSError, ValueError):
            break
        found.append(_begun(set_up, child))
    return found


def _taken(set_up: SetUp, road: Road, spares: Spares | None) -> list[WorkerProcess]:
    found = []
    while spares is not None and (child := spares.take(road)) is not None:
        found.append(_begun(set_up, child))
    return found


def _begun(set_up: SetUp, child: Popen[bytes]) -> WorkerProcess:
    process = WorkerProcess(set_up, child)
    process.start()
    return process


def ways_out(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the variables that name proxies and certificate authorities (of None: of this process)."""
    values = os.environ if environment is None else environment
    return {name: value for name, value in values.items() if name.lower().endswith(("_proxy", "ssl_cert_file"))}
