"""The workers of a cluster at work: attempts go out, news come in, and whoever is lost is noticed.

Lives in one event loop, that of a `Link`, and never waits for what a single worker does.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from rfbulk.cluster import hands, probing
from rfbulk.cluster.attempts import Attempt, lot_of
from rfbulk.cluster.dask_client import ClusterLost, DaskClient, TaskLost
from rfbulk.cluster.desk import Desk, Lot, Mate
from rfbulk.cluster.judging import none_fits, sample_parcel, why_silent, why_unfit
from rfbulk.cluster.parcels import (
    Ended,
    Moved,
    Parcel,
    SendLot,
    decode_news,
    each_ended,
    encode,
    topic_of,
)
from rfbulk.cluster.probing import Sample, Seen
from rfbulk.errors import RfbulkError, TroublePassing, UsageError

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Manner

REFRESH_SECONDS: Final = 1.0
GATHER_SECONDS: Final = 5.0
PATIENCE_SECONDS: Final = 10.0
"""What an attempt waits for a worker while there is none. Then it has failed, and its retries decide."""

TRIAL_SECONDS: Final = 60.0
SILENT: Final = "it has gone silent"
UNBEGUN: Final = 5
"""Stall limits until work that was not even begun is taken back: the worker may do other people's meanwhile."""


_OF_TASKS: Final = {"SourceError", "NotAuthorised"}
"""Faults that may be of one worker alone: its mount, its credentials."""


class Crew:
    """Has attempts made. `open` it before, `close` it after; all else is called within its loop.

    `connect` opens a client; it is called again when the scheduler was lost. `warn` is told what users should know.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[DaskClient]],
        sample: Sample,
        warn: Callable[[str], None],
        *,
        rate: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.desk = Desk()
        self._connect = connect
        self._sample = sample
        self._manner: Manner = sample.manner
        self._warn = warn
        self._rate = rate
        self._now = now
        self._client: DaskClient | None = None
        self._numbers = itertools.count(1)
        self._tries: Counter[str] = Counter()
        self._under_way: dict[int, tuple[Attempt, Lot]] = {}
        self._cpu: dict[str, float] = {}
        self._offs: defaultdict[str, list[int]] = defaultdict(list)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._told: set[str] = set()
        self._fatal: RfbulkError | None = None
        self._empty_since: float | None = None

    @property
    def cpu_seconds(self) -> float:
        """Processor time that all workers have told of."""
        return sum(self._cpu.values())

    async def open(self, wait_seconds: float, expected: int = 1) -> None:
        """Connect, and wait until there is a worker that fits, and a little for others that are `expected`.

        Raises:
            TroublePassing: the scheduler does not answer, or no worker comes.
            UsageError: no worker that is there fits.
        """
        await self._reconnect()
        deadline = self._now() + wait_seconds
        while not self.desk.fit:
            await self._refresh()
            if self.desk.fit:
                break
            if unfit := [mate for mate in self.desk.mates.values() if mate.unfit]:
                raise none_fits(unfit)
            if self._now() >= deadline:
                cause = f"after {wait_seconds:g} s no worker has joined it"
                raise TroublePassing("use", "the cluster", cause=cause, advice="start workers, then run the same again")
            await asyncio.sleep(0.2)
        await self._try_scheduler()
        await self._gather(expected)

    async def _gather(self, expected: int) -> None:
        until = self._now() + GATHER_SECONDS
        while len(self.desk.fit) < expected and self._now() < until:
            await asyncio.sleep(0.1)
            await self._refresh()

    async def run(self) -> None:
        """Look after the workers until cancelled."""
        while True:
            await asyncio.sleep(REFRESH_SECONDS)
            try:
                await self._refresh()
                self._look_for_silence()
            except ClusterLost as lost:
                await self._lose_all(f"the cluster's scheduler is lost: {lost}")
            self.desk.give_up(self._now() - PATIENCE_SECONDS)
            self._dispatch()

    async def close(self) -> None:
        """Let everything go. What workers still do is cut: nobody waits for it any more."""
        for task in self._tasks:
            task.cancel()
        await self._lose_all("the transfer has ended", reconnects=False)
        while self.desk.waiting:
            self.desk.waiting.popleft().lose("the cluster's client has ended", may_have_arrived=False)

    # what the owner says

    def take(self, attempt: Attempt) -> None:
        """Have an attempt made."""
        if self._fatal is not None:
            attempt.end(self._fatal)
            return
        attempt.key = next(self._numbers)
        attempt.waits_since = self._now()
        self.desk.waiting.append(attempt)
        self._dispatch()

    def call_off(self, attempt: Attempt) -> None:
        """Cut an attempt. It ends by None once that is certain."""
        found = self._under_way.get(attempt.key)
        if found is None:  # it waits here, or has ended
            if attempt in self.desk.waiting:
                self.desk.waiting.remove(attempt)
            attempt.end(None)
            return
        address = found[1].mate.address
        if not self._offs:
            asyncio.get_running_loop().call_soon(self._flush_offs)
        self._offs[address].append(attempt.key)

    def _flush_offs(self) -> None:
        offs, self._offs = self._offs, defaultdict(list)
        for address, keys in offs.items():
            self._start(self._tell_off(address, keys))

    async def _tell_off(self, address: str, keys: list[int]) -> None:
        if self._client is None:
            return
        try:
            said = await self._client.call(hands.call_off, self._manner.run, keys, workers=[address])
        except ClusterLost:
            return
        untouched = said.get(address)
        for key in untouched if isinstance(untouched, list) else []:
            self._settle(Ended("", key))

    # sending out

    def _dispatch(self) -> None:
        while self._client is not None and (found := self.desk.next()) is not None:
            mate, attempts = found
            try:
                self._submit(mate, attempts)
            except OverflowError as error:
                for attempt in attempts:
                    attempt.end(error)

    def _submit(self, mate: Mate, attempts: Sequence[Attempt]) -> None:
        if self._client is None:
            raise AssertionError("there is a client where there are workers")
        parcel, task = self._packed(mate, attempts)
        lot = Lot(mate, {attempt.key: attempt for attempt in attempts})
        lot.task = self._client.submit(hands.carry, parcel, task, mate.address)
        mate.lots.add(lot)
        self._under_way.update({attempt.key: (attempt, lot) for attempt in attempts})
        if len(mate.lots) == 1:
            mate.heard = self._now()  # it had nothing to tell of
        lot.watch = self._start(self._watch(lot))

    def _packed(self, mate: Mate, attempts: Sequence[Attempt]) -> tuple[Parcel, str]:
        manner = msgspec.structs.replace(self._manner, localise=mate.other_inodes, rate=self._share())
        first = attempts[0]
        self._tries[first.name] += 1
        more = f"-and-{len(attempts) - 1}" if len(attempts) > 1 else ""
        task = f"rfbulk-{manner.run}-{first.name}-{self._tries[first.name]}{more}"
        return Parcel(encode(lot_of(mate.hands, manner, attempts)), task), task

    def _share(self) -> int | None:
        """A limited rate is divided by the workers there are: together they never exceed it."""
        return None if self._rate is None else max(1, self._rate // max(1, len(self.desk.fit)))

    # what comes back

    def _take_news(self, message: Any) -> None:
        news = decode_news(message)
        self._hear_hands(news.hands)
        self._cpu[news.hands] = max(news.cpu_seconds, self._cpu.get(news.hands, 0.0))
        if isinstance(news, Moved):
            for key, count in news.counts:
                if (found := self._under_way.get(key)) is not None:
                    found[0].is_begun = True
                    found[0].move(count)
            return
        self._settle(news)

    def _settle(self, ended: Ended) -> None:
        """Fold an answer in. One that nobody awaits, as of a worker that was taken for lost, changes nothing."""
        if ended.hands:
            self._cpu[ended.hands] = max(ended.cpu_seconds, self._cpu.get(ended.hands, 0.0))
        found = self._under_way.pop(ended.key, None)
        if found is None:
            return
        attempt, lot = found
        lot.left.pop(ended.key, None)
        if not self._goes_elsewhere(attempt, lot.mate, ended):
            attempt.answer(ended)
        if not lot.left:
            self._finish(lot)
        self._dispatch()

    def _goes_elsewhere(self, attempt: Attempt, mate: Mate, ended: Ended) -> bool:
        """What a single worker cannot do, others may: it gets no more, as long as there are any."""
        if ended.fault is None or ended.fault.kind not in _OF_TASKS or len(self.desk.fit) < 2:
            return False
        mate.unfit = ": ".join(part for part in ended.fault.fields[:3] if part)
        self._tell_once(f"worker {mate.address} is left out: {mate.unfit}")
        self.desk.waiting.appendleft(attempt)
        return True

    def _finish(self, lot: Lot) -> None:
        lot.mate.lots.discard(lot)
        if lot.watch is not None:
            lot.watch.cancel()
        if self._client is not None:
            self._client.forget(lot.task)

    async def _watch(self, lot: Lot) -> None:
        """Wait for a task to end. Its news have mostly come before."""
        if self._client is None:
            return
        try:
            body = await self._client.result(lot.task)
        except TaskLost as lost:
            self._lose(lot, str(lost))
        except UsageError as error:
            self._end_all(error)
        else:
            lot.watch = None
            for ended in each_ended(body):
                self._settle(ended)
            if lot.left:
                self._lose(lot, "its answer was lost")

    def _lose(self, lot: Lot, why: str) -> None:
        for key, attempt in list(lot.left.items()):
            self._under_way.pop(key, None)
            attempt.lose(why, may_have_arrived=True)
        lot.left.clear()
        self._finish(lot)
        self._dispatch()

    def _end_all(self, error: RfbulkError) -> None:
        """No work can be given to anybody."""
        self._fatal = error
        for attempt, _ in list(self._under_way.values()):
            attempt.end(error)
        while self.desk.waiting:
            self.desk.waiting.popleft().end(error)

    # who is there

    async def _refresh(self) -> None:
        if self._client is None:
            await self._try_again()
            return
        if not self._client.is_alive:
            raise ClusterLost("the connection broke")
        threads = await self._client.workers()
        for address in self.desk.mates.keys() - threads.keys():
            self._lose_mate(self.desk.mates.pop(address), "the worker that did it is gone")
        new = [address for address in threads if address not in self.desk.mates]
        if new:
            await self._welcome({address: threads[address] for address in new})

    async def _welcome(self, threads: dict[str, int]) -> None:
        if self._client is None:
            return
        said = await self._client.call(probing.probe, sample_parcel(self._sample), workers=list(threads))
        for address, answer in said.items():
            mate = Mate(address, max(1, threads[address]))
            if isinstance(answer, bytes):
                seen = msgspec.msgpack.decode(answer, type=Seen)
                mate.hands, mate.host, mate.other_inodes = seen.hands, seen.host, seen.other_inodes
                mate.unfit = why_unfit(seen)
            else:
                mate.unfit = why_silent(answer)
            mate.heard = self._now()
            self.desk.mates[address] = mate
        left_out = [mate for mate in self.desk.mates.values() if mate.address in threads and mate.unfit]
        if self.desk.fit:
            for mate in left_out:
                self._tell_once(f"worker {mate.address} is left out: {mate.unfit}")

    def _look_for_silence(self) -> None:
        """A worker with work under way tells something several times a second, were it only that nothing moves."""
        for mate in self.desk.fit:
            begun = any(attempt.is_begun for lot in mate.lots for attempt in lot.left.values())
            limit = self._manner.stall_seconds * (1 if begun else UNBEGUN)
            if mate.lots and self._now() - mate.heard > limit:
                mate.unfit = SILENT
                self._tell_once(f"worker {mate.address} is left out: {mate.unfit}")
                self._lose_mate(mate, "the worker that did it has gone silent")

    def _hear_hands(self, hands_id: str) -> None:
        for mate in self.desk.mates.values():
            if mate.hands == hands_id:
                mate.heard = self._now()
                if mate.unfit == SILENT:
                    mate.unfit = ""

    def _lose_mate(self, mate: Mate, why: str) -> None:
        for lot in list(mate.lots):
            self._lose(lot, why)

    async def _lose_all(self, why: str, *, reconnects: bool = True) -> None:
        client, self._client = self._client, None
        mates, self.desk.mates = self.desk.mates, {}
        for mate in mates.values():
            self._lose_mate(mate, why)
        if client is not None:
            await client.close()
        if reconnects and client is not None:
            self._warn(why)

    async def _reconnect(self) -> None:
        self._client = await self._connect()
        self._client.subscribe(topic_of(self._manner.run), self._take_news)

    async def _try_again(self) -> None:
        try:
            await self._reconnect()
        except (TroublePassing, UsageError):
            return  # attempts that wait end by their patience; their retries have a budget
        self._warn("the cluster's scheduler is back")

    async def _try_scheduler(self) -> None:
        """An empty task goes the way of all others, so that a scheduler that cannot read it is found at once."""
        if self._client is None or not self.desk.fit:
            return
        mate = self.desk.fit[0]
        task = f"rfbulk-{self._manner.run}-hello"
        parcel = Parcel(encode(SendLot(mate.hands, self._manner, (), ())), task)
        try:
            trial = self._client.submit(hands.carry, parcel, task, mate.address)
            await asyncio.wait_for(self._client.result(trial), TRIAL_SECONDS)
        except (TaskLost, TimeoutError) as error:
            cause = str(error) or "it does not get to a first task within a minute"
            raise TroublePassing("use", "the cluster", cause=cause, advice="run the same again") from None

    def _tell_once(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self._warn(text)

    def _start(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task
