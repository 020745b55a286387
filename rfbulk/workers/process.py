"""A process that sends or receives for its coordinator, which alone has the key, the grants and the checkpoint.

Python runs one thread at a time in a process, so one process moves no more than one core can. Such a process is a
plain child with two pipes: no forked state, no event loop, nothing of the host program is imported in it.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import queue
import subprocess
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import msgspec

from rfbulk.core.fetching import FetchJob, FetchOutcome, FetchResult
from rfbulk.core.model import Outcome, ShardJob, ShardResult
from rfbulk.edge.threads import END_SECONDS, settle
from rfbulk.errors import told_error
from rfbulk.workers.frames import (
    Beat,
    CallOff,
    Failed,
    Fetch,
    FrameWriter,
    Moved,
    News,
    Order,
    Send,
    SetUp,
    read_news,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

CLOSE_SECONDS: Final = 2.0

LOOKS: Final = 4
"""How often within the stall limit it is looked whether a process has said anything. It is ended at the last of so
many looks that found nothing. Looks are counted, not time: after a while in which the coordinator itself was stopped,
or its loop was held up, there is one look, and that alone ends nobody."""

START_SECONDS: Final = 30.0
"""What a process gets to say its first word, if the stall limit is shorter: its modules load meanwhile."""

_LONGEST_WAIT: Final = 3600.0


class WorkerGone(Exception):
    """A process has ended, or could not be started. It never leaves the floors of senders and receivers."""


class _Attempt:
    """One attempt, as its coordinator sees it."""

    def __init__(self, on_bytes: Callable[[int], None], all_bytes: int, lost: Callable[[str], object]) -> None:
        self.ended: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        self.lost = lost
        self._on_bytes = on_bytes
        self._left = all_bytes
        self._lock = threading.Lock()

    def move(self, count: int) -> None:
        with self._lock:
            self._left -= count
        self._on_bytes(count)

    def move_rest(self) -> None:
        """Take it that all has been sent: nobody can tell any more."""
        with self._lock:
            left, self._left = self._left, 0
        if left > 0:
            self._on_bytes(left)

    def end(self, result: object) -> None:
        settle(self.ended, result)


class WorkerProcess:
    """One child and what it has under way. `start` and `close` block; the rest belongs to an event loop."""

    def __init__(self, set_up: SetUp, child: subprocess.Popen[bytes]) -> None:
        self._child = child
        self._set_up = set_up
        self._attempts: dict[int, _Attempt] = {}
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._is_gone = False
        self._heard = 0
        self._orders: queue.SimpleQueue[Order | None] = queue.SimpleQueue()
        self._orders.put(set_up)
        self.cpu_seconds = 0.0
        self.has_proved = False
        """Whether it has ever finished an attempt."""

    @property
    def load(self) -> int:
        """How many attempts it has under way."""
        return len(self._attempts)

    @property
    def is_gone(self) -> bool:
        """Whether it takes no more work."""
        return self._is_gone

    def start(self) -> None:
        """Begin to speak to it, and to listen."""
        for work, name in ((self._speak, "rfbulk-orders"), (self._listen, "rfbulk-news")):
            threading.Thread(target=work, name=name, daemon=True).start()

    def close(self) -> None:
        """End the child: it ends by itself when its orders do."""
        self._orders.put(None)
        try:
            self._child.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # one that waits for a dead disk ends when it wakes
                self._child.wait(CLOSE_SECONDS)

    async def send(self, job: ShardJob, on_bytes: Callable[[int], None]) -> ShardResult:
        """Have an attempt to send made. Cancelling has it called off, and waits until it has ended.

        Raises:
            WorkerGone: it was not begun.
            OverflowError: the job cannot be told.
            RfbulkError: as `InlineSender.send`.
        """

        def lost(why: str) -> ShardResult:
            return ShardResult(Outcome.BROKEN, may_have_arrived=True, detail=why)

        attempt = _Attempt(on_bytes, job.tar_bytes, lost)
        return cast("ShardResult", await self._carry(attempt, lambda number: Send(number, job)))

    async def fetch(self, jobs: Sequence[FetchJob], on_bytes: Callable[[int], None]) -> list[FetchResult]:
        """Have an attempt to fetch made, as `send`.

        Raises:
            WorkerGone: it was not begun.
            RfbulkError: as `InlineReceiver.fetch`.
        """
        attempt = _Attempt(on_bytes, 0, lambda why: [FetchResult(FetchOutcome.BROKEN, detail=why)])
        result = await self._carry(attempt, lambda number: Fetch(number, tuple(jobs)))
        return cast("list[FetchResult]", result)

    async def _carry(self, attempt: _Attempt, order_of: Callable[[int], Send | Fetch]) -> object:
        number = next(self._numbers)
        with self._lock:
            if self._is_gone:
                raise WorkerGone
            self._attempts[number] = attempt
            self._orders.put(order_of(number))
        try:
            await self._watch(attempt)
        except asyncio.CancelledError:
            await self._call_off(number, attempt)
            raise
        result = attempt.ended.result()
        if result is None:
            raise AssertionError("nobody called it off")
        return result

    async def _watch(self, attempt: _Attempt) -> None:
        """Wait until an attempt has ended. A process that says nothing for the stall limit is ended, and it with it."""
        seconds = min(self._set_up.stall_seconds, _LONGEST_WAIT)
        heard, silent = self._heard, 0
        while not (await asyncio.wait([attempt.ended], timeout=seconds / LOOKS))[0]:
            silent = silent + 1 if self._heard == heard else 0
            heard = self._heard
            if silent >= LOOKS * (1.0 if heard else max(1.0, START_SECONDS / seconds)):
                self._give_up(seconds)

    def _give_up(self, seconds: float) -> None:
        """What it has under way is lost at once: it does nothing more, even if it is not yet gone."""
        self._child.kill()
        self._lose(f"the process that did it was stopped: it had said nothing for {seconds:g} s")

    async def _call_off(self, number: int, attempt: _Attempt) -> None:
        self._orders.put(CallOff(number))
        with anyio.CancelScope(shield=True):
            done, _ = await asyncio.wait([attempt.ended], timeout=END_SECONDS)
        if done:
            attempt.ended.exception()
        else:
            attempt.move_rest()
            self._child.kill()

    def _speak(self) -> None:
        stream = cast("Any", self._child.stdin)
        with contextlib.suppress(OSError, ValueError):  # it is gone, which `_listen` finds
            writer = FrameWriter(stream)
            while (order := self._orders.get()) is not None:
                try:
                    writer.write(order)
                except OverflowError as error:
                    if isinstance(order, Send | Fetch) and (attempt := self._attempts.pop(order.number, None)):
                        attempt.end(error)
        with contextlib.suppress(OSError, ValueError):
            stream.close()

    def _listen(self) -> None:
        stream = cast("Any", self._child.stdout)
        with contextlib.suppress(OSError, ValueError, msgspec.MsgspecError), contextlib.closing(stream):
            while (news := read_news(stream)) is not None:
                self._take(news)
        with self._lock:
            self._is_gone = True
        self._child.wait()
        self._lose(f"the process that did it ended ({self._child.returncode}) before it was done")

    def _lose(self, why: str) -> None:
        with self._lock:
            self._is_gone = True
            left, self._attempts = self._attempts, {}
        self._orders.put(None)
        for attempt in left.values():
            attempt.move_rest()
            attempt.end(attempt.lost(why))

    def _take(self, news: News) -> None:
        self._heard += 1
        if isinstance(news, Beat):
            return
        if isinstance(news, Moved):
            if attempt := self._attempts.get(news.number):
                attempt.move(news.count)
            return
        ended = self._attempts.pop(news.number, None)
        if not isinstance(news, Failed):
            self.cpu_seconds, self.has_proved = news.cpu_seconds, True
        if ended is not None:
            if isinstance(news, Failed):
                ended.end(told_error(news.kind, news.fields, by="a process of ours"))
            else:
                ended.end(news.result)
