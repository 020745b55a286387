"""Asks for ingests, request by request, each recorded before it is made and made under a name that is known again.

So a request may be made any number of times: once accepted, it is answered as a duplicate. They go one after another:
each keeps the service at work for minutes, and one alone is held in memory (`MAX_REQUEST_BYTES`, and its JSON).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio.to_thread

from rfbulk.core.failpoints import Failpoint
from rfbulk.core.ingest_wire import IngestAnswer, IngestBody, Telling, references_body
from rfbulk.core.ingesting import Accepted
from rfbulk.core.model import RefusalReason
from rfbulk.core.references import (
    MAX_REFERENCES,
    MAX_REQUEST_BYTES,
    chosen_ingest_id,
    derived_ingest_id,
    request_bytes,
)
from rfbulk.core.report import Failure
from rfbulk.pipeline.retrying import persist

if TYPE_CHECKING:
    from rfbulk.core.ingesting import PlannedRequest, ReferenceGroup
    from rfbulk.core.model import BatchId
    from rfbulk.core.references import MediaKind, Reference
    from rfbulk.core.retry import RetryPolicy
    from rfbulk.errors import TroublePassing
    from rfbulk.pipeline.ingest_ports import IngestPorts, ReferenceSource
    from rfbulk.pipeline.ingest_tally import IngestTally


@dataclass(slots=True)
class Asker:
    """Makes the requests of one ingest. `chosen_id` is the user's name for it, None to name each by its content."""

    ports: IngestPorts
    batch: BatchId
    display_name: str
    telling: Telling
    chosen_id: str | None
    policy: RetryPolicy
    tally: IngestTally
    _pending: dict[int, PlannedRequest] = field(default_factory=dict)
    _made: int = 0
    _attempted: set[int] = field(default_factory=set)

    async def begin(self) -> None:
        """Take in what earlier runs have recorded."""
        self._pending = {each.number: each for each in await self.ports.checkpoint.pending()}
        self._attempted = set(self._pending)
        self._made = (await self.ports.checkpoint.totals()).requests + len(self._pending)

    async def ask_once(self, name: str, body_of: Callable[[str], IngestBody]) -> None:
        """Make the one request of a list or a query, named `name` unless its user chose a name; never twice."""
        planned = next(iter(self._pending.values()), None)
        if planned is None and self._made:
            return  # the service has accepted it
        planned = planned or await self._plan(self.chosen_id or name, [])
        body = body_of(planned.ingest_id)
        await self.ask(planned, lambda: body, None)

    async def plan(self, derived_id: str, references: Sequence[Reference]) -> PlannedRequest:
        """Record a request before it is made."""
        number = self._made + 1
        chosen = self.chosen_id
        return await self._plan(derived_id if chosen is None else chosen_ingest_id(chosen, number), references)

    def pending(self, number: int) -> PlannedRequest:
        """Return a request that may not have been accepted."""
        return self._pending[number]

    def all_pending(self) -> list[PlannedRequest]:
        """Return all of them."""
        return list(self._pending.values())

    async def give_up(self, planned: PlannedRequest) -> None:
        """Record that nothing is left of what a request was to ask for."""
        await self._record(planned, Accepted(present=frozenset()))

    async def _plan(self, ingest_id: str, references: Sequence[Reference]) -> PlannedRequest:
        planned = await self.ports.checkpoint.plan(ingest_id, references)
        self._pending[planned.number] = planned
        self._made += 1
        self.ports.reach(Failpoint.INGEST_INTENDED)
        return planned

    async def ask(self, planned: PlannedRequest, work: Callable[[], IngestBody], names: frozenset[str] | None) -> None:
        """Make a request; its body is made anew for each attempt. `names` are what it asks for, None for all."""

        async def attempt() -> IngestAnswer:
            body = await anyio.to_thread.run_sync(work)
            return await self.ports.service.ingest(self.batch, body, self.display_name)

        def on_trouble(error: TroublePassing) -> None:
            self._attempted.add(planned.number)
            self.tally.retries[f"api {error.status or 'connection'}"] += 1

        ports = self.ports
        answer = await persist(attempt, policy=self.policy, clock=ports.clock, tell=ports.tell, on_trouble=on_trouble)
        ports.reach(Failpoint.INGEST_ANSWERED)
        from_before = answer.duplicated and planned.number not in self._attempted
        present = None if answer.duplicated else names
        lost = await self._record(planned, Accepted(answer.duplicated, from_before, len(answer.shard_ids), present))
        self.tally.take(answer, planned.references - lost)

    async def _record(self, planned: PlannedRequest, accepted: Accepted) -> int:
        lost = await self.ports.checkpoint.accept(planned, accepted)
        del self._pending[planned.number]
        self.ports.reach(Failpoint.INGEST_RECORDED)
        for name in lost:
            why = "it left the source before the service had accepted it"
            self.tally.name(Failure(name, name, RefusalReason.VANISHED, why))
        return len(lost)


class AskForReferences:
    """Gathers the references of a source into requests. What a request of an earlier run held stays together."""

    def __init__(self, asker: Asker, source: ReferenceSource, kind: MediaKind) -> None:
        self._asker = asker
        self._source = source
        self._kind = kind
        self._new: list[Reference] = []
        self._new_bytes = 0
        self._again: dict[int, list[Reference]] = {}

    @property
    def gathered(self) -> int:
        """How many references were found and are in no request yet."""
        return len(self._new)

    async def ask_for_all(self) -> None:
        """Walk the source and ask for all that has not been accepted."""
        scan = self._source.scan()
        while (group := await anyio.to_thread.run_sync(_next_of, scan, abandon_on_cancel=True)) is not None:
            await self._take(group)
        for number in list(self._again):
            await self._ask_again(number)
        if self._new:
            await self._ask_for_new()
        for planned in self._asker.all_pending():  # all that they asked for has left the source
            await self._asker.give_up(planned)
        self._tell_progress()

    async def _take(self, group: ReferenceGroup) -> None:
        tally = self._asker.tally
        tally.skipped += group.skipped
        for refusal in group.refusals:
            tally.refused += 1
            tally.name(refusal)
        told_apart = await self._asker.ports.checkpoint.sort_out(group.references)
        for reference in told_apart.changed:
            tally.changed += 1
            why = "asked for before, and another file now; another name asks for it"
            tally.name(Failure(reference.name, reference.name, RefusalReason.CHANGED, why))
        tally.found += len(group.references)
        for number, reference in told_apart.pending:
            await self._gather_again(number, reference)
        for reference in told_apart.new:
            await self._gather(reference)
        self._tell_progress()

    async def _gather(self, reference: Reference) -> None:
        size = request_bytes(reference)
        if self._new and self._new_bytes + size > MAX_REQUEST_BYTES:
            await self._ask_for_new()
        self._new.append(reference)
        self._new_bytes += size
        if len(self._new) == MAX_REFERENCES[self._kind]:
            await self._ask_for_new()

    async def _gather_again(self, number: int, reference: Reference) -> None:
        found = self._again.setdefault(number, [])
        found.append(reference)
        if len(found) == self._asker.pending(number).references:
            await self._ask_again(number)

    async def _ask_for_new(self) -> None:
        references, self._new, self._new_bytes = self._new, [], 0
        planned = await self._asker.plan(derived_ingest_id(self._asker.batch, self._kind, references), references)
        await self._ask(planned, references)

    async def _ask_again(self, number: int) -> None:
        await self._ask(self._asker.pending(number), self._again.pop(number))

    async def _ask(self, planned: PlannedRequest, references: list[Reference]) -> None:
        is_whole = len(references) == planned.references
        names = None if is_whole else frozenset(each.name for each in references)
        await self._asker.ask(planned, partial(self._body, planned.ingest_id, references), names)
        self._tell_progress()

    def _body(self, ingest_id: str, references: list[Reference]) -> IngestBody:
        return references_body(self._kind, references, self._source.urls_of(references), ingest_id, self._asker.telling)

    def _tell_progress(self) -> None:
        ports = self._asker.ports
        ports.tell(self._asker.tally.progress(ports.clock.monotonic()))


def _next_of(scan: Iterator[ReferenceGroup]) -> ReferenceGroup | None:
    return next(scan, None)
