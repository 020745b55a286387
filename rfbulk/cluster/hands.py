"""What a worker of a cluster does for a coordinator, and what it remembers of it. Loaded in the worker's own process.

An attempt is made once: a scheduler that repeats a task gets the same answer again, and another process than the one
it was meant for makes none. It is cut when its coordinator calls it off, or is gone: what it still holds must not
arrive beside what a resumed transfer does.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from distributed import get_worker

from rfbulk.cluster.crafts import Craft, craft_of, localised
from rfbulk.cluster.parcels import Ended, Fault, FetchLot, Lot, Moved, Parcel, SendLot, decode_lot, encode, topic_of
from rfbulk.core.fetching import FetchOutcome, FetchResult
from rfbulk.core.model import Outcome, ShardResult
from rfbulk.edge.lines import Call, CalledOff
from rfbulk.errors import RfbulkError

if TYPE_CHECKING:
    from rfbulk.cluster.parcels import Manner

TELL_SECONDS: Final = 0.25
"""How often a process tells what it has moved, and looks whether its coordinator is still there."""

MOST_REMEMBERED: Final = 10_000
"""Answers and orders not to begin that are kept: more than are ever under way."""

NAME: Final = "_rfbulk_hands"
ELSEWHERE: Final = "the worker that was to do it was restarted"


class Worker(Protocol):
    """What is needed of a Dask worker."""

    def log_event(self, topic: str, msg: Any) -> None: ...  # noqa: D102


class Hands:
    """All that one process does for coordinators. `id` names the process: one that is restarted is another."""

    def __init__(self, worker: Worker, craft_of: Callable[[Manner], Craft] = craft_of) -> None:
        self.id = uuid.uuid4().hex
        self._worker = worker
        self._craft_of = craft_of
        self._crafts: OrderedDict[str, Craft] = OrderedDict()
        self._under_way: dict[tuple[str, int], _Attempt] = {}
        self._answers: OrderedDict[tuple[str, int], Ended] = OrderedDict()
        self._never: OrderedDict[tuple[str, int], None] = OrderedDict()
        self._lock = threading.Lock()
        self._teller: threading.Thread | None = None

    def carry(self, lot: Lot, task: str) -> list[Ended]:
        """Make the attempts of a lot, in their order, and tell each answer as soon as there is one. Blocking."""
        craft = self._craft_for(lot.manner)
        return [self._carry_one(lot, craft, place, task) for place in range(len(lot.keys))]

    def call_off(self, run: str, keys: Sequence[int]) -> list[int]:
        """Cut these attempts; return those that were not begun, and will not be."""
        untouched = []
        for key in keys:
            with self._lock:
                attempt = self._under_way.get((run, key))
                if attempt is None and (run, key) not in self._answers:
                    _keep(self._never, (run, key), None)
                    untouched.append(key)
            if attempt is not None:
                attempt.call.call_off()
        return untouched

    def _carry_one(self, lot: Lot, craft: Craft, place: int, task: str) -> Ended:
        name = lot.manner.run, lot.keys[place]
        attempt = _Attempt(task)
        with self._lock:
            known = self._answers.get(name)
            is_ours = lot.hands == self.id
            if known is None and is_ours and name not in self._never:
                self._under_way[name] = attempt
                self._see_to_teller()
        if known is None and is_ours and name in self._under_way:
            self._tell_moved([(name, attempt)])  # that it has begun
            known = self._make(lot, craft, place, attempt)
            with self._lock:
                del self._under_way[name]
                _keep(self._answers, name, known)
        elif known is None:
            known = Ended(self.id, name[1]) if is_ours else _of_another(self.id, lot, place)
        self._worker.log_event(topic_of(name[0]), encode(known))
        return known

    def _make(self, lot: Lot, craft: Craft, place: int, attempt: _Attempt) -> Ended:
        key, sent, fetched, fault = lot.keys[place], None, None, None
        try:
            if isinstance(lot, SendLot):
                job = lot.jobs[place]
                sent = craft.send(localised(job) if lot.manner.localise else job, attempt.call)
            else:
                fetched = craft.fetch(lot.groups[place], attempt.call)
        except CalledOff:
            pass
        except RfbulkError as error:
            fault = Fault(type(error).__name__, (error.operation, error.subject, error.cause, error.advice))
        except Exception as error:  # noqa: BLE001 - raised again in the coordinator
            fault = Fault("", (type(error).__name__, str(error), "", ""))
        return Ended(self.id, key, attempt.take(), sent, fetched, fault, craft.cpu_seconds)

    def _craft_for(self, manner: Manner) -> Craft:
        with self._lock:
            craft = self._crafts.get(manner.run)
            if craft is None:
                craft = self._crafts[manner.run] = self._craft_of(manner)
                while len(self._crafts) > 2:  # a coordinator that was restarted, and its twin that is ending
                    self._crafts.popitem(last=False)[1].close()
        craft.rate.limit(manner.rate)
        return craft

    # telling

    def _see_to_teller(self) -> None:
        if self._teller is None or not self._teller.is_alive():
            self._teller = threading.Thread(target=self._tell, name="rfbulk-news", daemon=True)
            self._teller.start()

    def _tell(self) -> None:
        while True:
            time.sleep(TELL_SECONDS)
            with self._lock:
                running = list(self._under_way.items())
                if not running:
                    self._teller = None
                    return
            self._tell_moved(running)
            for _, attempt in running:
                if self._is_unwanted(attempt.task):
                    attempt.call.call_off()

    def _tell_moved(self, running: Sequence[tuple[tuple[str, int], _Attempt]]) -> None:
        for run in {run for (run, _), _ in running}:
            counts = tuple((key, attempt.take()) for (of, key), attempt in running if of == run)
            craft = self._crafts.get(run)
            moved = Moved(self.id, counts, craft.cpu_seconds if craft else 0.0)
            with contextlib.suppress(Exception):  # the connection to the scheduler is gone: Dask ends the worker
                self._worker.log_event(topic_of(run), encode(moved))

    def _is_unwanted(self, task: str) -> bool:
        """A task that nobody waits for any more is forgotten by the scheduler, who tells its worker."""
        state = getattr(self._worker, "state", None)
        known = state.tasks.get(task) if state is not None and task else None
        return state is not None and bool(task) and (known is None or known.state in {"cancelled", "released"})


class _Attempt:
    """An attempt under way."""

    def __init__(self, task: str) -> None:
        self.task = task
        self.call = Call(self._add)
        self._moved = 0
        self._lock = threading.Lock()

    def take(self) -> int:
        """Return how many bytes it has moved since this was asked last."""
        with self._lock:
            moved, self._moved = self._moved, 0
        return moved

    def _add(self, count: int) -> None:
        with self._lock:
            self._moved += count


def _of_another(hands: str, lot: Lot, place: int) -> Ended:
    """What was ordered of a process that is gone may have been done by it."""
    if isinstance(lot, FetchLot):
        return Ended(hands, lot.keys[place], fetched=[FetchResult(FetchOutcome.BROKEN, detail=ELSEWHERE)])
    return Ended(hands, lot.keys[place], sent=ShardResult(Outcome.BROKEN, may_have_arrived=True, detail=ELSEWHERE))


def _keep(kept: OrderedDict[Any, Any], name: object, value: object) -> None:
    kept[name] = value
    while len(kept) > MOST_REMEMBERED:
        kept.popitem(last=False)


# what a coordinator has called in a worker's process


def hands_of(worker: Any) -> Hands:
    """Return the hands of a worker, which they live as long as."""
    found = getattr(worker, NAME, None)
    if found is None:
        found = Hands(worker)
        setattr(worker, NAME, found)
    return cast("Hands", found)


def carry(parcel: Parcel, task: str) -> bytes:
    """Carry a lot, as a task of Dask. Never raises: errors' texts would be logged with what they were about."""
    ended = hands_of(get_worker()).carry(decode_lot(parcel.open()), task)
    return b"".join(len(body).to_bytes(4, "big") + body for body in map(encode, ended))


def call_off(run: str, keys: list[int], dask_worker: Any = None) -> list[int]:
    """Call attempts off, as a call of Dask outside of its tasks."""
    return hands_of(dask_worker).call_off(run, keys)
