"""Groups of remote files, each fetched in the calling thread through one reused buffer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rfbulk.core.fetching import FetchOutcome, FetchResult, UnpackLimits
from rfbulk.edge.downlink import BUFFER_BYTES, Downlink
from rfbulk.edge.landing import Site, trouble_of_disk
from rfbulk.edge.turns import Turn, Turns
from rfbulk.errors import UsageError
from rfbulk.receivers.attempt import Means
from rfbulk.receivers.fetching import fetch_group
from rfbulk.receivers.room import Room

if TYPE_CHECKING:
    from rfbulk.core.failpoints import Failpoint
    from rfbulk.core.fetching import FetchJob
    from rfbulk.edge.lines import Call
    from rfbulk.edge.threads import Rate

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_PASSING: Final = frozenset({FetchOutcome.NO_ROOM, FetchOutcome.BROKEN})


class Groups:
    """Fetches groups, as many at once as threads ask for. A thread that is left behind keeps its buffer.

    `takes_turns`: no core is left for two groups of small files at once.
    """

    def __init__(
        self,
        downlink: Downlink,
        *,
        stall_seconds: float,
        rate: Rate,
        limits: UnpackLimits,
        reach: Callable[[Failpoint], None],
        takes_turns: bool = False,
    ) -> None:
        self._downlink = downlink
        self._stall_seconds = stall_seconds
        self._rate = rate
        self._limits = limits
        self._reach = reach
        self._boot = ""
        self._buffers: list[bytearray] = []
        self._cpu_seconds = 0.0
        self._lock = threading.Lock()
        self._turns = Turns(lambda: self._cpu_seconds) if takes_turns else None

    @property
    def cpu_seconds(self) -> float:
        """Processor time that all groups which have ended took, in their threads alone."""
        return self._cpu_seconds

    def release(self) -> None:
        """Give back the buffers that no group uses just now."""
        self._buffers.clear()

    def fetch(self, jobs: Sequence[FetchJob], call: Call) -> list[FetchResult]:
        """Fetch files in their order, as `InlineReceiver.fetch` promises. Blocking.

        Raises:
            CalledOff: the group was called off.
            ServiceRefused, NotAuthorised, UsageError: no file can be fetched this way.
        """
        with self._turns.take(call) if self._turns and len(jobs) > 1 else Turn():
            began = time.thread_time()
            try:
                return self._fetch(jobs, call) if jobs else []
            finally:
                with self._lock:
                    self._cpu_seconds += time.thread_time() - began

    def _fetch(self, jobs: Sequence[FetchJob], call: Call) -> list[FetchResult]:
        try:
            site = Site(jobs[0].target, jobs[0].staging)
        except OSError as error:
            outcome, detail = trouble_of_disk(error)
            if outcome in _PASSING:
                return [FetchResult(outcome, detail=detail)]
            raise unwritable(jobs[0].target, detail) from error
        with site, self._buffer() as buffer:
            tap = self._downlink.tap(call, buffer, stall_seconds=self._stall_seconds)
            try:
                return fetch_group(
                    jobs,
                    Means(
                        site=site,
                        tap=tap,
                        room=Room(site, self._limits.reserve_bytes),
                        call=call,
                        rate=self._rate,
                        limits=self._limits,
                        reach=self._reach,
                        boot=self._boot_id(),
                        leftovers=site.leftovers(),
                    ),
                )
            finally:
                tap.close()

    @contextmanager
    def _buffer(self) -> Iterator[bytearray]:
        try:
            buffer = self._buffers.pop()
        except IndexError:
            buffer = bytearray(BUFFER_BYTES)
        try:
            yield buffer
        finally:
            self._buffers.append(buffer)

    def _boot_id(self) -> str:
        if not self._boot:
            self._boot = _read_boot_id()
        return self._boot


def unwritable(target: bytes, detail: str) -> UsageError:
    """Return the error of a target that cannot be written to."""
    return UsageError("export to", shown(target), cause=detail, advice="choose a folder that can be written to")


def shown(target: bytes) -> str:
    """Return a target's path as errors show it."""
    return repr(target.decode(errors="replace"))


def _read_boot_id() -> str:
    """Linux names each start of the system. Where nothing does, only what a hash proves is continued."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""
