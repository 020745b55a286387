"""Notifications on their way: sent until they are taken, a bounded number of times, each attempt accounted for."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import aiohttp
import anyio
import orjson
from yarl import URL

from rfbulk.emulator.underway import Underway
from rfbulk.emulator.webhooks.events import NoticeDue, NoticeSettled
from rfbulk.emulator.webhooks.shapes import contrary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskGroup

    from rfbulk.emulator.service import Service
    from rfbulk.emulator.webhooks.options import WebhookOptions

# How long a notification waits for another one to overtake it.
_HOLD_SECONDS = 0.05
# More at once would only wait for each other, and their patience counts from the beginning.
_SENT_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Delivery:
    """One attempt: the status of the answer, or why there was none."""

    event_id: str
    attempt: int
    url: str
    body: dict[str, object]
    status: int | None = None
    problem: str | None = None

    @property
    def was_taken(self) -> bool:
        """Whether it was answered as taken."""
        return self.status is not None and 200 <= self.status < 300


@dataclass(slots=True)
class Notifier:
    """Sends notifications in the tasks of the group it was given, and keeps account of every attempt."""

    service: Service
    tasks: TaskGroup
    session: aiohttp.ClientSession
    deliveries: list[Delivery] = field(default_factory=list)
    _lines: anyio.CapacityLimiter = field(default_factory=lambda: anyio.CapacityLimiter(_SENT_AT_ONCE))
    _held: NoticeDue | None = None
    _underway: Underway = field(default_factory=Underway)

    @property
    def _options(self) -> WebhookOptions:
        return self.service.options.webhooks

    def resume(self) -> None:
        """Send what an earlier process left."""
        for due in list(self.service.state.notices.values()):
            self._begin(due)

    async def submit(self, url: str, body: dict[str, object]) -> None:
        """Send a notification later; it is durable when this returns."""
        due = NoticeDue(uuid4().hex, url, body, self.service.clock.now())
        await self.service.record(due)
        self._begin(due)

    async def settled(self) -> None:
        """Wait until every notification has been taken or given up."""
        await self._underway.settled()

    def _begin(self, due: NoticeDue) -> None:
        self._underway.begin()
        if not self._options.reorder:
            self.tasks.start_soon(self._carry, (due,))
        elif self._held is None:
            self._held = due
            self.tasks.start_soon(self._release, due)
        else:
            overtaken, self._held = self._held, None
            self.tasks.start_soon(self._carry, (due, overtaken))

    async def _release(self, due: NoticeDue) -> None:
        await anyio.sleep(_HOLD_SECONDS)
        if self._held is due:
            self._held = None
            await self._carry((due,))

    async def _carry(self, notices: Sequence[NoticeDue]) -> None:
        for due in notices:
            with self._underway.ending():
                await self.service.record(NoticeSettled(due.event_id, await self._deliver(due)))

    async def _deliver(self, due: NoticeDue) -> bool:
        problem = self._refusal(due.url)
        if problem is not None:
            self.deliveries.append(Delivery(due.event_id, 0, due.url, due.body, problem=problem))
            return False
        wait = self._options.first_seconds
        for attempt in range(1, self._options.attempts + 1):
            if (await self._send(due, due.body, attempt)).was_taken:
                await self._send_more(due, attempt)
                return True
            if attempt < self._options.attempts:
                await anyio.sleep(min(wait, self._options.cap_seconds))
                wait *= 2
        return False

    async def _send_more(self, due: NoticeDue, attempt: int) -> None:
        for extra in range(1, self._options.duplicates + 1):
            await self._send(due, due.body, attempt + extra)
        if self._options.conflicting:
            await self._send(due, contrary(due.body), attempt + self._options.duplicates + 1)

    async def _send(self, due: NoticeDue, said: dict[str, object], attempt: int) -> Delivery:
        body = {**said, "event_id": due.event_id, "delivery_attempt": attempt}
        status, problem = None, None
        async with self._lines:
            try:
                status = await self._post(due.url, orjson.dumps(body))
            except (aiohttp.ClientError, TimeoutError, ValueError) as error:
                problem = type(error).__name__
        delivery = Delivery(due.event_id, attempt, due.url, body, status, problem)
        self.deliveries.append(delivery)
        return delivery

    async def _post(self, url: str, body: bytes) -> int:
        async with self.session.post(
            URL(url),
            data=body,
            headers={"Content-Type": "application/json", **self._authorization()},
            timeout=aiohttp.ClientTimeout(total=self._options.timeout_seconds),
            allow_redirects=False,
            ssl=self._options.tls or True,
        ) as answer:
            return answer.status

    def _authorization(self) -> dict[str, str]:
        key = f"rf_{self._options.workspace_id or self.service.options.workspace}"
        match self._options.authorization:
            case "bearer":
                return {"Authorization": f"Bearer {key}"}
            case "bare":
                return {"Authorization": key}
            case _:
                return {}

    def _refusal(self, url: str) -> str | None:
        if self._options.silent:
            return "silent"
        if self._options.allow_remote or is_loopback(url):
            return None
        return "not on this machine"


def is_loopback(url: str) -> bool:
    """Tell whether a URL leads to this machine."""
    try:
        host = urlsplit(url).hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
