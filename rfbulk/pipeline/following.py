"""Does what follows from each notification: a callback, a command. Once for each event, and again if that failed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Protocol, TypeAlias

import anyio

from rfbulk.core.failpoints import Failpoint, pass_by
from rfbulk.core.notices import Notice, parse_notice
from rfbulk.core.redaction import excerpt
from rfbulk.errors import RfbulkError
from rfbulk.events import Warned

if TYPE_CHECKING:
    from rfbulk.events import OnEvent
    from rfbulk.pipeline.ports import Clock

OnNotice: TypeAlias = Callable[[Notice, bytes], Awaitable[None]]

ATTEMPTS: Final = 5
FIRST_REST_SECONDS: Final = 5.0
_LONGEST_SLEEP: Final = 3600.0


class Kept(Protocol):
    """A notification that was kept."""

    @property
    def number(self) -> int:
        """Its number."""

    @property
    def body(self) -> bytes:
        """What was received."""

    @property
    def attempts(self) -> int:
        """How often its consequences were tried."""


class ToFollow(Protocol):
    """Where notifications are kept until what follows from them is done."""

    async def to_follow(self, limit: int, without: Sequence[int] = ()) -> Sequence[Kept]: ...  # noqa: D102 - as in edge.notices_store
    async def next_due(self) -> float | None: ...  # noqa: D102
    async def record_followed(self, number: int, outcome: str) -> None: ...  # noqa: D102
    async def record_attempt(self, number: int, again_in: float) -> None: ...  # noqa: D102


class Follower:
    """Calls `on_notice` for each notification that is kept, `at_once` of them together, the oldest first.

    A call that raises is tried again, `ATTEMPTS` times in all, then given up and told. The process may die in a call:
    it is then made again by the next one, so that a call may come twice for one event, and never not at all.
    """

    def __init__(
        self,
        inbox: ToFollow,
        on_notice: OnNotice,
        clock: Clock,
        tell: OnEvent,
        *,
        at_once: int = 1,
        reach: Callable[[Failpoint], None] = pass_by,
    ) -> None:
        self._inbox = inbox
        self._on_notice = on_notice
        self._clock = clock
        self._tell = tell
        self._at_once = at_once
        self._reach = reach
        self._in_hand: set[int] = set()
        self._changed = anyio.Event()

    def wake(self) -> None:
        """Take note that another notification was kept, or one in hand is done."""
        self._changed.set()

    async def run(self) -> None:
        """Follow notifications until cancelled."""
        async with anyio.create_task_group() as tasks:
            while True:
                self._changed = anyio.Event()
                try:
                    for kept in await self._due():
                        self._in_hand.add(kept.number)
                        tasks.start_soon(self._follow, kept)
                    await self._rest()
                except RfbulkError as error:
                    await self._bear(error)

    async def _due(self) -> Sequence[Kept]:
        room = self._at_once - len(self._in_hand)
        return await self._inbox.to_follow(room, tuple(self._in_hand)) if room else ()

    async def _bear(self, error: RfbulkError) -> None:
        """The inbox cannot be used now: receiving goes on, and what is in it is followed once it can be."""
        self._tell(Warned(f"notifications are not followed now: {error}"))
        await self._clock.sleep(FIRST_REST_SECONDS)

    async def _rest(self) -> None:
        """Until something changes, or one that failed is due again."""
        due = await self._inbox.next_due() if len(self._in_hand) < self._at_once else None
        if due is not None and due <= 0 and not self._in_hand:
            return
        async with anyio.create_task_group() as tasks:

            async def until_due(seconds: float) -> None:
                await self._clock.sleep(min(_LONGEST_SLEEP, max(1.0, seconds)))
                tasks.cancel_scope.cancel()

            if due is not None:
                tasks.start_soon(until_due, due)
            await self._changed.wait()
            tasks.cancel_scope.cancel()

    async def _follow(self, kept: Kept) -> None:
        try:
            await self._carry_out(kept)
        except RfbulkError as error:
            await self._bear(error)
        finally:
            self._in_hand.discard(kept.number)
            self.wake()

    async def _carry_out(self, kept: Kept) -> None:
        self._reach(Failpoint.FOLLOW_STARTED)
        try:
            await self._on_notice(parse_notice(kept.body), kept.body)
        except Exception as error:  # noqa: BLE001 - whatever a caller's own code raises must not end the receiver
            await self._failed(kept, error)
        else:
            self._reach(Failpoint.FOLLOW_ENDED)
            await self._inbox.record_followed(kept.number, "done")
            self._reach(Failpoint.FOLLOW_RECORDED)

    async def _failed(self, kept: Kept, error: Exception) -> None:
        said = excerpt(f"{type(error).__name__}: {error}")
        attempts = kept.attempts + 1
        if attempts >= ATTEMPTS:
            self._tell(Warned(f"notification {kept.number} is given up after {attempts} attempts: {said}"))
            await self._inbox.record_followed(kept.number, f"given up: {said}")
        else:
            again_in = FIRST_REST_SECONDS * 2.0 ** (attempts - 1)
            self._tell(Warned(f"what follows from notification {kept.number} failed, again in {again_in:g} s: {said}"))
            await self._inbox.record_attempt(kept.number, again_in)
            self._reach(Failpoint.FOLLOW_FAILED)
