"""Carries standing flows out: for each batch that notifications speak of, one piece of work at a time, to its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from rfbulk.core.failpoints import Failpoint, pass_by
from rfbulk.core.redaction import excerpt
from rfbulk.errors import CheckpointBusy, NoRoom, RfbulkError, TroublePassing, WaitTimeout
from rfbulk.events import FlowEnded, Warned

if TYPE_CHECKING:
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock

AT_ONCE: Final = 4
FIRST_REST_SECONDS: Final = 60.0
LONGEST_REST_SECONDS: Final = 900.0
PASSING: Final = (TroublePassing, WaitTimeout, CheckpointBusy, NoRoom)
"""What the same again may outlive: it is tried for as long as the process lives, ever more seldom."""

_PREFIX: Final = "batch "


class ToFlow(Protocol):
    """Where notifications are kept until a flow has worked them off."""

    async def subjects_to_flow(self) -> Sequence[tuple[str, int]]: ...  # noqa: D102 - as in edge.notices_store
    async def record_flowed(self, subject: str, up_to: int, outcome: str) -> None: ...  # noqa: D102


class StandingFlows:
    """Does `work` for each batch that has news, a few batches at a time.

    `work` returns what it came to; it must be safe to repeat, since the process may die in it, and since news of a
    batch may come while it is worked on.
    """

    def __init__(
        self,
        inbox: ToFlow,
        work: Callable[[str], Awaitable[str]],
        clock: Clock,
        tell: OnEvent,
        reach: Callable[[Failpoint], None] = pass_by,
    ) -> None:
        self._inbox = inbox
        self._work = work
        self._clock = clock
        self._tell = tell
        self._reach = reach
        self._in_hand: set[str] = set()
        self._changed = anyio.Event()
        self._room = anyio.CapacityLimiter(AT_ONCE)

    def wake(self) -> None:
        """Take note that there is news, or a piece of work is done."""
        self._changed.set()

    async def run(self) -> None:
        """Carry flows out until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed = anyio.Event()
                try:
                    for subject, number in await self._inbox.subjects_to_flow():
                        if subject not in self._in_hand:
                            self._in_hand.add(subject)
                            tasks.start_soon(self._flow, subject, number)
                except RfbulkError as error:
                    await self._bear(error)
                else:
                    await self._changed.wait()

    async def _bear(self, error: RfbulkError) -> None:
        """The inbox cannot be used now: receiving goes on, and what is in it is worked off once it can be."""
        self._tell(Warned(f"flows are not carried out now: {error}"))
        await self._clock.sleep(FIRST_REST_SECONDS)

    async def _flow(self, subject: str, number: int) -> None:
        self._reach(Failpoint.FLOW_STARTED)
        try:
            outcome = await self._persist(subject)
            self._reach(Failpoint.FLOW_ENDED)
            await self._inbox.record_flowed(subject, number, outcome)
            self._reach(Failpoint.FLOW_RECORDED)
            self._tell(FlowEnded(subject, outcome))
        except RfbulkError as error:
            await self._bear(error)
        finally:
            self._in_hand.discard(subject)
            self.wake()

    async def _persist(self, subject: str) -> str:
        rest = FIRST_REST_SECONDS
        while True:
            try:
                async with self._room:
                    return await self._work(subject.removeprefix(_PREFIX))
            except PASSING as error:
                self._tell(Warned(f"{subject}: {excerpt(str(error))}; again in {rest:g} s"))
            except RfbulkError as error:
                return f"given up: {excerpt(str(error))}"
            await self._clock.sleep(rest)
            rest = min(LONGEST_REST_SECONDS, rest * 2)
